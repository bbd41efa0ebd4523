"""How many requests are in flight, on lines whose best number is known."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.pusher.adapt import MOST, Climb, Tuner
from growi_transfer.pusher.gate import Gate

steps = st.lists(st.one_of(st.none(), st.floats(0, 1e9)), max_size=200)


@given(st.integers(-5, 40), st.integers(1, 20), steps)
def test_it_stays_between_one_and_the_most(start: int, most: int, measured: list[float | None]) -> None:
    climb = Climb(start, most)
    for rate in measured:
        level = climb.failed() if rate is None else climb.measured(rate)
        assert 1 <= level <= most
        assert level == climb.level


@given(st.integers(1, 16), st.integers(1, 16), st.floats(0, 0.5))
def test_it_finds_the_number_that_fills_the_line(best: int, start: int, worse: float) -> None:
    """One more is worth the same until the line is full, and nothing or less than that beyond."""

    def rate(level: int) -> float:
        return 1000.0 * min(level, best) / (1 + worse * max(0, level - best))

    climb = Climb(start)
    seen = [climb.measured(rate(climb.level)) for _ in range(250)]
    assert abs(climb.level - best) <= 1
    assert sum(level == best for level in seen[-100:]) > 80


@given(st.integers(1, 15), st.integers(1, 15))
def test_it_follows_a_line_that_changes(first: int, second: int) -> None:
    climb = Climb(3)
    for best in (first, second):
        for _ in range(400):
            climb.measured(1000.0 * min(climb.level, best))
        assert abs(climb.level - best) <= 1


def test_errors_halve_it() -> None:
    climb = Climb(16)
    assert [climb.failed() for _ in range(6)] == [8, 4, 2, 1, 1, 1]


class Line:
    """A gate, a tuner and a clock; `send` is one round of requests that all wait their turn."""

    def __init__(self, fixed: int | None = None, most: int = MOST) -> None:
        self.now = 0.0
        self.gate = Gate(1)
        self.tuner = Tuner(self.gate, 3, fixed, most=most, clock=lambda: self.now)

    async def send(self, requests: int, best: int = 100, waiting: bool = True) -> None:
        for _ in range(requests):
            self.now += 1.0 / min(self.gate.limit, best)
            if waiting:
                self.gate.waited += 1
            self.tuner.succeeded(1000)


async def test_a_tuner_moves_the_gate_to_where_it_is_fastest() -> None:
    line = Line()
    assert line.gate.limit == 3
    await line.send(4000, best=7)
    assert line.gate.limit in (6, 7, 8)


async def test_a_tuner_goes_no_higher_than_it_may() -> None:
    line = Line(most=8)
    line.tuner.fix(1)
    line.tuner.fix(None)
    found: list[int] = []
    for _ in range(400):
        await line.send(20)
        found.append(line.gate.limit)
    assert max(found) == 8


async def test_nothing_is_learned_while_nobody_waits() -> None:
    line = Line()
    await line.send(500, waiting=False)
    assert line.gate.limit == 3


async def test_a_fixed_number_stays_until_it_is_given_back() -> None:
    line = Line(fixed=5)
    await line.send(200)
    line.tuner.failed()
    assert line.gate.limit == 5
    line.tuner.fix(2)
    assert line.gate.limit == 2
    line.tuner.fix(None)
    assert line.gate.limit == 3
    await line.send(500)
    assert line.gate.limit > 3


async def test_those_that_fail_together_count_as_one() -> None:
    line = Line()
    await line.send(2000)
    before = line.gate.limit
    assert before > 8
    for _ in range(5):
        line.tuner.failed()
    assert line.gate.limit == before // 2
    line.tuner.succeeded(1000)
    line.tuner.failed()
    assert line.gate.limit == before // 4


# the gate


async def test_a_budget_of_bytes_bounds_what_is_in_flight() -> None:
    gate = Gate(10, budget=100)
    await gate.acquire(60)
    await gate.acquire(40)
    third = asyncio.ensure_future(gate.acquire(1))
    fourth = asyncio.ensure_future(gate.acquire(50))
    await asyncio.sleep(0)
    assert (gate.in_flight, gate.waiting) == (2, 2)
    gate.release(40)
    await asyncio.sleep(0)
    assert third.done()
    assert not fourth.done()
    gate.release(60)
    await fourth
    assert gate.in_flight == 2


async def test_one_request_always_passes() -> None:
    gate = Gate(10, budget=100)
    await gate.acquire(1000)
    second = asyncio.ensure_future(gate.acquire(1))
    await asyncio.sleep(0)
    assert not second.done()
    gate.release(1000)
    await second


@pytest.mark.parametrize("order", ["release first", "cancel first"])
async def test_a_waiter_that_gives_up_takes_no_place(order: str) -> None:
    gate = Gate(1)
    await gate.acquire(5)
    waiter = asyncio.ensure_future(gate.acquire(7))
    other = asyncio.ensure_future(gate.acquire(3))
    await asyncio.sleep(0)
    if order == "release first":
        gate.release(5)
        waiter.cancel()
    else:
        waiter.cancel()
        gate.release(5)
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await other
    assert (gate.in_flight, gate.waiting) == (1, 0)
    gate.release(3)
    assert gate.in_flight == 0


@given(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.integers(1, 6))
def test_whatever_waits_comes_in_at_last(sizes: list[int], limit: int) -> None:
    async def run() -> None:
        gate = Gate(limit, budget=100)
        held = 0

        async def one(size: int) -> None:
            nonlocal held
            await gate.acquire(size)
            held += size
            assert gate.in_flight <= limit
            assert held <= 100 or gate.in_flight == 1
            await asyncio.sleep(0)
            held -= size
            gate.release(size)

        await asyncio.gather(*map(one, sizes))
        assert (gate.in_flight, gate.waiting) == (0, 0)

    asyncio.run(run())
