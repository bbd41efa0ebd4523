from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.pusher.bandwidth import BandwidthLimiter


class Time:
    """A clock that moves only when somebody waits."""

    def __init__(self) -> None:
        self.now = 50.0

    def clock(self) -> float:
        return self.now

    async def wait(self, changed: asyncio.Event, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


async def send(limiter: BandwidthLimiter, size: int) -> int:
    """How many grants it took."""
    grants = 0
    while size:
        granted = await limiter(size)
        assert 1 <= granted <= size
        size -= granted
        grants += 1
    return grants


async def test_without_a_limit_everything_goes_at_once() -> None:
    limiter = BandwidthLimiter()
    assert limiter.rate is None
    assert await limiter(1 << 30) == 1 << 30


@pytest.mark.parametrize("rate", [1, 7, 1000, 1 << 20, 1 << 30])
async def test_bytes_take_the_time_they_should(rate: int) -> None:
    time = Time()
    limiter = BandwidthLimiter(rate, clock=time.clock, wait=time.wait)
    await send(limiter, 50 * rate)
    assert time.now - 50.0 == pytest.approx(50.0, rel=0.01)


async def test_a_slow_limit_gives_a_steady_trickle() -> None:
    time = Time()
    limiter = BandwidthLimiter(1000, clock=time.clock, wait=time.wait)
    assert await limiter(1 << 20) == 100
    assert time.now == pytest.approx(50.1)


async def test_an_idle_line_does_not_save_up() -> None:
    time = Time()
    limiter = BandwidthLimiter(1000, clock=time.clock, wait=time.wait)
    time.now += 3600
    await send(limiter, 1000)
    assert time.now - 3650.0 == pytest.approx(0.8, rel=0.01)


@given(st.integers(1, 1 << 20), st.lists(st.integers(1, 1 << 22), min_size=1, max_size=20))
def test_no_second_has_more_than_the_limit(rate: int, sizes: list[int]) -> None:
    async def run() -> None:
        time = Time()
        limiter = BandwidthLimiter(rate, clock=time.clock, wait=time.wait)
        sent = 0
        for size in sizes:
            sent += await limiter(size)
            assert sent <= (time.now - 50.0) * rate + max(2.0, 0.2 * rate) + 1
            time.now += 0.01

    asyncio.run(run())


async def test_the_limit_can_be_changed_between_grants() -> None:
    time = Time()
    limiter = BandwidthLimiter(100, clock=time.clock, wait=time.wait)
    await send(limiter, 100)
    assert time.now == pytest.approx(51.0)
    limiter.set_rate(1000)
    assert limiter.rate == 1000
    await send(limiter, 1000)
    assert time.now == pytest.approx(52.0)
    limiter.set_rate(None)
    assert await limiter(1 << 30) == 1 << 30
    limiter.set_rate(100)
    await send(limiter, 100)
    assert time.now == pytest.approx(53.0)


async def test_who_waits_goes_on_when_the_limit_is_lifted() -> None:
    limiter = BandwidthLimiter(1)
    waiting = [asyncio.create_task(limiter(1000)) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in waiting)
    limiter.set_rate(None)
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting) == [1000, 1000, 1000]


async def test_who_waits_goes_on_under_a_higher_limit() -> None:
    limiter = BandwidthLimiter(1)
    waiting = asyncio.create_task(limiter(1000))
    await asyncio.sleep(0.01)
    limiter.set_rate(1 << 30)
    async with asyncio.timeout(5):
        assert await waiting == 1000


async def test_who_is_cancelled_lets_the_next_one_in() -> None:
    limiter = BandwidthLimiter(1)
    first, second = asyncio.create_task(limiter(10)), asyncio.create_task(limiter(10))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.wait([first])
    limiter.set_rate(1 << 20)
    async with asyncio.timeout(5):
        assert await second == 10


async def test_requests_are_served_in_turn() -> None:
    time = Time()
    limiter = BandwidthLimiter(1000, clock=time.clock, wait=time.wait)
    order: list[int] = []

    async def ask(number: int) -> None:
        await limiter(100)
        order.append(number)

    await asyncio.gather(*(ask(number) for number in range(5)))
    assert order == [0, 1, 2, 3, 4]
