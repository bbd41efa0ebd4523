"""A large file on its way into GridFS: its chunks, which no files document names yet, and a state document.

State, in `growi_transfer_uploads`: {_id: "upload:<upload id>", files_id, filename, length (durable bytes)}. What is
behind `length` after a restart is removed. Chunks go in batches; a sync stores the last one short, and it is replaced
when it is full.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, TypeVar

from bson import ObjectId

from growi_transfer.protocol.errors import StorageUnavailable
from growi_transfer.storage.base import FileMeta
from growi_transfer.storage.gridfs_bucket import BATCH_CHUNKS, CHUNKS, STATE, Bucket, delete_command
from growi_transfer.storage.gridfs_documents import CHUNK_SIZE, chunks_of, files_document
from growi_transfer.storage.gridfs_inserts import Inserts
from growi_transfer.storage.paths import check_upload_id

_BLOCK = BATCH_CHUNKS * CHUNK_SIZE

T = TypeVar("T")


class GridFsPartialUpload:
    """One handle at a time for an id. Nothing is in the database before the first `write` or `finish`.

    After an error of `write` or `sync` every call but `abort` and `close` raises that error again; a new handle goes
    on at the last sync.
    """

    def __init__(self, bucket: Bucket, filename: str, upload_id: str, meta: FileMeta | None) -> None:
        """Call `open` next."""
        self._bucket = bucket
        self._filename = filename
        self._state_id = f"upload:{check_upload_id(upload_id)}"
        self._meta = meta
        self._files_id: Any = None
        self._offset = 0
        self._durable = 0
        self._tail = bytearray()
        """Bytes behind those that are on their way; it begins where a chunk does."""
        self._tail_is_stored = False
        """Whether the first chunk of the tail is in the bucket, short, from a sync."""
        self._inserts = Inserts(bucket)
        self._hasher = sha256()
        self._hashed = 0
        """Bytes in the hasher."""
        self._failure: Exception | None = None
        self._turn = asyncio.Lock()
        self._steps: set[asyncio.Future[Any]] = set()

    @property
    def offset(self) -> int:
        return self._offset

    async def open(self) -> None:
        reply = await self._bucket.run({"find": STATE, "filter": {"_id": self._state_id}, "singleBatch": True})
        for state in reply["cursor"]["firstBatch"]:
            if await self._bucket.has_file(state["files_id"]):
                # Finished, and stopped before the state was removed: the id is free for another file.
                await self._bucket.run(delete_command(STATE, {"_id": self._state_id}))
                return
            self._files_id = state["files_id"]
            self._offset = self._durable = int(state["length"])
            await self._load_tail()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self._in_turn(lambda: self._write(memoryview(data).cast("B")))

    async def sync(self) -> int:
        return await self._in_turn(self._sync)

    async def sha256(self) -> bytes:
        return await self._in_turn(self._digest)

    async def finish(self) -> None:
        await self._in_turn(self._finish)

    async def abort(self) -> None:
        self._failure = None
        await self._in_turn(self._abort)

    async def close(self) -> None:
        async with self._turn:
            await self._inserts.ended()
            self._failure = StorageUnavailable("The upload was closed.")

    async def _in_turn(self, step: Callable[[], Awaitable[T]]) -> T:
        """A cancelled caller leaves its step running, since half a step would lose count of what is stored; the
        next one waits for its end."""
        task = asyncio.ensure_future(self._guarded(step))
        self._steps.add(task)
        task.add_done_callback(self._steps.discard)
        return await asyncio.shield(task)

    async def _guarded(self, step: Callable[[], Awaitable[T]]) -> T:
        async with self._turn:
            if self._failure is not None:
                raise self._failure
            try:
                return await step()
            except Exception as error:
                await self._inserts.ended()
                self._failure = error
                raise

    async def _load_tail(self) -> None:
        n, length = divmod(self._durable, CHUNK_SIZE)
        found = await self._bucket.find_chunks({"files_id": self._files_id, "n": n}, 1) if length else []
        self._tail = bytearray(found[0]["data"][:length] if found else b"")
        self._tail_is_stored = bool(found)
        if found and len(found[0]["data"]) > length:
            # It grew after the last sync.
            await self._replace(n, bytes(self._tail))
        first_gone = n + 1 if length else n
        await self._bucket.run(delete_command(CHUNKS, {"files_id": self._files_id, "n": {"$gte": first_gone}}))

    async def _write(self, data: memoryview) -> None:
        await self._begin()
        self._tail += data
        self._offset += len(data)
        while len(self._tail) >= _BLOCK:
            await self._send(_BLOCK)

    async def _send(self, size: int) -> None:
        """The first bytes of the tail, whole chunks, are on their way when this returns."""
        data = bytes(memoryview(self._tail)[:size])
        start = self._offset - len(self._tail)
        self._tail = self._tail[size:]
        if self._hashed == start:
            await asyncio.to_thread(self._hasher.update, data)
            self._hashed += size
        n = start // CHUNK_SIZE
        if self._tail_is_stored:
            self._tail_is_stored = False
            await self._replace(n, data[:CHUNK_SIZE])
            n, data = n + 1, data[CHUNK_SIZE:]
        if data:
            await self._inserts.add(functools.partial(chunks_of, self._files_id, data, n))

    async def _replace(self, n: int, data: bytes) -> None:
        change = {"q": {"files_id": self._files_id, "n": n}, "u": {"$set": {"data": data}}, "upsert": True}
        await self._bucket.run({"update": CHUNKS, "updates": [change]})

    async def _begin(self) -> None:
        if self._files_id is None:
            await self._bucket.prepare()
            files_id = ObjectId()
            state = {"_id": self._state_id, "files_id": files_id, "filename": self._filename, "length": 0}
            await self._bucket.run({"insert": STATE, "documents": [state]})
            self._files_id = files_id

    async def _sync(self) -> int:
        if self._offset != self._durable:
            whole = len(self._tail) - len(self._tail) % CHUNK_SIZE
            if whole:
                await self._send(whole)
            if self._tail:
                await self._replace(self._offset // CHUNK_SIZE, bytes(self._tail))
                self._tail_is_stored = True
            await self._inserts.settled()
            change = {"q": {"_id": self._state_id}, "u": {"$set": {"length": self._offset}}}
            await self._bucket.run({"update": STATE, "updates": [change]}, majority=True)
            self._durable = self._offset
        return self._durable

    async def _digest(self) -> bytes:
        if self._hashed == self._offset - len(self._tail):
            hasher = self._hasher.copy()
            await asyncio.to_thread(hasher.update, self._tail)
            return hasher.digest()
        # A chunk that is missing makes the digest wrong, which is what the caller asks for.
        await self._sync()
        self._hasher, self._hashed = sha256(), 0
        whole = self._offset - len(self._tail)
        for first in range(0, whole // CHUNK_SIZE, BATCH_CHUNKS):
            last = min(first + BATCH_CHUNKS, whole // CHUNK_SIZE)
            query = {"files_id": self._files_id, "n": {"$gte": first, "$lt": last}}
            data = b"".join(found["data"] for found in await self._bucket.find_chunks(query, BATCH_CHUNKS))
            await asyncio.to_thread(self._hasher.update, data)
        self._hashed = whole
        hasher = self._hasher.copy()
        hasher.update(self._tail)
        return hasher.digest()

    async def _finish(self) -> None:
        await self._begin()
        await self._sync()
        if not await self._bucket.has_file(self._files_id):
            known = await self._bucket.rows([self._filename])
            document = files_document(self._files_id, self._filename, self._offset, self._meta, known)
            await self._bucket.add_files([document], replaced=known)
        await self._bucket.run(delete_command(STATE, {"_id": self._state_id}))
        self._failure = StorageUnavailable("The upload was finished.")

    async def _abort(self) -> None:
        await self._inserts.ended()
        if self._files_id is not None:
            await self._bucket.remove_orphans([self._files_id])
            await self._bucket.run(delete_command(STATE, {"_id": self._state_id}))
        self._failure = StorageUnavailable("The upload was aborted.")
