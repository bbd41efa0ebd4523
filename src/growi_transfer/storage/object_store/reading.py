"""Large objects out: several ranges at once, each of the very object that was there at the beginning."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from growi_transfer.protocol.errors import FileNotFound, StorageUnavailable
from growi_transfer.storage.base import READ_CHUNK
from growi_transfer.storage.object_store.bucket import Bucket, Changed
from growi_transfer.storage.turns import finished

RANGE = 8 << 20
AHEAD = 4
"""Ranges of one object in flight, if the store's share allows it."""
_BEGINNINGS = 5


async def read(bucket: Bucket, path: str, offset: int = 0) -> AsyncGenerator[bytes, None]:
    """The bytes from `offset` on, in chunks of READ_CHUNK. Raises FileNotFound, and StorageUnavailable when the
    object was replaced after some of it was given out; before that it begins again with the new one."""
    for _ in range(_BEGINNINGS):
        found = await bucket.head(path)
        if found is None:
            raise FileNotFound(path=path)
        begun = False
        try:
            async for block in blocks(bucket, path, offset, found.size, found.etag):
                for start in range(0, len(block), READ_CHUNK):
                    begun = True
                    yield bytes(block[start : start + READ_CHUNK])
            return
        except Changed:
            if begun:
                break
    raise StorageUnavailable("The file was replaced while it was read; it has to be read again.", path=path)


async def blocks(bucket: Bucket, path: str, start: int, end: int, etag: str | None) -> AsyncGenerator[memoryview, None]:
    """The bytes of an object in blocks of RANGE, in order. Raises Changed."""
    ahead: deque[asyncio.Task[memoryview]] = deque()
    shared = 0
    try:
        while start < end or ahead:
            while start < end and len(ahead) < AHEAD:
                # The first one needs no share of what all readers may hold: a reader must never wait for another one.
                if ahead:
                    if bucket.parts.locked():
                        break
                    await bucket.parts.acquire()
                    shared += 1
                stop = min(start + RANGE, end)
                ahead.append(asyncio.ensure_future(bucket.get_range(path, start, stop, etag)))
                start = stop
            block = await ahead[0]
            ahead.popleft()
            if shared:
                bucket.parts.release()
                shared -= 1
            yield block
    finally:
        for task in ahead:
            task.cancel()
        for _ in range(shared):
            bucket.parts.release()
        await finished(asyncio.gather(*ahead, return_exceptions=True))
