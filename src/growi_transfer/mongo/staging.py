"""Documents in: what arrives is put into staging collections, a range at a time, so that twice has one effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument

from growi_transfer.mongo.client import BOUNDS, Database, not_storable
from growi_transfer.mongo.ranges import read
from growi_transfer.protocol.elements import id_document
from growi_transfer.protocol.errors import DatabaseRefused, DocumentNotStorable, RangeMismatch

_INSERT_BYTES = 12 << 20
_INSERT_DOCUMENTS = 50_000
_DELETE_IDS = 10_000
_DUPLICATE_KEY = 11000
_BOUNDS_NOT_IN_ORDER = 51175


async def insert(database: Database, collection: str, documents: Sequence[bytes], *, ordered: bool = False) -> None:
    """Insert documents exactly as they are. Durable only after a later majority write.

    Raises DocumentNotStorable (naming `_id`), RangeMismatch when an `_id` is there already, DatabaseFull, and the
    other database errors. What was inserted before the error stays; `clear_range` removes it.
    """
    for batch in _batches(documents):
        errors = await _insert(database, collection, batch, ordered)
        if errors:
            _raise(batch, errors)


async def insert_first(database: Database, collection: str, documents: Sequence[bytes]) -> set[int]:
    """Insert those that no unique index refuses, exactly as they are: of documents that are one to an index, the first
    one. The positions of the others. Raises like `insert` for everything else."""
    refused: set[int] = set()
    start = 0
    for batch in _batches(documents):
        errors = await _insert(database, collection, batch, False)
        others = [error for error in errors if error.get("code") != _DUPLICATE_KEY]
        if others:
            _raise(batch, others)
        refused.update(start + int(error["index"]) for error in errors)
        start += len(batch)
    return refused


async def _insert(database: Database, collection: str, batch: Sequence[bytes], ordered: bool) -> list[dict[str, Any]]:
    """The server's errors, by position in the batch."""
    try:
        return await database.insert_raw(collection, batch, ordered=ordered)
    except DatabaseRefused as error:
        if not not_storable(error.details["code"]):
            raise
        if len(batch) == 1:
            raise _refusal(batch[0], error.message) from error
        # One document made the server refuse the whole batch without saying which one it is.
        middle = len(batch) // 2
        errors = await _insert(database, collection, batch[:middle], ordered)
        if errors and ordered:
            return errors
        rest = await _insert(database, collection, batch[middle:], ordered)
        return errors + [{**error, "index": error["index"] + middle} for error in rest]


async def restore_zero_timestamps(database: Database, collection: str, documents: Sequence[bytes]) -> None:
    """Put documents back as they were sent. The server fills in an empty top-level timestamp of a document that is
    inserted, but not of one that a pipeline update replaces."""
    for document in documents:
        await _put_back(database, collection, document)


def _batches(documents: Sequence[bytes]) -> list[list[bytes]]:
    batches: list[list[bytes]] = [[]]
    size = 0
    for document in documents:
        if batches[-1] and (size + len(document) > _INSERT_BYTES or len(batches[-1]) >= _INSERT_DOCUMENTS):
            batches.append([])
            size = 0
        batches[-1].append(document)
        size += len(document)
    return batches


def _raise(batch: Sequence[bytes], errors: Sequence[dict[str, Any]]) -> None:
    first = errors[0]
    code = int(str(first.get("code", 0)))
    shown = _shown_id(batch[int(str(first.get("index", 0)))])
    if code == _DUPLICATE_KEY:
        raise RangeMismatch(f"A document with this _id is there already: {shown}.", document=shown)
    if not_storable(code):
        raise _refusal(batch[int(str(first.get("index", 0)))], str(first.get("errmsg", "")))
    raise DatabaseRefused(f"MongoDB refuses: {str(first.get('errmsg', ''))[:300]}", code=code, code_name="")


def _refusal(document: bytes, reason: str) -> DocumentNotStorable:
    shown = _shown_id(document)
    return DocumentNotStorable(
        f"The destination's MongoDB refuses the document with _id {shown}: {reason[:300]}", document=shown
    )


def _shown_id(document: bytes) -> str:
    try:
        return repr(bson.decode(id_document(document))["_id"])[:200]
    except (bson.errors.BSONError, KeyError, ValueError):
        return "unknown"


async def _put_back(database: Database, collection: str, document: bytes) -> None:
    value = RawBSONDocument(document)
    reply = await database.command(
        {
            "update": collection,
            "updates": [{"q": {"_id": {"$eq": _id_of(document)}}, "u": [{"$replaceWith": {"$literal": value}}]}],
            "bypassDocumentValidation": True,
        }
    )
    errors = reply.get("writeErrors")
    if errors:
        _raise([document], errors)


def _id_of(document: bytes) -> object:
    return RawBSONDocument(id_document(document), BOUNDS)["_id"]


async def clear_range(database: Database, collection: str, minimum: bytes | None, maximum: bytes | None) -> int:
    """Delete whatever lies between two bounds; the number of documents deleted. Cheap when there is nothing.

    Raises RangeMismatch when the bounds are not in order.
    """
    deleted = 0
    while ids := await _ids_between(database, collection, minimum, maximum):
        reply = await database.command(
            {"delete": collection, "deletes": [{"q": {"_id": {"$in": ids}}, "limit": 0}], "writeConcern": {"w": 1}}
        )
        if not reply["n"]:
            raise DatabaseRefused("MongoDB does not delete what it lists.", code=0, code_name="")
        deleted += int(reply["n"])
    return deleted


async def _ids_between(
    database: Database, collection: str, minimum: bytes | None, maximum: bytes | None
) -> list[object]:
    """Some of the `_id`s between two bounds, none only if there are none."""
    ids: list[object] = []
    try:
        async for batch in read(
            database, collection, minimum, maximum, per_batch=_DELETE_IDS, projection={"_id": 1}, limit=_DELETE_IDS
        ):
            ids += [RawBSONDocument(bytes(document), BOUNDS)["_id"] for document in batch]
            if len(ids) >= _DELETE_IDS:
                break
    except DatabaseRefused as error:
        if error.details["code"] == _BOUNDS_NOT_IN_ORDER:
            raise RangeMismatch("The bounds of the range are not in order.") from error
        raise
    return ids
