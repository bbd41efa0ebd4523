"""How many requests may be in flight: a limit that can change while they are."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Like a semaphore, with a `limit` that may be raised or lowered at any time.

    Lowering it interrupts nothing: no further request begins until enough have ended. Waiters go in order.
    """

    def __init__(self, limit: int) -> None:
        self._limit = max(1, limit)
        self._in_flight = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

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

    async def acquire(self) -> None:
        """Wait for a place and take it."""
        if self._in_flight < self._limit and not self._waiters:
            self._in_flight += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release()  # the place came together with the cancellation
            else:
                self._waiters.remove(waiter)
            raise

    def release(self) -> None:
        """Give the place back."""
        self._in_flight -= 1
        self._wake()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place for a while."""
        await self.acquire()
        try:
            yield
        finally:
            self.release()

    def _wake(self) -> None:
        while self._waiters and self._in_flight < self._limit:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._in_flight += 1
                waiter.set_result(None)
