"""The one place that tries again: with a growing, jittered pause, and only what can help."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from growi_transfer.protocol.errors import TransferError, code_of, is_retryable

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class Retry:
    """`await retry(call)`: the result of `call`, tried again while its error is retryable and tries are left.

    Pauses are `first` seconds, doubled each time up to `longest`, each multiplied by a random factor between 0.5 and
    1. A `retry_after` in the error's details is honoured (seconds).
    """

    sleep: Sleep
    tries: int = 6
    first: float = 0.2
    longest: float = 10.0
    jitter: Callable[[], float] = field(default=random.random)
    retried: int = 0
    """How many times something was tried again, for the log."""
    by_kind: Counter[str] = field(default_factory=Counter)
    """The same by the code of the error."""

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        pause = self.first
        for attempt in range(1, self.tries + 1):
            try:
                return await call()
            except TransferError as error:
                if not is_retryable(error) or attempt == self.tries:
                    raise
                asked = error.details.get("retry_after")
                self.by_kind[code_of(error)] += 1
            self.retried += 1
            wait = pause * (0.5 + self.jitter() / 2)
            await self.sleep(max(wait, min(float(asked), 60.0)) if asked is not None else wait)
            pause = min(pause * 2, self.longest)
        raise AssertionError("unreachable")
