"""The one place that tries again: with a growing, jittered pause, only what can help, and only while there is hope."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from growi_transfer.protocol.errors import PeerRefused, TransferError, Unavailable, code_of, is_retryable

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

PATIENCE = 300.0
"""Seconds without any success: a server that is redeployed or a machine that restarts is back by then."""
TRIES = 8
"""Of one call, while other calls succeed: the other side is there, and it is this one that does not go."""
_AWAY_STATUS = frozenset({408, 425, 429, 502, 503, 504})
_LONGEST_ASKED = 3600.0


def is_away(error: BaseException) -> bool:
    """Whether an error says that the other side does not answer at the moment, or asks to be left alone."""
    if isinstance(error, PeerRefused):
        return error.peer_retryable and error.status in _AWAY_STATUS
    return isinstance(error, Unavailable)


@dataclass(slots=True)
class Retry:
    """`await retry(call)`: the result of `call`, tried again while its error is retryable. One object for all calls to
    one other side.

    Pauses are `first` seconds, doubled each time up to `longest`, each multiplied by a random factor between 0.5 and
    1. Where the other side says how long to wait (`retry_after` in the error's details, seconds) nothing is asked of
    it before.

    An error that says something else than that the other side is away ends a call after `tries`. While the other side
    is away calls go on, however often they have failed, until nothing at all has succeeded for `patience` seconds; and
    if other calls do succeed, until this one has failed for so long and at least `tries` times. The last error is
    raised as it is.
    """

    sleep: Sleep
    clock: Callable[[], float] = time.monotonic
    patience: float = PATIENCE
    tries: int = TRIES
    first: float = 0.2
    longest: float = 10.0
    jitter: Callable[[], float] = field(default=random.random)
    by_kind: Counter[str] = field(default_factory=Counter)
    """How many times something was tried again, by the code of its error: for the log and the metrics."""
    on_away: Callable[[TransferError, float], None] = field(default=lambda error, seconds: None)
    """Told at each failure, while the other side is away: the error, and for how many seconds it has been."""
    on_back: Callable[[], None] = field(default=lambda: None)
    """Told at the first success after that."""
    successes: int = 0
    _away_since: float | None = None
    _not_before: float = 0.0

    def succeeded(self) -> None:
        """The other side has answered something else than that it is away."""
        self.successes += 1
        if self._away_since is not None:
            self._away_since = None
            self.on_back()

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        pause = self.first
        failures = 0
        since: float | None = None
        while True:
            await self._until_wanted()
            try:
                result = await call()
            except TransferError as error:
                failures += 1
                since = self.clock() if since is None else since
                if not self._may_help(error, failures, self.clock() - since):
                    raise
                self.by_kind[code_of(error)] += 1
            else:
                self.succeeded()
                return result
            await self.sleep(min(pause * (0.5 + self.jitter() / 2), max(0.0, self._patience_left())))
            pause = min(pause * 2, self.longest)

    def _may_help(self, error: TransferError, failures: int, failing: float) -> bool:
        """Whether to call again after so many failures in so many seconds."""
        if not is_away(error):
            self.succeeded()
            return is_retryable(error) and failures < self.tries
        if self._away_since is None:
            self._away_since = self.clock()
        self.on_away(error, self.clock() - self._away_since)
        self._obey(error)
        return self._patience_left() > 0 and (failures < self.tries or failing < self.patience)

    def _patience_left(self) -> float:
        return self.patience if self._away_since is None else self._away_since + self.patience - self.clock()

    def _obey(self, error: TransferError) -> None:
        asked = error.details.get("retry_after")
        if isinstance(asked, int | float) and asked > 0:
            self._not_before = max(self._not_before, self.clock() + min(float(asked), _LONGEST_ASKED))

    async def _until_wanted(self) -> None:
        """Wait as long as the other side has asked for, but not beyond our patience. Not all come back at once."""
        left = min(self._not_before - self.clock(), self._patience_left())
        if left > 0:
            await self.sleep(left + self.jitter() * min(1.0, left / 10))
