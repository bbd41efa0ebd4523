"""The one place where a storage tries again."""

from __future__ import annotations

import asyncio

import pytest

from growi_transfer.storage.retry import Fault, StorageRetry


class Trouble(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def fault_of(error: Exception) -> Fault:
    return error.fault if isinstance(error, Trouble) else Fault.OTHER


def retry_with(clock: Clock) -> StorageRetry:
    return StorageRetry(fault_of, sleep=clock.sleep, clock=lambda: clock.now, jitter=lambda: 1.0)


class Call:
    """Fails some times, then works."""

    def __init__(self, fault: Fault, times: int) -> None:
        self.fault, self.left, self.made = fault, times, 0

    async def __call__(self) -> str:
        self.made += 1
        if self.left:
            self.left -= 1
            raise Trouble(self.fault)
        return "done"


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in (Fault.NETWORK, Fault.THROTTLED)])
async def test_what_does_not_pass_is_told_at_once(fault: Fault) -> None:
    clock, call = Clock(), Call(fault, 1)
    with pytest.raises(Trouble):
        await retry_with(clock)(call)
    assert (call.made, clock.slept) == (1, [])


async def test_a_lost_connection_is_tried_again_with_growing_pauses() -> None:
    clock, call = Clock(), Call(Fault.NETWORK, 4)
    assert await retry_with(clock)(call) == "done"
    assert clock.slept == pytest.approx([0.2, 0.4, 0.8, 1.6])
    with pytest.raises(Trouble):
        await retry_with(clock)(Call(Fault.NETWORK, 5))


async def test_a_store_that_throttles_is_left_alone_by_all() -> None:
    clock = Clock()
    retry = retry_with(clock)
    assert await retry(Call(Fault.THROTTLED, 9)) == "done"
    assert clock.now == pytest.approx(0.2 + 0.4 + 0.8 + 1.6 + 3.2 + 6.4 + 3 * 8.0)
    moments: list[float] = []

    async def other() -> None:
        moments.append(clock.now)

    began = clock.now
    await asyncio.gather(retry(Call(Fault.THROTTLED, 1)), retry(other), retry(Call(Fault.THROTTLED, 1)))
    await retry(other)
    assert moments[-1] >= began + 0.2
    assert retry.tried_again[Fault.THROTTLED] == 11


async def test_something_that_is_no_fault_of_a_store_goes_through() -> None:
    async def broken() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await retry_with(Clock())(broken)
