"""GROWI's GridFS bucket `attachmentFiles`, by database commands: rows, chunks, and what keeps it free of orphans.

A file is there when its files document is, so that one comes last in and goes first out. Between the two, chunks are
orphans that nothing points to. So before any are written or left, their ids are noted in `growi_transfer_uploads`;
whoever opens the bucket for writing a day later removes what a killed process left behind.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol

from bson import ObjectId

from growi_transfer.protocol.errors import (
    DatabaseFull,
    DatabaseRefused,
    DatabaseUnavailable,
    FileNotFound,
    SizeMismatch,
    StorageFull,
    StorageNotWritable,
    StorageUnavailable,
    TransferError,
)
from growi_transfer.storage.gridfs_documents import CHUNK_SIZE, Row, as_row, joined, newer_than
from growi_transfer.storage.turns import finished

FILES = "attachmentFiles.files"
CHUNKS = "attachmentFiles.chunks"
STATE = "growi_transfer_uploads"
BATCH_CHUNKS = 8
"""Chunks in one command: about 2 MiB. Larger ones are no faster, and there are some for each file under way."""

_AHEAD = 2
"""Batches of a file that are read before they are asked for."""
_ABANDONED = timedelta(days=1)
_NAMES = 1000
"""File names in one query."""
_OUT_OF_SPACE = frozenset({28, 14031, 8000})  # 8000: a quota of MongoDB Atlas
_SAME_INDEX = frozenset({85, 86})  # an index on these keys is there under another name or with other options
_DUPLICATE = 11000
_WRITES = frozenset({"insert", "update", "delete"})


class Commands(Protocol):
    """What this storage needs of the wiki's database."""

    async def command(self, command: Mapping[str, Any], *, majority: bool = False) -> dict[str, Any]:
        """Run one database command. The caller looks at `writeErrors`.

        Raises DatabaseUnavailable, DatabaseFull, DatabaseRefused (details: code, code_name).
        """


_ROW = {"filename": 1, "length": 1, "chunkSize": 1, "uploadDate": 1}


