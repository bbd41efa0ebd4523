"""Work that is waited for, however often its caller is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from growi_transfer.storage.turns import finished


async def test_the_result_and_the_error_are_those_of_the_work() -> None:
    async def fails() -> None:
        raise ValueError("no")

    assert await finished(asyncio.sleep(0, 7)) == 7
    with pytest.raises(ValueError, match="no"):
        await finished(fails())


@pytest.mark.parametrize("fails", [False, True])
async def test_it_comes_to_its_end_though_the_caller_is_cancelled_twice(fails: bool) -> None:
    go_on, done = asyncio.Event(), False

    async def work() -> None:
        nonlocal done
        await go_on.wait()
        done = True
        if fails:
            raise ValueError

    task = asyncio.ensure_future(finished(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done
