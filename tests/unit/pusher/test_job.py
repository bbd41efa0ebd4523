"""A push through restarts of the source's own database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from growi_transfer.protocol.errors import DatabaseUnavailable, PeerUnavailable
from growi_transfer.pusher.adapt import Tuner
from growi_transfer.pusher.bandwidth import BandwidthLimiter
from growi_transfer.pusher.gate import Gate
from growi_transfer.pusher.job import PushJob
from growi_transfer.pusher.retry import Retry


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


class Push:
    """Ends with each error, a while after it was begun, and then well."""

    def __init__(self, time: Time, errors: list[Exception], lasts: float = 1.0) -> None:
        self.time, self.errors, self.lasts = time, errors, lasts
        self.runs = 0

    async def run(self) -> None:
        self.runs += 1
        self.time.now += self.lasts
        if self.errors:
            raise self.errors.pop(0)


def tuner() -> Tuner:
    return Tuner(Gate(1), 1, None)


def job(time: Time, push: Push, look: Callable[[], None] = lambda: None, patience: float = 60) -> PushJob:
    async def looks() -> None:
        look()

    retry = Retry(time.sleep, clock=time, patience=patience)
    return PushJob(push, tuner(), tuner(), BandwidthLimiter(), source=retry, look=looks, clock=time)


async def test_a_push_goes_on_when_its_database_is_back() -> None:
    time = Time()
    push = Push(time, [DatabaseUnavailable(), DatabaseUnavailable()])

    def look() -> None:
        if time.now < 30:
            raise DatabaseUnavailable()

    await job(time, push, look).run()
    assert push.runs == 3
    assert time.now >= 30


async def test_an_error_of_a_group_is_no_order_to_stop() -> None:
    class Together(Push):
        async def run(self) -> None:
            # As `Push` does: the group waits for its tasks when one of them fails.
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(super().run())
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None

    time = Time()
    push = Together(time, [DatabaseUnavailable(), DatabaseUnavailable()])
    await job(time, push).run()
    assert push.runs == 3


async def test_patience_ends() -> None:
    time = Time()

    def look() -> None:
        raise DatabaseUnavailable()

    with pytest.raises(DatabaseUnavailable):
        await job(time, Push(time, [DatabaseUnavailable()]), look).run()
    assert 60 <= time.now < 80


async def test_a_database_that_is_there_and_never_works() -> None:
    time = Time()
    push = Push(time, [DatabaseUnavailable() for _ in range(100)])
    with pytest.raises(DatabaseUnavailable):
        await job(time, push).run()
    assert push.runs == 8


async def test_a_long_way_with_many_restarts() -> None:
    time = Time()
    push = Push(time, [DatabaseUnavailable() for _ in range(20)], lasts=100)
    await job(time, push).run()
    assert push.runs == 21


async def test_other_errors_are_not_waited_out() -> None:
    time = Time()
    push = Push(time, [PeerUnavailable()])
    with pytest.raises(PeerUnavailable):
        await job(time, push).run()
    assert push.runs == 1


async def test_an_order_to_stop_wins() -> None:
    begun = asyncio.Event()

    class Stubborn:
        async def run(self) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise DatabaseUnavailable from None

    async def look() -> None:
        raise AssertionError("nobody asks any more")

    retry = Retry(asyncio.sleep)
    running = asyncio.ensure_future(
        PushJob(Stubborn(), tuner(), tuner(), BandwidthLimiter(), source=retry, look=look).run()
    )
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
