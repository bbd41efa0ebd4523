"""Digests of files that come in several requests: made while parts are on their way, kept from one request to the next.

Without them a file that S3 has put together would have to be read again, all of it. They are of this process alone: a
digest says what was given to the store, and after a restart nobody knows that any more.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from hashlib import sha256
from typing import Protocol

_MOST = 256


class Digest(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class FileDigest:
    """SHA-256 of a file from its beginning, made in threads, while its bytes are sent."""

    def __init__(self, size: int, known: Digest | None) -> None:
        """Of `size` bytes that were digested before; None where that was done by nobody, so that no digest is known."""
        self.hasher: Digest = known or sha256()
        self._size = size if known is not None or not size else -1
        self._last: asyncio.Task[None] | None = None

    def add(self, start: int, data: bytes | bytearray) -> asyncio.Task[None]:
        """Digest those of these bytes that were not before. They begin at `start` in the file, follow on what was
        added, and must not change until this is done."""
        self._last = asyncio.ensure_future(self._after(self._last, start, data))
        return self._last

    async def covers(self, size: int) -> bool:
        """Whether the digest, of all that was added, is that of the first `size` bytes."""
        if self._last is not None:
            await asyncio.wait([self._last])
        return self._size == size

    async def _after(self, before: asyncio.Task[None] | None, start: int, data: bytes | bytearray) -> None:
        if before is not None:
            await asyncio.wait([before])
        size = self._size
        if start <= size < start + len(data):
            # Until it is done nobody knows how much is in it.
            self._size = -1
            await asyncio.to_thread(self.hasher.update, memoryview(data)[size - start :])
            self._size = start + len(data)


class RunningDigests:
    """By upload id: how many bytes were digested, and by what. The oldest are forgotten."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[int, Digest]] = OrderedDict()

    def keep(self, upload_id: str, size: int, digest: Digest) -> None:
        self._kept[upload_id] = (size, digest)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    def take(self, upload_id: str, size: int) -> Digest | None:
        """The digest of the first `size` bytes of an upload, which is then forgotten; None when that is not known."""
        kept, digest = self._kept.pop(upload_id, (-1, None))
        return digest if kept == size else None
