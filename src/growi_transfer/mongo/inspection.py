"""What a preflight looks for in a database: cheap questions, answered by indexes or a page at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import bson
from bson.binary import Binary
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.regex import Regex

from growi_transfer.mongo.client import DECODED, Database
from growi_transfer.protocol.errors import DatabaseRefused
from growi_transfer.protocol.places import AUDIT_EXPORT, AUDIT_FOLDER, EXPORT, EXPORT_FOLDER, Layout

_BATCH = 2000
_OBJECT = 0x03
_REFUSED = {0x04: "array", 0x0B: "regex", 0x06: "undefined"}
"""Types (as BSON numbers them) that MongoDB refuses as the `_id` of a document that is inserted. Old servers and
restored backups can have them."""
_PLACES: Sequence[tuple[Any, Any]] = ((MinKey(), None), ({}, Binary(b"")), (Regex(""), MaxKey()))
"""Where they are in the index on `_id`, from inclusive to exclusive: below null; objects and arrays; from regular
expressions on. A query by `$type` would read the whole index for arrays."""


async def database_free_bytes(database: Database) -> int | None:
    """Free space of the disk that the database is on; None where the server does not tell."""
    return (await database_space(database))[0]


async def database_space(database: Database) -> tuple[int | None, int | None]:
    """Free space of the disk that the database is on, and what the database takes of it with its indexes; None where
    the server does not tell."""
    try:
        stats = await database.command({"dbStats": 1})
    except DatabaseRefused:
        return None, None
    total, used = stats.get("fsTotalSize"), stats.get("fsUsedSize")
    free = None if not total or used is None else max(0, int(total) - int(used))
    return free, int(stats.get("storageSize", 0)) + int(stats.get("indexSize", 0))


ATTACHMENT_FIELDS = {"page": 1, "fileName": 1, "filePath": 1, "attachmentType": 1, "fileSize": 1}
"""What of an attachment says which file it has."""


async def attachments_by_path(database: Database, layout: Layout) -> AsyncIterator[list[dict[str, Any]]]:
    """Every attachment in pages, ATTACHMENT_FIELDS of each with `path`, in the order of the paths' bytes: once for each
    place where its file may be (`protocol.places.storage_paths`; one for nearly all), which `rank` counts from 0.

    Those without a text for a name have no `path`, and come at any time. Names are not checked.
    """
    # Nearly all have one place, made of two fields: GROWI's index gives their order, which is three times as fast as
    # having the server sort them. It sorts the others, on its disk if need be.
    usual: Mapping[str, Any] = {"filePath": {"$in": [None, ""]}, "attachmentType": {"$nin": [EXPORT, AUDIT_EXPORT]}}
    others = _by_computed_path(database, {"$nor": [usual]}, layout)
    if layout.has_folders:
        folders: list[tuple[str, dict[str, Any]]] = [
            ("attachment/", {"page": {"$ne": None}}),
            ("user/", {"page": None}),
        ]
    else:
        # What `user/` and `attachment/` mean is lost in such a storage: it lists all files as the latter.
        folders = [("attachment/", {})]
    waiting = _Waiting(others)
    async with aclosing(others):
        for folder, which in folders:
            async for batch in _by_name(database, {**usual, **which}, folder):
                yield await waiting.merged_with(batch)
        async for batch in waiting.rest():
            yield batch


async def _by_name(database: Database, query: Mapping[str, Any], folder: str) -> AsyncIterator[list[dict[str, Any]]]:
    fields = {"page": 1, "fileName": 1, "fileSize": 1}
    pipeline: list[Mapping[str, Any]] = [{"$match": query}, {"$sort": {"fileName": 1}}, {"$project": fields}]
    async for batch in database.aggregate("attachments", pipeline, batch_documents=_BATCH):
        for document in batch:
            name = document.get("fileName")
            if isinstance(name, str):
                document["path"] = folder + name
        yield batch


async def _by_computed_path(
    database: Database, query: Mapping[str, Any], layout: Layout
) -> AsyncGenerator[list[dict[str, Any]], None]:
    paths = {"$filter": {"input": _places(layout), "cond": {"$ne": ["$$this", None]}}}
    pipeline: list[Mapping[str, Any]] = [
        {"$match": query},
        {"$project": {**ATTACHMENT_FIELDS, "path": paths}},
        {"$unwind": {"path": "$path", "includeArrayIndex": "rank", "preserveNullAndEmptyArrays": True}},
        {"$sort": {"path": 1}},
    ]
    async for batch in database.aggregate("attachments", pipeline, batch_documents=_BATCH):
        yield batch


class _Waiting:
    """Attachments in the order of paths that wait for those of another such stream."""

    def __init__(self, pages: AsyncIterator[list[dict[str, Any]]]) -> None:
        self._pages = pages
        self._documents: list[dict[str, Any]] | None = None
        self._at = 0

    async def _first(self) -> dict[str, Any] | None:
        while self._documents is None or self._at >= len(self._documents):
            self._documents, self._at = await anext(self._pages, None), 0
            if self._documents is None:
                self._documents = []
                return None
        return self._documents[self._at]

    async def merged_with(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The batch, with those that come before its last one in their places."""
        last = next((one["path"] for one in reversed(batch) if "path" in one), "")
        first = await self._first()
        if first is None or first.get("path", "") > last:
            return batch
        merged: list[dict[str, Any]] = []
        for document in batch:
            while first is not None and first.get("path", "") <= document.get("path", ""):
                merged.append(first)
                self._at += 1
                first = await self._first()
            merged.append(document)
        return merged

    async def rest(self) -> AsyncIterator[list[dict[str, Any]]]:
        while await self._first() is not None:
            assert self._documents is not None
            yield self._documents[self._at :]
            self._at = len(self._documents)