class Bucket:
    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._prepared = False
        self._preparing = asyncio.Lock()

    async def run(self, command: Mapping[str, Any], *, majority: bool = False) -> dict[str, Any]:
        """Run a command. Raises our storage errors, also for the first write error in the reply.

        Writes without `majority` do not wait for the journal: a majority write that comes later makes them durable
        too, since the journal and the oplog keep the order.
        """
        if not majority and next(iter(command)) in _WRITES:
            command = {**command, "writeConcern": {"w": 1}}
        try:
            reply = await self._commands.command(command, majority=majority)
        except DatabaseUnavailable as error:
            raise StorageUnavailable(error.message) from error
        except DatabaseFull as error:
            raise StorageFull(error.message) from error
        except DatabaseRefused as error:
            raise StorageNotWritable(error.message, **error.details) from error
        for problem in reply.get("writeErrors", ()):
            code, message = int(problem.get("code", 0)), str(problem.get("errmsg", ""))[:300]
            if code in _OUT_OF_SPACE:
                raise StorageFull(message)
            if code == _DUPLICATE:
                raise StorageUnavailable("Another process writes the same upload.", code=code)
            raise StorageNotWritable(f"MongoDB refuses: {message}", code=code)
        return reply

    async def prepare(self) -> None:
        """Before the first write: the two indexes of the specification, and the end of abandoned chunks."""
        async with self._preparing:
            if self._prepared:
                return
            await self._make_index(FILES, {"filename": 1, "uploadDate": 1}, unique=False)
            await self._make_index(CHUNKS, {"files_id": 1, "n": 1}, unique=True)
            await self._remove_abandoned()
            self._prepared = True

    async def _make_index(self, collection: str, keys: dict[str, int], *, unique: bool) -> None:
        index = {"key": keys, "name": "_".join(f"{key}_{order}" for key, order in keys.items())}
        try:
            await self.run({"createIndexes": collection, "indexes": [{**index, "unique": True} if unique else index]})
        except StorageNotWritable as error:
            if error.details.get("code") not in _SAME_INDEX:
                raise

    # --- files documents -----------------------------------------------------------------------------------------

    async def rows(self, filenames: Iterable[str]) -> list[Row]:
        """All files documents with these names, in no order."""
        names = list(dict.fromkeys(filenames))
        found: list[Row] = []
        for start in range(0, len(names), _NAMES):
            query = {"filename": {"$in": names[start : start + _NAMES]}}
            found += [row async for row in self._find_rows(query)]
        return found

    async def newest(self, filenames: Iterable[str]) -> dict[str, Row]:
        """The file of each name that has one."""
        found: dict[str, Row] = {}
        for row in await self.rows(filenames):
            known = found.get(row.filename)
            if known is None or row.age > known.age:
                found[row.filename] = row
        return found

    async def _find_rows(self, query: Mapping[str, Any]) -> AsyncIterator[Row]:
        reply = await self.run({"find": FILES, "filter": query, "projection": _ROW, "batchSize": 10_000})
        while True:
            cursor = reply["cursor"]
            for document in cursor.get("firstBatch", cursor.get("nextBatch", ())):
                yield as_row(document)
            if not cursor["id"]:
                return
            reply = await self.run({"getMore": cursor["id"], "collection": FILES, "batchSize": 10_000})

    async def page(self, after: str, prefix: str, hidden: str, size: int) -> list[Row]:
        """Rows in order of filename, from `prefix` on, behind `after`, without those that begin with `hidden`."""
        name: dict[str, Any] = {"$gte": prefix} if prefix and not after else {"$gt": after}
        if hidden:
            name["$not"] = {"$regex": "^" + re.escape(hidden)}
        command = {"find": FILES, "filter": {"filename": name}, "projection": _ROW, "singleBatch": True}
        reply = await self.run({**command, "sort": {"filename": 1}, "limit": size, "batchSize": size})
        return [as_row(document) for document in reply["cursor"]["firstBatch"]]

    async def has_file(self, files_id: Any) -> bool:
        return bool([row async for row in self._find_rows({"_id": files_id})])

    async def add_files(self, documents: Sequence[Mapping[str, Any]], *, replaced: Iterable[Row]) -> None:
        """Make files visible, durable, in place of older ones with the same names.

        `replaced` are the rows known before; those that others added meanwhile are removed if they are older.
        """
        await _answered(self.run({"insert": FILES, "documents": list(documents), "ordered": False}, majority=True))
        mine = {document["filename"]: as_row(document) for document in documents}
        gone = {row.id for row in replaced}
        for row in await self.rows(mine):
            if row.id != mine[row.filename].id and row.age < mine[row.filename].age:
                gone.add(row.id)
        await self.remove(gone)

    async def rename(self, row: Row, filename: str, *, replaced: Sequence[Row]) -> bool:
        """Give a file another name in place of others; False when it is not there any more."""
        change = {"filename": filename, "uploadDate": newer_than(replaced, row.uploaded)}
        reply = await self.run(
            {"update": FILES, "updates": [{"q": {"_id": row.id}, "u": {"$set": change}}]}, majority=True
        )
        if reply["n"]:
            await self.remove(other.id for other in replaced)
        return bool(reply["n"])

    async def remove(self, ids: Iterable[Any]) -> None:
        """Remove files with all their chunks; ids of which only chunks are there too."""
        doomed = list(ids)
        if not doomed:
            return
        note = await self.note(doomed)
        await self.run(delete_command(FILES, {"_id": {"$in": doomed}}), majority=True)
        await self.run(delete_command(CHUNKS, {"files_id": {"$in": doomed}}))
        await self.drop_note(note)

    # --- orphans -------------------------------------------------------------------------------------------------

    async def note(self, ids: Sequence[Any]) -> str:
        """Note that these ids may have chunks without a file for some time."""
        note = f"note:{ObjectId()}"
        # The server's clock, so that clocks which differ do not make a living writer look dead.
        values = {"ids": {"$literal": list(ids)}, "at": "$$NOW"}
        await self.run({"update": STATE, "updates": [{"q": {"_id": note}, "u": [{"$set": values}], "upsert": True}]})
        return note

    async def drop_note(self, note: str) -> None:
        await self.run(delete_command(STATE, {"_id": note}))

    async def give_up(self, note: str, ids: Sequence[Any], reason: BaseException) -> None:
        """After an error while the files of a note were written: remove their chunks and the note.

        Where an answer was lost, the command may still be carried out: then the note stays for `prepare`. A caller that
        was cancelled has waited for the command under way.
        """
        if isinstance(reason, Exception | asyncio.CancelledError) and not isinstance(reason, StorageUnavailable):
            with suppress(TransferError):
                await self.remove_orphans(ids)
                await self.drop_note(note)

    async def _remove_abandoned(self) -> None:
        old = {"$lt": ["$at", {"$subtract": ["$$NOW", int(_ABANDONED.total_seconds() * 1000)]}]}
        reply = await self.run(
            {
                "find": STATE,
                "filter": {"_id": {"$gte": "note:", "$lt": "note;"}, "$expr": old},
                "limit": _NAMES,
                "singleBatch": True,
            }
        )
        for note in reply["cursor"]["firstBatch"]:
            await self.remove_orphans(note["ids"])
            await self.run(delete_command(STATE, {"_id": note["_id"]}))

    async def remove_orphans(self, ids: Sequence[Any]) -> None:
        """Remove the chunks of those ids that no file has."""
        orphans = await self.without_file(ids)
        if orphans:
            await self.run(delete_command(CHUNKS, {"files_id": {"$in": orphans}}))

    async def without_file(self, ids: Sequence[Any]) -> list[Any]:
        """Those of these ids that no file has."""
        there = {row.id async for row in self._find_rows({"_id": {"$in": list(ids)}})}
        return [id_ for id_ in ids if id_ not in there]

    # --- chunks --------------------------------------------------------------------------------------------------

    async def add_chunks(self, chunks: Sequence[Mapping[str, Any]]) -> None:
        """Not yet durable: the majority write of the files document, which comes later in the oplog, makes it so."""
        await self.run({"insert": CHUNKS, "documents": list(chunks), "ordered": False})

    async def find_chunks(self, query: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
        """At most `limit` chunks (together less than 16 MB) by file and number."""
        command = {"find": CHUNKS, "filter": query, "projection": {"_id": 0}, "sort": {"files_id": 1, "n": 1}}
        reply = await self.run({**command, "limit": limit, "batchSize": limit, "singleBatch": True})
        found: list[dict[str, Any]] = reply["cursor"]["firstBatch"]
        return found

    async def read(self, row: Row, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """The bytes of a file from `offset` on, some MiB at a time. Raises what `why_not_whole` gives."""
        first = offset // row.chunk_size
        at_once = max(1, BATCH_CHUNKS * CHUNK_SIZE // row.chunk_size)
        starts = iter(range(first, row.chunks, at_once))
        coming: deque[tuple[int, asyncio.Task[bytes | None]]] = deque()

        def ask() -> None:
            n = next(starts, None)
            if n is not None:
                coming.append((n, asyncio.ensure_future(self._joined(row, n, min(at_once, row.chunks - n)))))

        try:
            for _ in range(_AHEAD):
                ask()
            while coming:
                n, task = coming[0]
                data = await task
                coming.popleft()
                if data is None:
                    raise await self.why_not_whole(row)
                # While the caller is at work with these, the next ones come.
                ask()
                yield data[offset - n * row.chunk_size :] if n == first else data
        finally:
            for _, task in coming:
                task.cancel()
            await asyncio.gather(*(task for _, task in coming), return_exceptions=True)

    async def _joined(self, row: Row, n: int, wanted: int) -> bytes | None:
        found = await self.find_chunks({"files_id": row.id, "n": {"$gte": n, "$lt": n + wanted}}, wanted)
        return joined(row, found, n, wanted)

    async def why_not_whole(self, row: Row) -> TransferError:
        """The error for a file whose chunks are not all there."""
        now = (await self.newest([row.filename])).get(row.filename)
        if now is None:
            return FileNotFound(path=row.filename)
        if now.id != row.id:
            return StorageUnavailable("The file was replaced while it was read.", path=row.filename)
        return SizeMismatch("The file is damaged in GridFS: its chunks are not those of its length.", path=row.filename)


async def _answered(command: Coroutine[Any, Any, Any]) -> None:
    """Run a command. Who is cancelled meanwhile waits for its answer: what was sent may still be carried out."""
    await finished(command)


def delete_command(collection: str, query: Mapping[str, Any]) -> dict[str, Any]:
    return {"delete": collection, "deletes": [{"q": query, "limit": 0}]}
