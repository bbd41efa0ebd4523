"""A large file on its way into an object store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256

from growi_transfer.protocol.errors import StorageUnavailable
from growi_transfer.storage.base import FileMeta
from growi_transfer.storage.object_store import large
from growi_transfer.storage.object_store.bucket import Bucket
from growi_transfer.storage.object_store.parts import Part, Parts
from growi_transfer.storage.paths import check_upload_id
from growi_transfer.storage.turns import Turns

_PART = 8 << 20


class ObjectPartialUpload:
    """One handle at a time for an id. Nothing is in the store before the first `sync`, full part or `finish`.

    After an error of `write` or `sync` every call but `abort` and `close` raises that error again; a new handle goes
    on at the last sync.
    """

    def __init__(self, bucket: Bucket, path: str, upload_id: str, meta: FileMeta | None) -> None:
        """Call `open` next."""
        self._bucket = bucket
        self._path = path
        self._parts = Parts(bucket, check_upload_id(upload_id))
        self._meta = meta
        self._about_is_stored = False
        self._chain: list[Part] = []
        """Parts that are stored or under way, in order; the bytes behind them are in the tail."""
        self._tail = bytearray()
        self._short: Part | None = None
        """The part that holds the tail as it was at the last sync."""
        self._sending: set[asyncio.Task[None]] = set()
        self._hasher = sha256()
        self._hashed = 0
        self._turns = Turns()

    @property
    def offset(self) -> int:
        return self._start + len(self._tail)

    @property
    def _start(self) -> int:
        """Where the tail begins."""
        return self._chain[-1].start + self._chain[-1].length if self._chain else 0

    async def open(self) -> None:
        chain, _, meta = await self._parts.find()
        self._about_is_stored = meta is not None
        self._meta = self._meta or meta
        if chain and chain[-1].length < _PART:
            self._short = chain.pop()
            self._tail = bytearray(await anext(aiter(self._parts.read([self._short]))))
        self._chain = chain

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self._turns.take(lambda: self._write(memoryview(data).cast("B")))

    async def sync(self) -> int:
        return await self._turns.take(self._sync)

    async def sha256(self) -> bytes:
        return await self._turns.take(self._digest)

    async def finish(self) -> None:
        await self._turns.take(self._finish)

    async def abort(self) -> None:
        self._turns.forget()
        await self._turns.take(self._abort)

    async def close(self) -> None:
        self._turns.end(StorageUnavailable("The upload was closed."))
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _write(self, data: memoryview) -> None:
        if self._hashed == self.offset:
            await asyncio.to_thread(self._hasher.update, data)
            self._hashed += len(data)
        position = 0
        while position < len(data):
            piece = data[position : position + _PART - len(self._tail)]
            self._tail += piece
            position += len(piece)
            if len(self._tail) == _PART:
                await self._send_tail()

    async def _send_tail(self) -> None:
        await self._put_about()
        part, data, short = Part(self._start, len(self._tail)), bytes(self._tail), self._short
        self._chain.append(part)
        self._tail = bytearray()
        self._short = None
        await self._bucket.parts.acquire()
        task = asyncio.ensure_future(self._send(part, data, short))
        self._sending.add(task)

    async def _send(self, part: Part, data: bytes, short: Part | None) -> None:
        try:
            await self._parts.put(part, data)
        finally:
            self._bucket.parts.release()
        if short is not None:
            await self._parts.remove([short])

    async def _sent(self) -> None:
        """Everything that is under way has arrived."""
        sending, self._sending = self._sending, set()
        for result in await asyncio.gather(*sending, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _put_about(self) -> None:
        if self._meta is not None and not self._about_is_stored:
            await self._parts.put_about(self._meta)
            self._about_is_stored = True

    async def _sync(self) -> int:
        await self._sent()
        if self._tail and (self._short is None or self._short.length != len(self._tail)):
            await self._put_about()
            short = Part(self._start, len(self._tail))
            await self._parts.put(short, bytes(self._tail))
            if self._short is not None:
                await self._parts.remove([self._short])
            self._short = short
        return self.offset

    async def _digest(self) -> bytes:
        if self._hashed != self.offset:
            await self._sync()
            self._hasher = sha256()
            async for data in self._parts.read(self._stored()):
                await asyncio.to_thread(self._hasher.update, data)
            self._hashed = self.offset
        return self._hasher.digest()

    def _stored(self) -> list[Part]:
        return [*self._chain, self._short] if self._short else self._chain

    async def _finish(self) -> None:
        if self._chain:
            expected = await self._digest()
            await self._sync()
            await large.write(self._bucket, self._path, self._checked(expected), self.offset, self._meta)
        else:
            await self._bucket.put(self._path, bytes(self._tail), self._meta)
        await self._parts.remove_all()
        self._turns.end(StorageUnavailable("The upload was finished."))

    async def _checked(self, expected: bytes) -> AsyncIterator[bytes]:
        """What is stored. Raises StorageUnavailable, before the last piece, when it is not what was written."""
        hasher = sha256()
        last: bytes | None = None
        async for data in self._parts.read(self._stored()):
            if last is not None:
                yield last
            await asyncio.to_thread(hasher.update, data)
            last = data
        if hasher.digest() != expected:
            raise StorageUnavailable("What was written to the attachment storage was not read back.")
        if last is not None:
            yield last

    async def _abort(self) -> None:
        await asyncio.gather(*self._sending, return_exceptions=True)
        self._sending.clear()
        await self._parts.remove_all()
        self._turns.end(StorageUnavailable("The upload was aborted."))
