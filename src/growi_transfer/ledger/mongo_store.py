"""Reading and writing documents by ranges of their `_id`, with database commands only. Knows nothing of rows.

Reads never hold a cursor: every page is a query of its own that begins after the last key of the page before. A page
may end early, because a reply has at most 16 MiB: then the server has kept a cursor, which is given back at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import bson
from bson.raw_bson import RawBSONDocument

from growi_transfer.protocol.errors import DatabaseFull, DatabaseRefused, DatabaseUnavailable, TransferError

PAGE_ROWS = 2000
_BATCH = 100_000
"""Without a batch size the first batch of an aggregation would have 101 documents."""
_WRITE_ROWS = 5000
_WRITE_BYTES = 12 << 20
_PART_ROWS = 20_000
"""Documents that one command deletes or changes, so that none takes longer than a second or so."""
_DOCUMENT_LIMIT = 16 << 20
_DUPLICATE_ATTEMPTS = 5

_NAMESPACE_EXISTS = 48
_DUPLICATE_KEY = 11000
_OUT_OF_SPACE = (14031, 28)
_CHANGING_PRIMARY = (91, 189, 10107, 11600, 11602, 13435, 13436)


class Commands(Protocol):
    """The wiki's database, one command at a time."""

    async def command(self, command: Mapping[str, Any], *, majority: bool = False) -> dict[str, Any]:
        """The reply, decoded with aware datetimes; `majority` makes a write durable before it comes.

        Raises DatabaseUnavailable, DatabaseFull, DatabaseRefused (details: code, code_name). What the server says
        about single writes (`writeErrors`) is left in the reply.
        """


