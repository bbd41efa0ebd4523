"""The one place where a storage tries again: which faults there are, and which of them pass by themselves.

It mends what is over within seconds: a lost connection, a store that asks for less. What lasts longer is told to the
caller as StorageUnavailable, who has more patience and knows what else to do.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

T = TypeVar("T")


class Fault(Enum):
    """What went wrong with one request to a store."""

    NOT_FOUND = "not found"
    CHANGED = "changed"
    """A condition of the request did not hold: the object is another one than it was, or there already."""
    CREDENTIALS = "credentials"
    DENIED = "denied"
    NO_BUCKET = "no bucket"
    REGION = "region"
    THROTTLED = "throttled"
    FULL = "full"
    NETWORK = "network"
    """No answer, a broken one, or one that says that the store is not well."""
    OTHER = "other"


_PASSING = {Fault.NETWORK: 5, Fault.THROTTLED: 10}
"""Faults that pass, and how often one request is made then, in all."""


@dataclass(slots=True)
class StorageRetry:
    """`await retry(call)`: the result of `call`, made again while its fault is one that passes. The last error is
    raised as it is. One object for all requests to one store.

    Pauses are `first` seconds, doubled up to `longest`, each multiplied by a random factor between 0.5 and 1. A store
    that throttles is left alone by all requests for that long, because each of them is what it complains of.
    """

    fault_of: Callable[[Exception], Fault]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = field(default=random.random)
    first: float = 0.2
    longest: float = 8.0
    tried_again: dict[Fault, int] = field(default_factory=dict)
    """How often something was tried again, by fault."""
    _not_before: float = 0.0

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        pause, tries = self.first, 0
        while True:
            while (wait := self._not_before - self.clock()) > 0:
                await self.sleep(wait)
            try:
                return await call()
            except Exception as error:
                fault = self.fault_of(error)
                tries += 1
                if tries >= _PASSING.get(fault, 0):
                    raise
            self.tried_again[fault] = self.tried_again.get(fault, 0) + 1
            delay = pause * (0.5 + self.jitter() / 2)
            pause = min(self.longest, pause * 2)
            if fault is Fault.THROTTLED:
                self._not_before = max(self._not_before, self.clock() + delay)
            else:
                await self.sleep(delay)
