"""Parts as objects of their own, put together by writing the file from them: for every store that obstore knows.

The bytes go to the store a second time at the end, but nothing needs more than reading and writing objects, and what
is put together is proved on the way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from hashlib import sha256

from growi_transfer.protocol.errors import FileNotFound, StorageUnavailable
from growi_transfer.storage.base import FileMeta
from growi_transfer.storage.object_store import large
from growi_transfer.storage.object_store.bucket import Bucket
from growi_transfer.storage.object_store.parts import PART, Beginning, Folder, Part, about_of, meta_in, part_at

_AHEAD = 3


class PartObjects:
    """The parts of one upload, of which each is an object."""

    def __init__(self, bucket: Bucket, upload_id: str, meta: FileMeta | None) -> None:
        self._bucket = bucket
        self._folder = Folder(bucket, upload_id)
        self._meta = meta
        self._has_about = False
        self._tail: Part | None = None

    async def find(self) -> Beginning:
        found, about = await self._folder.find()
        self._has_about = about is not None
        self._meta = self._meta or (meta_in(about) if about else None)
        whole = 0
        tail: Part | None = None
        for part in found:
            if part == part_at(whole + 1):
                whole += 1
            elif part.start == whole * PART and tail is None:
                tail = part
        self._tail = tail if tail and tail.start == whole * PART else None
        behind = whole * PART
        await self._folder.drop(
            [part for part in found if part != self._tail and (part.length != PART or part.start >= behind)]
        )
        rest = b"".join([data async for data in self._read([self._tail])]) if self._tail else b""
        return Beginning(whole, rest, self._meta)

    async def put(self, number: int, data: bytes | bytearray) -> None:
        await self._put_about()
        await self._bucket.put(self._folder.path(part_at(number)), data)

    async def put_tail(self, part: Part, data: bytes) -> None:
        await self._put_about()
        await self._bucket.put(self._folder.path(part), data)
        if self._tail not in (None, part):
            await self.drop_tail()
        self._tail = part

    async def drop_tail(self) -> None:
        if self._tail is not None:
            await self._folder.drop([self._tail])
            self._tail = None

    async def digest(self, whole: int, tail: bytes) -> bytes | None:
        hasher = sha256()
        async for data in self._read(map(part_at, range(1, whole + 1))):
            await asyncio.to_thread(hasher.update, data)
        hasher.update(tail)
        return hasher.digest()

    async def compose(self, path: str, whole: int, tail: bytes, digest: bytes | None) -> None:
        if whole:
            size = whole * PART + len(tail)
            await large.write(self._bucket, path, self._proved(whole, tail, digest), size, self._meta)
        else:
            await self._bucket.put(path, tail, self._meta)

    async def remove(self) -> None:
        await self._folder.remove()

    async def _proved(self, whole: int, tail: bytes, digest: bytes | None) -> AsyncIterator[bytes]:
        """What is stored. Ends in StorageUnavailable before the last piece when it has another digest."""
        hasher = sha256()
        last = b""
        async for data in self._read(map(part_at, range(1, whole + 1))):
            if last:
                yield last
            await asyncio.to_thread(hasher.update, data)
            last = data
        hasher.update(tail)
        if digest is not None and hasher.digest() != digest:
            raise StorageUnavailable("What was written to the attachment storage was not read back.")
        yield last
        if tail:
            yield tail

    async def _put_about(self) -> None:
        if not self._has_about and self._meta is not None:
            self._has_about = True
            await self._folder.put_about(about_of(self._meta))

    async def _read(self, parts: Iterable[Part]) -> AsyncGenerator[bytes, None]:
        """The bytes of these parts, one part a piece, some of them read ahead."""
        ahead: deque[asyncio.Task[tuple[int, bytes]]] = deque()
        waiting = iter(parts)
        try:
            while True:
                while len(ahead) < _AHEAD and (part := next(waiting, None)) is not None:
                    ahead.append(asyncio.ensure_future(self._bucket.get(self._folder.path(part), part.length)))
                if not ahead:
                    return
                try:
                    _, data = await ahead[0]
                except FileNotFound:
                    raise StorageUnavailable("A part of the upload is not there any more.") from None
                ahead.popleft()
                yield data
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)
