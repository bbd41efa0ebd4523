"""A large file on its way into GridFS: its chunks, which no files document names yet, and a state document.

State, in `growi_transfer_uploads`: {_id: "upload:<upload id>", files_id, filename, length (durable bytes)}. What is
behind `length` after a restart is removed. A sync stores the last chunk short; it is replaced when it is full.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, TypeVar

from bson import ObjectId

from growi_transfer.protocol.errors import StorageUnavailable
from growi_transfer.storage.base import FileMeta
from growi_transfer.storage.gridfs_bucket import BATCH_CHUNKS, CHUNKS, STATE, Bucket, delete_command
from growi_transfer.storage.gridfs_documents import CHUNK_SIZE, chunk, files_document
from growi_transfer.storage.paths import check_upload_id

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
        self._tail_is_stored = False
        self._hasher = sha256()
        self._hashed = 0
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
        if self._hashed == self._offset:
            await asyncio.gather(self._store(data), asyncio.to_thread(self._hasher.update, data))
            self._hashed += len(data)
        else:
            await self._store(data)

    async def _store(self, data: memoryview) -> None:
        n = self._offset // CHUNK_SIZE
        room = CHUNK_SIZE - len(self._tail)
        position = 0
        batch: list[dict[str, Any]] = []
        while len(data) - position >= room:
            piece = bytes(self._tail) + data[position : position + room]
            if self._tail_is_stored:
                await self._replace(n, piece)
            else:
                batch.append(chunk(self._files_id, n, piece))
            self._tail = bytearray()
            self._tail_is_stored = False
            position += room
            room = CHUNK_SIZE
            n += 1
            if len(batch) >= BATCH_CHUNKS:
                await self._bucket.add_chunks(batch)
                batch = []
        if batch:
            await self._bucket.add_chunks(batch)
        self._tail += data[position:]
        self._offset += len(data)

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
            if self._tail:
                await self._replace(self._offset // CHUNK_SIZE, bytes(self._tail))
                self._tail_is_stored = True
            change = {"q": {"_id": self._state_id}, "u": {"$set": {"length": self._offset}}}
            await self._bucket.run({"update": STATE, "updates": [change]}, majority=True)
            self._durable = self._offset
        return self._durable

    async def _digest(self) -> bytes:
        if self._hashed != self._offset:
            await self._sync()
            # A chunk that is missing makes the digest wrong, which is what the caller asks for.
            self._hasher = sha256()
            for first in range(0, -(-self._offset // CHUNK_SIZE), BATCH_CHUNKS):
                query = {"files_id": self._files_id, "n": {"$gte": first, "$lt": first + BATCH_CHUNKS}}
                data = b"".join(found["data"] for found in await self._bucket.find_chunks(query, BATCH_CHUNKS))
                await asyncio.to_thread(self._hasher.update, data)
            self._hashed = self._offset
        return self._hasher.digest()

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
        if self._files_id is not None:
            await self._bucket.remove_orphans([self._files_id])
            await self._bucket.run(delete_command(STATE, {"_id": self._state_id}))
        self._failure = StorageUnavailable("The upload was aborted.")
