"""What a preflight looks for in a database: cheap questions, answered by indexes or a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import bson
from bson.binary import Binary
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.regex import Regex

from growi_transfer.mongo.client import DECODED, Database
from growi_transfer.protocol.errors import DatabaseRefused

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
    try:
        stats = await database.command({"dbStats": 1})
    except DatabaseRefused:
        return None
    total, used = stats.get("fsTotalSize"), stats.get("fsUsedSize")
    return None if not total or used is None else max(0, int(total) - int(used))


async def attachments_by_name(database: Database) -> AsyncIterator[list[dict[str, Any]]]:
    """`fileName` and `page` of every attachment, in pages, in the order of the names' bytes. GROWI's index gives the
    order; without it the server sorts on its disk. What is no text comes first or last."""
    pipeline = [{"$sort": {"fileName": 1}}, {"$project": {"_id": 0, "fileName": 1, "page": 1}}]
    async for batch in database.aggregate("attachments", pipeline, batch_documents=_BATCH):
        yield batch


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
