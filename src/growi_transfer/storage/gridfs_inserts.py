"""Chunks on their way into the bucket, several commands at once: one alone leaves either side waiting for the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from growi_transfer.storage.gridfs_bucket import Bucket

_AT_ONCE = 3
"""Commands of one file, or one bundle."""


class Inserts:
    """The chunks of one file, or of one bundle of files. Their order does not matter: no files document names them yet.

    Whoever gives up, for whatever reason, calls `ended` before he removes what has arrived.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._tasks: deque[asyncio.Task[None]] = deque()

    async def add(self, chunks: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """Make a batch and send it, as soon as there is a place for it. Raises the error of an earlier one."""
        while len(self._tasks) >= _AT_ONCE:
            await self._first()
        self._tasks.append(asyncio.ensure_future(self._bucket.add_chunks(chunks())))

    async def settled(self) -> None:
        """Until all are in. Raises the first error."""
        while self._tasks:
            await self._first()

    async def ended(self) -> None:
        """Until nothing is on its way, whatever became of it: what was sent may be carried out even if nobody waits."""
        if self._tasks:
            done, _ = await asyncio.wait(self._tasks)
            for task in done:
                task.exception()
        self._tasks.clear()

    async def _first(self) -> None:
        await asyncio.wait([self._tasks[0]])
        self._tasks.popleft().result()
