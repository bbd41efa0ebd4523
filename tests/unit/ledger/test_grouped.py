"""What comes one by one is done together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from growi_transfer.ledger.base import FileRow, ItemState, Role
from growi_transfer.ledger.grouped import FileBatch
from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.protocol.errors import DatabaseUnavailable


class Slow(MemoryLedger):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[int] = []
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def put_files(self, rows: Sequence[FileRow]) -> None:
        self.writes.append(len(rows))
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        await super().put_files(rows)


def row(number: int) -> FileRow:
    return FileRow(Role.RECEIVER, "0" * 32, f"{number:024x}", f"attachment/{number}", 1, ItemState.SENT)


async def test_what_comes_meanwhile_goes_with_the_next_write() -> None:
    ledger = Slow()
    batch = FileBatch(ledger)
    tasks = [asyncio.ensure_future(batch.put(row(number))) for number in range(10)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks += [asyncio.ensure_future(batch.put(row(number))) for number in range(10, 50)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks), "nothing is told before it is durable"
    ledger.go_on.set()
    await asyncio.gather(*tasks)
    assert ledger.writes == [10, 40]
    assert len([one async for one in ledger.files(Role.RECEIVER, "0" * 32)]) == 50


async def test_an_error_reaches_everybody_whose_row_was_in_it_and_nobody_else() -> None:
    ledger = Slow()
    ledger.go_on.set()
    ledger.error = DatabaseUnavailable()
    batch = FileBatch(ledger)
    results = await asyncio.gather(*(batch.put(row(number)) for number in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseUnavailable] * 3
    ledger.error = None
    await batch.put(row(7))
    assert [one.attachment_id async for one in ledger.files(Role.RECEIVER, "0" * 32)] == [f"{7:024x}"]


async def test_who_does_not_wait_any_more_holds_nobody_up() -> None:
    ledger = Slow()
    batch = FileBatch(ledger)
    gone, stays = asyncio.ensure_future(batch.put(row(1))), asyncio.ensure_future(batch.put(row(2)))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    ledger.go_on.set()
    await stays