class Store:
    """Collections whose `_id`s are texts."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def prepare(self, collections: Sequence[str], indexes: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Create what is missing."""
        query = {"name": {"$in": list(collections)}}
        reply = await self._commands.command({"listCollections": 1, "filter": query, "nameOnly": True})
        there = {entry["name"] for entry in reply["cursor"]["firstBatch"]}
        # At once, because each waits for the disk.
        await asyncio.gather(*(self._create(name) for name in collections if name not in there))
        for name, wanted in indexes.items():
            await self._commands.command({"createIndexes": name, "indexes": list(wanted)}, majority=True)

    async def _create(self, name: str) -> None:
        try:
            await self._commands.command({"create": name}, majority=True)
        except DatabaseRefused as error:
            if error.details.get("code") != _NAMESPACE_EXISTS:
                raise

    # reading

    async def get(self, collection: str, one: str) -> dict[str, Any] | None:
        found = await self._find(collection, {"_id": one}, limit=1)
        return found[0] if found else None

    async def get_many(self, collection: str, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Those that exist, in no order."""
        found: list[dict[str, Any]] = []
        wanted = sorted(set(ids))
        for start in range(0, len(wanted), PAGE_ROWS):
            part = wanted[start : start + PAGE_ROWS]
            while part:
                page = await self._find(collection, {"_id": {"$in": part}}, sort={"_id": 1}, limit=len(part))
                found += page
                if not page or len(page) == len(part):
                    break
                last = page[-1]["_id"]
                part = [one for one in part if one > last]
        return found

    async def pages(self, collection: str, ids: Mapping[str, str], **equal: Any) -> AsyncIterator[list[dict[str, Any]]]:
        """Documents whose `_id` lies in a range (`$gt`, `$lt`), in its order; `equal` are further fields."""
        bounds = dict(ids)
        sort = {**dict.fromkeys(equal, 1), "_id": 1}
        whole = False
        while not whole:
            query = {**equal, "_id": dict(bounds)}
            command = {"find": collection, "filter": query, "sort": sort, "limit": PAGE_ROWS, "batchSize": PAGE_ROWS}
            cursor = (await self._commands.command(command))["cursor"]
            page: list[dict[str, Any]] = cursor["firstBatch"]
            if cursor["id"]:
                # A cursor that stays goes after some minutes, by itself.
                with suppress(TransferError):
                    given = {"killCursors": collection, "cursors": [bson.Int64(cursor["id"])]}
                    await self._commands.command(given)
            whole = not cursor["id"] and len(page) < PAGE_ROWS
            if page:
                yield page
                bounds["$gt"] = page[-1]["_id"]

    async def newest(self, collection: str, query: Mapping[str, Any], by: str, limit: int, skip: int = 0) -> list[str]:
        """The `_id`s of the newest documents by a field, newest first, without the first `skip`."""
        sort = {by: -1, "_id": -1}  # one key, when `by` is `_id`
        found = await self._find(collection, query, sort=sort, limit=limit, skip=skip, projection={"_id": 1})
        return [document["_id"] for document in found]

    async def count(self, collection: str, query: Mapping[str, Any]) -> int:
        """How many documents there are."""
        return int((await self._commands.command({"count": collection, "query": query}))["n"])

    async def aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The result of a pipeline that gives small documents, some ten thousand at the most: one batch."""
        cursor = {"batchSize": _BATCH}
        reply = await self._commands.command({"aggregate": collection, "pipeline": list(pipeline), "cursor": cursor})
        batch: list[dict[str, Any]] = reply["cursor"]["firstBatch"]
        return batch

    async def _find(
        self,
        collection: str,
        query: Mapping[str, Any],
        *,
        limit: int,
        sort: Mapping[str, int] | None = None,
        skip: int = 0,
        projection: Mapping[str, int] | None = None,
    ) -> list[dict[str, Any]]:
        command: dict[str, Any] = {"find": collection, "filter": query, "limit": limit, "singleBatch": True}
        if sort:
            command["sort"] = sort
        if skip:
            command["skip"] = skip
        if projection:
            command["projection"] = projection
        # Without a batch size the first batch would have 101 documents.
        reply = await self._commands.command({**command, "batchSize": limit})
        batch: list[dict[str, Any]] = reply["cursor"]["firstBatch"]
        return batch

    # writing

    async def put(self, collection: str, documents: Iterator[Mapping[str, Any]]) -> None:
        """Store documents, replacing those with the same `_id`; durable on return. The last of equal ones stays."""
        for batch in _batches(documents):
            for _ in range(_DUPLICATE_ATTEMPTS):
                updates = [{"q": {"_id": one}, "u": document, "upsert": True} for one, document in batch]
                command = {"update": collection, "updates": updates, "ordered": False}
                reply = await self._commands.command(command, majority=True)
                errors = reply.get("writeErrors", ())
                # Two upserts of one new `_id` at the same time: the later one finds the other's document next time.
                for error in errors:
                    if error["code"] != _DUPLICATE_KEY:
                        raise _refused(error)
                batch = [batch[error["index"]] for error in errors]
                if not batch:
                    break
            else:
                raise DatabaseUnavailable("MongoDB keeps finding rows of the ledger twice.")

    async def insert(self, collection: str, document: Mapping[str, Any]) -> bool:
        """False when there is one with this `_id`."""
        reply = await self._commands.command({"insert": collection, "documents": [document]}, majority=True)
        for error in reply.get("writeErrors", ()):
            if error["code"] != _DUPLICATE_KEY:
                raise _refused(error)
            return False
        return True

    async def update(self, collection: str, query: Mapping[str, Any], change: Any) -> bool:
        """Whether there was a document to change."""
        updates = [{"q": query, "u": change}]
        reply = await self._commands.command({"update": collection, "updates": updates}, majority=True)
        for error in reply.get("writeErrors", ()):
            raise _refused(error)
        return bool(reply["n"])

    async def update_range(self, collection: str, ids: Mapping[str, str], change: Any, **equal: Any) -> None:
        """Change all documents in a range of `_id`s (`$gt`, `$lt`), some at a time; `equal` are further fields."""
        async for part in self._parts(collection, ids, equal):
            updates = [{"q": {**equal, "_id": part}, "u": change, "multi": True}]
            reply = await self._commands.command({"update": collection, "updates": updates}, majority=True)
            for error in reply.get("writeErrors", ()):
                raise _refused(error)

    async def change(self, collection: str, query: Mapping[str, Any], change: Any) -> dict[str, Any] | None:
        """The document after the change, or None when there was none to change."""
        command = {"findAndModify": collection, "query": query, "update": change, "new": True}
        reply = await self._commands.command(command, majority=True)
        value: dict[str, Any] | None = reply["value"]
        return value

    async def delete(self, collection: str, query: Mapping[str, Any]) -> None:
        deletes = [{"q": query, "limit": 0}]
        reply = await self._commands.command({"delete": collection, "deletes": deletes}, majority=True)
        for error in reply.get("writeErrors", ()):
            raise _refused(error)

    async def delete_range(self, collection: str, ids: Mapping[str, str]) -> None:
        """Delete all documents whose `_id` lies in a range (`$gt`, `$lt`), some at a time."""
        async for part in self._parts(collection, ids, {}):
            await self.delete(collection, {"_id": part})

    async def _parts(
        self, collection: str, ids: Mapping[str, str], equal: Mapping[str, Any]
    ) -> AsyncIterator[dict[str, str]]:
        """A range of `_id`s in parts of `_PART_ROWS` documents."""
        part = dict(ids)
        while True:
            following = await self._find(
                collection,
                {**equal, "_id": part},
                sort={"_id": 1},
                skip=_PART_ROWS - 1,
                limit=1,
                projection={"_id": 1},
            )
            if not following:
                yield part
                return
            last = following[0]["_id"]
            yield {"$gt": part["$gt"], "$lte": last}
            part = {**part, "$gt": last}


def _batches(documents: Iterator[Mapping[str, Any]]) -> Iterator[list[tuple[str, RawBSONDocument]]]:
    batch: list[tuple[str, RawBSONDocument]] = []
    size = 0
    for document in documents:
        data = bson.encode(document)
        if len(data) > _DOCUMENT_LIMIT:
            raise DatabaseRefused(
                "A row of the ledger is larger than a document can be.", code=10334, code_name="BSONObjectTooLarge"
            )
        if batch and (size + len(data) > _WRITE_BYTES or len(batch) == _WRITE_ROWS):
            yield batch
            batch, size = [], 0
        batch.append((document["_id"], RawBSONDocument(data)))
        size += len(data)
    if batch:
        yield batch


def _refused(error: Mapping[str, Any]) -> TransferError:
    code = int(error["code"])
    if code in _OUT_OF_SPACE:
        return DatabaseFull()
    if code in _CHANGING_PRIMARY:
        return DatabaseUnavailable("MongoDB is changing its primary.")
    return DatabaseRefused(
        f"MongoDB refuses a row of the ledger: {str(error.get('errmsg', ''))[:500]}",
        code=code,
        code_name=str(error.get("codeName", "")),
    )
