"""A large file on its way into an object store."""

from __future__ import annotations

import asyncio

from growi_transfer.protocol.errors import StorageUnavailable
from growi_transfer.storage.base import FileMeta
from growi_transfer.storage.object_store.bucket import Bucket
from growi_transfer.storage.object_store.part_objects import PartObjects
from growi_transfer.storage.object_store.parts import PART, Part, PartStore
from growi_transfer.storage.object_store.running_digests import FileDigest
from growi_transfer.storage.object_store.s3_parts import S3Parts
from growi_transfer.storage.paths import check_upload_id
from growi_transfer.storage.turns import Turns


class ObjectPartialUpload:
    """One handle at a time for an id. Nothing is in the store before the first `sync`, whole part or `finish`.

    After an error of `write` or `sync` every call but `abort` and `close` raises that error again; a new handle goes
    on at the last sync.
    """

    def __init__(self, bucket: Bucket, path: str, upload_id: str, meta: FileMeta | None) -> None:
        """Call `open` next."""
        self._id = check_upload_id(upload_id)
        self._bucket = bucket
        self._path = path
        self._store: PartStore = (
            S3Parts(bucket, bucket.s3, path, upload_id, meta) if bucket.s3 else PartObjects(bucket, upload_id, meta)
        )
        self._whole = 0
        """Parts that are stored, or under way."""
        self._tail = bytearray()
        """What was written behind them."""
        self._stored_tail = 0
        """How much of it is durable."""
        self._sending: set[asyncio.Task[None]] = set()
        self._digests = FileDigest(0, None)
        self._is_over = False
        self._read_back: tuple[int, bytes] | None = None
        """A digest that was read back, and of how many bytes."""
        self._turns = Turns()

    @property
    def offset(self) -> int:
        return self._end + len(self._tail)

    @property
    def _end(self) -> int:
        return self._whole * PART

    async def open(self) -> None:
        beginning = await self._store.find()
        self._whole = beginning.whole
        self._tail = bytearray(beginning.tail)
        self._stored_tail = len(beginning.tail)
        self._digests = FileDigest(self.offset, self._bucket.digests.take(self._id, self.offset))

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self._turns.take(lambda: self._write(memoryview(data).cast("B")))

    async def sync(self) -> int:
        """Where whole parts are all there is, more may be written while they arrive."""
        offset, sending = await self._turns.take(self._begin_sync)
        if sending:
            await asyncio.wait(sending)
            if any(task.cancelled() or task.exception() is not None for task in sending):
                await self._turns.take(self._sent)
            self._sending -= sending
        return offset

    async def sha256(self) -> bytes | None:
        return await self._turns.take(self._digest)

    async def finish(self) -> None:
        await self._turns.take(self._finish)

    async def abort(self) -> None:
        self._turns.forget()
        await self._turns.take(self._abort)

    async def close(self) -> None:
        self._turns.end(StorageUnavailable("The upload was closed."))
        sent = await asyncio.gather(*self._sending, return_exceptions=True)
        whole = len(self._tail) == self._stored_tail and not any(isinstance(one, BaseException) for one in sent)
        if whole and not self._is_over and await self._has_digest():
            self._is_over = True
            self._bucket.digests.keep(self._id, self.offset, self._digests.hasher)

    async def _write(self, data: memoryview) -> None:
        position = 0
        while position < len(data):
            piece = data[position : position + PART - len(self._tail)]
            self._tail += piece
            position += len(piece)
            if len(self._tail) == PART:
                await self._send_tail()

    async def _send_tail(self) -> None:
        await self._bucket.parts.acquire()
        data = self._tail
        drops, self._stored_tail = self._stored_tail > 0, 0
        self._whole += 1
        self._tail = bytearray()
        digested = self._digests.add(self._end - PART, data)
        self._sending.add(asyncio.ensure_future(self._send(self._whole, data, digested, drops=drops)))

    async def _send(self, number: int, data: bytearray, digested: asyncio.Task[None], *, drops: bool) -> None:
        try:
            # The bytes are held until both are done with them.
            await asyncio.gather(self._store.put(number, data), digested)
        finally:
            self._bucket.parts.release()
        if drops:
            await self._store.drop_tail()

    async def _sent(self) -> None:
        """Everything that is under way has arrived."""
        sending, self._sending = self._sending, set()
        for result in await asyncio.gather(*sending, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _begin_sync(self) -> tuple[int, set[asyncio.Task[None]]]:
        """The offset, and what has to end before it is durable."""
        if len(self._tail) == self._stored_tail:
            return self.offset, set(self._sending)
        return await self._sync(), set()

    async def _sync(self) -> int:
        await self._sent()
        if len(self._tail) != self._stored_tail:
            await self._store.put_tail(Part(self._end, len(self._tail)), bytes(self._tail))
            self._stored_tail = len(self._tail)
        return self.offset

    async def _digest(self) -> bytes | None:
        if await self._has_digest():
            return self._digests.hasher.digest()
        if self._read_back is None or self._read_back[0] != self.offset:
            await self._sync()
            digest = await self._store.digest(self._whole, bytes(self._tail))
            self._read_back = None if digest is None else (self.offset, digest)
        return self._read_back and self._read_back[1]

    async def _has_digest(self) -> bool:
        """Whether all bytes written so far are digested; those that are in no whole part yet are now."""
        self._digests.add(self._end, bytes(self._tail))
        return await self._digests.covers(self.offset)

    async def _finish(self) -> None:
        await self._sent()
        digest = await self._digest()
        await self._store.compose(self._path, self._whole, bytes(self._tail), digest)
        await self._store.remove()
        self._is_over = True
        self._turns.end(StorageUnavailable("The upload was finished."))

    async def _abort(self) -> None:
        await asyncio.gather(*self._sending, return_exceptions=True)
        self._sending.clear()
        await self._store.remove()
        self._is_over = True
        self._turns.end(StorageUnavailable("The upload was aborted."))
