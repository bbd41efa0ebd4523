"""How many requests may be in flight: a limit that can change while they are."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress


class Gate:
    """Like a semaphore, with a `limit` that may be raised or lowered at any time.

    Lowering it interrupts nothing: no further request begins until enough have ended. Waiters go in order. With a
    `budget` the bytes in flight are bounded too; one request always passes, however large it is.
    """

    def __init__(self, limit: int, budget: int | None = None) -> None:
        self._limit = max(1, limit)
        self._budget = budget
        self._bytes = 0
        self._in_flight = 0
        self._waiters: deque[tuple[asyncio.Future[None], int]] = deque()
        self.waited = 0
        """How many requests had to wait for a place."""

    @property
    def limit(self) -> int:
        """Requests that may be in flight, at least 1."""
        return self._limit

    @limit.setter
    def limit(self, value: int) -> None:
        self._limit = max(1, value)
        self._wake()

    @property
    def in_flight(self) -> int:
        """Requests that are in flight now."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Requests that wait for a place now."""
        return len(self._waiters)

    async def acquire(self, size: int = 0) -> None:
        """Wait for a place for `size` bytes and take it."""
        if not self._waiters and self._has_room(size):
            self._take(size)
            return
        self.waited += 1
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((waiter, size))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release(size)  # the place came together with the cancellation
            else:
                with suppress(ValueError):  # it may have been passed over already
                    self._waiters.remove((waiter, size))
                self._wake()
            raise

    def release(self, size: int = 0) -> None:
        """Give the place back."""
        self._in_flight -= 1
        self._bytes -= size
        self._wake()

    def _has_room(self, size: int) -> bool:
        if self._in_flight >= self._limit:
            return False
        return self._budget is None or not self._in_flight or self._bytes + size <= self._budget

    def _take(self, size: int) -> None:
        self._in_flight += 1
        self._bytes += size

    def _wake(self) -> None:
        while self._waiters and self._has_room(self._waiters[0][1]):
            waiter, size = self._waiters.popleft()
            if not waiter.done():
                self._take(size)
                waiter.set_result(None)
