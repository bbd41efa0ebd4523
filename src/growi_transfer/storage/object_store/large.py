"""Large objects in, as one multipart upload: visible when it is complete, removed when it is not.

What is in flight is the same for every size of file. Where obstore does it (all but S3 with GROWI's own key) parts have
one size, so of larger ones fewer are sent at a time; only a part that is more than all that by itself, beyond 281 GiB
(Azure: 1.4 TiB), takes more.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import obstore

from growi_transfer.protocol.errors import SizeMismatch, StorageUnavailable, TransferError
from growi_transfer.storage.base import FileMeta
from growi_transfer.storage.object_store.bucket import Bucket
from growi_transfer.storage.object_store.faults import told
from growi_transfer.storage.object_store.headers import attributes
from growi_transfer.storage.object_store.parts import PART, folder_of
from growi_transfer.storage.object_store.s3_long import LongUpload
from growi_transfer.storage.turns import finished

IN_FLIGHT = 4
_MOST_PARTS = {"aws": 9000, "gcs": 9000, "azure": 45_000}
"""S3 and Google take 10,000 parts, Azure 50,000."""
_MIB = 1 << 20
WRITE = "write-"
"""How the ids of uploads begin that end with their process."""


def parts_at_once(kind: str, size: int) -> tuple[int, int]:
    """Bytes of one part of a file in a store of this kind, and how many parts are sent at a time."""
    length = max(PART, -(-size // _MOST_PARTS[kind]))
    length = -(-length // _MIB) * _MIB
    return length, max(1, IN_FLIGHT * PART // length)


async def write(
    bucket: Bucket, path: str, chunks: AsyncIterator[bytes | memoryview], size: int, meta: FileMeta | None
) -> None:
    """Write exactly `size` bytes, in one request if they are few. Raises SizeMismatch; then nothing is visible."""
    if size <= PART:
        data = bytearray()
        async for chunk in chunks:
            data += chunk
            if len(data) > size:
                break
        if len(data) != size:
            raise SizeMismatch(path=path, expected=size)
        await bucket.put(path, bytes(data), meta)
    elif bucket.s3 is not None:
        upload = LongUpload(bucket, bucket.s3, path, folder_of(WRITE + secrets.token_hex(16)))
        await _in_steps(upload, bucket, path, chunks, size, meta)
    else:
        await _at_once(bucket, path, chunks, size, meta)


async def _in_steps(
    upload: LongUpload,
    bucket: Bucket,
    path: str,
    chunks: AsyncIterator[bytes | memoryview],
    size: int,
    meta: FileMeta | None,
) -> None:
    """Each part is sent again by itself when that helps."""
    number = found = 0
    sending: set[asyncio.Task[None]] = set()

    async def send(number: int, data: bytearray) -> None:
        try:
            await upload.put(number, data)
        finally:
            bucket.parts.release()

    async def sent(data: bytearray) -> None:
        nonlocal number
        number += 1
        for task in [task for task in sending if task.done()]:
            sending.discard(task)
            task.result()
        await bucket.parts.acquire()
        sending.add(asyncio.ensure_future(send(number, data)))

    await upload.begin(meta)
    waiting = bytearray()
    try:
        async for chunk in chunks:
            found += len(chunk)
            if found > size:
                break
            waiting += chunk
            while len(waiting) >= PART:
                rest = waiting[PART:]
                del waiting[PART:]
                await sent(waiting)
                waiting = rest
        if found != size:
            raise SizeMismatch(path=path, expected=size)
        if waiting:
            await sent(waiting)
        await asyncio.gather(*sending)
        await upload.complete(number, size)
    except BaseException:
        for task in sending:
            task.cancel()
        await finished(_give_up(upload, sending))
        raise


async def _give_up(upload: LongUpload, sending: set[asyncio.Task[None]]) -> None:
    await asyncio.gather(*sending, return_exceptions=True)
    with contextlib.suppress(TransferError):  # what went wrong before is what is told
        await upload.abort()


async def _at_once(
    bucket: Bucket, path: str, chunks: AsyncIterator[bytes | memoryview], size: int, meta: FileMeta | None
) -> None:
    feed = _Feed()
    length, in_flight = parts_at_once(bucket.place.kind, size)
    upload = asyncio.ensure_future(
        obstore.put_async(
            bucket.writer,
            bucket.key(path),
            feed.pieces(),
            attributes=attributes(meta),
            use_multipart=True,
            chunk_size=length,
            max_concurrency=in_flight,
        )
    )
    found = 0
    try:
        async for chunk in chunks:
            found += len(chunk)
            if found > size or upload.done():
                break
            await feed.put(chunk, upload)
        if found != size and not upload.done():
            raise SizeMismatch(path=path, expected=size)
        await feed.put(b"", upload)
    except BaseException:
        # obstore removes the parts when what it reads from fails, and leaves them behind when it is cancelled.
        feed.fail()
        await finished(asyncio.gather(upload, return_exceptions=True))
        raise
    try:
        await finished(upload)
    except TransferError:
        raise
    except Exception as error:  # noqa: BLE001 (obstore's errors have no common root)
        raise told(error, bucket.place, path, writing=True) from None


class _Feed:
    """Hands chunks to an upload that is under way."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | memoryview | None] = asyncio.Queue(2)
        self._failed = False

    async def pieces(self) -> AsyncIterator[bytes | memoryview]:
        while piece := await self._pieces.get():
            yield piece
        if piece is None or self._failed:
            raise StorageUnavailable("The upload was given up.")

    async def put(self, piece: bytes | memoryview, upload: asyncio.Future[Any]) -> None:
        """Hand over a piece, an empty one for the end; nothing when the upload is over."""
        waiting = asyncio.ensure_future(self._pieces.put(piece))
        try:
            await asyncio.wait((waiting, upload), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    def fail(self) -> None:
        self._failed = True
        while not self._pieces.empty():
            self._pieces.get_nowait()
        self._pieces.put_nowait(None)