def _places(layout: Layout) -> list[Any]:
    """`storage_paths` as an expression of the server's; null where a place does not apply."""
    name = {"$cond": [_is_text("$fileName"), "$fileName", None]}
    file_path = {"$cond": [{"$and": [_is_text("$filePath"), {"$ne": ["$filePath", ""]}]}, "$filePath", None]}
    if not layout.has_folders:
        return [{"$concat": ["attachment/", name]}, {"$concat": ["attachment/", file_path]}]
    folder = {"$cond": [{"$eq": [{"$ifNull": ["$page", None]}, None]}, "user/", "attachment/"]}
    usual = {"$concat": [folder, name]}
    export = {"$cond": [{"$eq": ["$attachmentType", EXPORT]}, {"$concat": [EXPORT_FOLDER, name]}, None]}
    audit = {"$cond": [{"$eq": ["$attachmentType", AUDIT_EXPORT]}, {"$concat": [AUDIT_FOLDER, name]}, None]}
    found = [export, usual] if layout.export_folder else [usual, export]
    return [file_path, *found, audit] if layout.legacy_paths else [*found, file_path, audit]


def _is_text(field: str) -> dict[str, Any]:
    return {"$eq": [{"$type": field}, "string"]}


async def named_paths(database: Database, paths: Sequence[str]) -> set[str]:
    """Those of these paths whose last part is the `fileName` of some attachment."""
    names = sorted({path.rpartition("/")[2] for path in paths})
    found = await database.find("attachments", {"fileName": {"$in": names}}, {"_id": 0, "fileName": 1})
    there = {one["fileName"] for one in found}
    return {path for path in paths if path.rpartition("/")[2] in there}


async def users_images(database: Database) -> set[str]:
    """Names of files that users have as their images: GROWI 3.3 and older had no attachments for these."""
    found: set[str] = set()
    query = {"image": {"$type": "string", "$ne": ""}}
    async for batch in database.aggregate("users", [{"$match": query}, {"$project": {"_id": 0, "image": 1}}]):
        found.update(one["image"].partition("?")[0].rpartition("/")[2] for one in batch)
    return found


async def page_paths(database: Database, ids: Iterable[Any]) -> Mapping[Any, str]:
    """Paths of some pages by their ids; pages that are not there are left out."""
    wanted = list(ids)
    if not wanted:
        return {}
    found = await database.find("pages", {"_id": {"$in": wanted}}, {"path": 1})
    return {one["_id"]: one["path"] for one in found if isinstance(one.get("path"), str)}


async def unstorable_documents(database: Database, collection: str) -> AsyncIterator[tuple[str, str]]:
    """`_id` as text and the reason, for each document that MongoDB holds but would refuse when it is inserted.

    Measured on 6.0: nesting and size are held to the same limits by inserts and by updates, and since 5.0 every name of
    a top-level field is taken, so only `_id` is left: types that are refused, and fields in it that begin with `$`.
    Of the documents no more is read than those whose `_id` has an unusual type.
    """
    for low, high in _PLACES:
        async for batch in database.raw_batches(collection, minimum=(low,), maximum=(high,), projection={"_id": 1}):
            for raw in batch:
                kind = raw[4]
                if kind in _REFUSED:
                    yield _shown(raw), f"its _id is of the type {_REFUSED[kind]}"
                elif kind == _OBJECT and b"$" in bytes(raw) and _has_dollar(bson.decode(raw, DECODED)["_id"]):
                    yield _shown(raw), "its _id has a field that begins with $"


def _has_dollar(value: Any) -> bool:
    if isinstance(value, dict):
        return any(name.startswith("$") or _has_dollar(one) for name, one in value.items())
    return isinstance(value, list) and any(map(_has_dollar, value))


def _shown(raw: memoryview) -> str:
    try:
        return repr(bson.decode(raw, DECODED)["_id"])[:200]
    except (bson.errors.BSONError, KeyError):
        return "unknown"
