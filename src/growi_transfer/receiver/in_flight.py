"""Requests that write data of a transfer right now: a cancel waits for them, or they would write behind its back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class InFlight:
    """Counts by transfer."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._ended = asyncio.Condition()

    @asynccontextmanager
    async def of(self, transfer_id: str) -> AsyncIterator[None]:
        """One request is under way. Look at the transfer's state inside, not before."""
        self._counts[transfer_id] += 1
        try:
            yield
        finally:
            self._counts[transfer_id] -= 1
            if not self._counts[transfer_id]:
                del self._counts[transfer_id]
                async with self._ended:
                    self._ended.notify_all()

    async def drained(self, transfer_id: str) -> None:
        """Wait until none is under way. Whoever calls has seen to it that no new one is admitted."""
        async with self._ended:
            await self._ended.wait_for(lambda: not self._counts[transfer_id])
