"""Documents of one collection by ids and by natural keys, for a batch at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from growi_transfer.mongo.client import Database
from growi_transfer.receiver.merge.fates import key_of

_KEYS_AT_ONCE = 500
_PLAIN = (str, ObjectId, datetime, DatetimeMS, int, float, bool)


async def by_ids(
    database: Database, collection: str, identities: Iterable[Any], fields: Sequence[str] = ()
) -> dict[bytes, dict[str, Any]]:
    """Documents by `key_of` their `_id`."""
    wanted = list(identities)
    found: dict[bytes, dict[str, Any]] = {}
    projection = dict.fromkeys(fields, 1) if fields else None
    for start in range(0, len(wanted), _KEYS_AT_ONCE):
        query = {"_id": {"$in": wanted[start : start + _KEYS_AT_ONCE]}}
        for document in await database.find(collection, query, projection):
            found[key_of(document["_id"])] = document
    return found


async def by_field(
    database: Database, collection: str, field: str, values: Iterable[Any], fields: Sequence[str] = ()
) -> dict[str, list[dict[str, Any]]]:
    """Documents by the text that a field has. Values that are no texts (a document may have anything) find nothing."""
    wanted = sorted({value for value in values if isinstance(value, str) and value})
    found: dict[str, list[dict[str, Any]]] = {}
    projection = dict.fromkeys((field, *fields), 1) if fields else None
    for start in range(0, len(wanted), _KEYS_AT_ONCE):
        query = {field: {"$in": wanted[start : start + _KEYS_AT_ONCE]}}
        for document in await database.find(collection, query, projection):
            if isinstance(document.get(field), str):
                found.setdefault(document[field], []).append(document)
    return found


def natural_key(document: Mapping[str, Any], fields: Sequence[str]) -> bytes | None:
    """The values of some fields as one key. None when one of them is missing or no plain value (a regular expression
    would be a pattern in a query)."""
    values = [document.get(field) for field in fields]
    if not all(isinstance(value, _PLAIN) for value in values):
        return None
    return b"".join(map(key_of, values))


async def by_natural_key(
    database: Database, collection: str, fields: Sequence[str], documents: Iterable[Mapping[str, Any]]
) -> dict[bytes, dict[str, Any]]:
    """Documents of the collection that agree with one of these in all of `fields`, by `natural_key`."""
    branches: dict[bytes, dict[str, Any]] = {}
    for document in documents:
        key = natural_key(document, fields)
        if key is not None:
            branches[key] = {field: {"$eq": document[field]} for field in fields}
    found: dict[bytes, dict[str, Any]] = {}
    queries = list(branches.values())
    for start in range(0, len(queries), _KEYS_AT_ONCE):
        for document in await database.find(collection, {"$or": queries[start : start + _KEYS_AT_ONCE]}):
            key = natural_key(document, fields)
            if key is not None:
                found.setdefault(key, document)
    return found
