"""What is tried again, how often, for how long, and after which pauses: with a clock of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.errors import (
    DigestMismatch,
    InvalidRequest,
    PeerRefused,
    PeerUnavailable,
    StorageUnavailable,
    TransferError,
)
from growi_transfer.pusher.retry import Retry


class Clock:
    """Time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def retry(self, **options: Any) -> Retry:
        return Retry(self.sleep, clock=lambda: self.now, **{"jitter": lambda: 1.0, **options})


def proxy(status: int, **details: Any) -> PeerRefused:
    return PeerRefused("", code="x", status=status, retryable=status in (408, 425, 429, 502, 503, 504), **details)


class Line:
    """Fails while the clock stands before `back`."""

    def __init__(self, clock: Clock, back: float, error: Callable[[], TransferError] = PeerUnavailable) -> None:
        self.clock, self.back, self.error = clock, back, error
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.clock.now < self.back:
            raise self.error()
        return "done"


async def test_pauses_grow_and_end_at_the_longest() -> None:
    clock = Clock()
    line = Line(clock, clock.now + 40)
    assert await clock.retry()(line) == "done"
    assert clock.slept == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0]


async def test_half_of_a_pause_is_chance() -> None:
    clock = Clock()
    await clock.retry(jitter=lambda: 0.0)(Line(clock, clock.now + 0.5))
    assert clock.slept == [0.1, 0.2, 0.4]


@pytest.mark.parametrize("error", [PeerUnavailable, lambda: proxy(502), lambda: proxy(504), StorageUnavailable])
async def test_a_side_that_is_away_is_waited_for(error: Callable[[], TransferError]) -> None:
    clock = Clock()
    retry = clock.retry(patience=300)
    assert await retry(Line(clock, clock.now + 280, error)) == "done"
    with pytest.raises(TransferError) as caught:
        await retry(Line(clock, clock.now + 301, error))
    assert type(caught.value) is type(error())
    assert 600 > clock.now - 1280 >= 300


async def test_a_line_that_comes_back_has_all_patience_again() -> None:
    clock = Clock()
    retry = clock.retry(patience=60)
    for _ in range(5):
        await retry(Line(clock, clock.now + 55))
    assert clock.now >= 1275


async def test_without_patience_it_fails_at_once() -> None:
    clock = Clock()
    with pytest.raises(PeerUnavailable):
        await clock.retry(patience=0)(Line(clock, clock.now + 1))
    assert clock.slept == []


async def test_one_call_that_never_goes_while_others_do() -> None:
    clock = Clock()
    retry = clock.retry(patience=60, tries=5)
    line = Line(clock, clock.now + 1e9, lambda: proxy(504))

    async def failing() -> str:
        retry.succeeded()  # by another call
        return await line()

    with pytest.raises(PeerRefused):
        await retry(failing)
    assert clock.now - 1000 >= 60
    assert line.calls >= 5


async def test_what_cannot_be_helped_is_not_tried_again() -> None:
    clock = Clock()
    for error in (InvalidRequest, lambda: proxy(409), lambda: PeerRefused("", code="x", status=503)):
        line = Line(clock, 1e9, error)
        with pytest.raises(TransferError):
            await clock.retry()(line)
        assert line.calls == 1


async def test_an_error_of_the_content_ends_after_some_tries() -> None:
    clock = Clock()
    line = Line(clock, 1e9, DigestMismatch)
    with pytest.raises(DigestMismatch):
        await clock.retry(tries=4)(line)
    assert line.calls == 4


async def test_who_asks_to_be_left_alone_is_left_alone_by_all() -> None:
    clock = Clock()
    retry = clock.retry()
    begun: list[float] = []

    async def call() -> None:
        begun.append(clock.now - 1000)
        if len(begun) == 1:
            raise proxy(429, retry_after=30)

    await asyncio.gather(retry(call), retry(call))
    # The second one had begun before anybody knew; whatever begins afterwards has waited.
    assert begun[:2] == [0.0, 0.0] or begun[1] >= 30
    assert all(moment >= 30 for moment in begun[2:])
    later = Line(clock, 0)
    await retry(later)
    assert clock.now - 1000 >= 30


async def test_a_wish_to_wait_longer_than_our_patience() -> None:
    clock = Clock()
    with pytest.raises(PeerRefused):
        await clock.retry(patience=50)(Line(clock, 1e9, lambda: proxy(503, retry_after=3600)))
    assert 50 <= clock.now - 1000 < 60


@pytest.mark.parametrize("nonsense", ["30", None, -5, [], {"a": 1}])
async def test_a_wish_that_is_none(nonsense: object) -> None:
    clock = Clock()
    await clock.retry()(Line(clock, clock.now + 0.1, lambda: proxy(503, retry_after=nonsense)))
    assert clock.slept == [0.2]


async def test_retries_are_counted_by_kind_and_outages_are_told() -> None:
    clock = Clock()
    told: list[float] = []
    retry = clock.retry(on_away=lambda error, seconds: told.append(seconds), on_back=lambda: told.append(-1))
    await retry(Line(clock, clock.now + 3))
    await retry(Line(clock, 0))
    line = iter([DigestMismatch(), DigestMismatch()])

    async def twice() -> None:
        error = next(line, None)
        if error is not None:
            raise error

    await retry(twice)
    assert retry.by_kind == {"peer_unavailable": 4, "digest_mismatch": 2}
    assert told == [0.0, pytest.approx(0.2), pytest.approx(0.6), pytest.approx(1.4), -1]


@given(st.lists(st.sampled_from([PeerUnavailable, DigestMismatch, lambda: proxy(502)]), max_size=30), st.floats(0, 100))
def test_it_always_ends(errors: list[Callable[[], TransferError]], patience: float) -> None:
    async def run() -> None:
        clock = Clock()
        left = list(errors)

        async def call() -> int:
            if left:
                raise left.pop()()
            return 7

        try:
            assert await clock.retry(patience=patience)(call) == 7
            assert not left
        except TransferError:
            assert errors

    asyncio.run(run())
