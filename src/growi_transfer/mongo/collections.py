"""What a collection is besides its documents: kind, options, indexes, UUID. Reading it, and making it again.

Options and indexes travel as canonical Extended JSON, in the shape of a mongodump `.metadata.json`, because that keeps
BSON types and key order and can be read by people and by stock tools.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bson
from bson import json_util

from growi_transfer.mongo.client import Database
from growi_transfer.protocol.errors import CollectionIllegal, CollectionKindUnsupported, DatabaseRefused, JsonInvalid
from growi_transfer.protocol.names import OWN_PREFIX

_NAMESPACE_MISSING = 26
_CATALOG_AT_ONCE = 8
_TO_JSON = json_util.CANONICAL_JSON_OPTIONS.with_options(tz_aware=True)


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection as the catalog has it; `documents` and `bytes` are the server's own estimates."""

    name: str
    kind: str
    """`collection`, `capped`, `clustered`, `view`, `timeseries` or `encrypted` (the last two cannot be moved)."""
    uuid: str
    options: Mapping[str, Any]
    indexes: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    documents: int = 0
    bytes: int = 0
    disk_bytes: int = 0
    """What the documents take on the disk, compressed."""
    index_bytes: int = 0

    @property
    def metadata(self) -> str:
        """Options and indexes as canonical Extended JSON."""
        return to_metadata(self.options, self.indexes)


def to_metadata(options: Mapping[str, Any], indexes: Sequence[Mapping[str, Any]]) -> str:
    """Canonical Extended JSON of options and indexes.

    Raises CollectionKindUnsupported when Extended JSON cannot carry them exactly, rather than change them.
    """
    value = {"options": dict(options), "indexes": [dict(index) for index in indexes]}
    text: str = json_util.dumps(value, json_options=_TO_JSON, ensure_ascii=False, separators=(",", ":"))
    if bson.encode(from_metadata(text)) != bson.encode(value):
        raise CollectionKindUnsupported("The options of a collection have values that cannot be carried exactly.")
    return text


def from_metadata(text: str) -> dict[str, Any]:
    """The value of `to_metadata`, or of a mongodump `.metadata.json`. Raises JsonInvalid."""
    try:
        value = json_util.loads(text, json_options=_TO_JSON)
    except (ValueError, TypeError, KeyError, RecursionError, bson.errors.BSONError) as error:
        raise JsonInvalid("The collection's metadata is not Extended JSON.") from error
    if (
        not isinstance(value, dict)
        or not isinstance(value.get("options", {}), dict)
        or not isinstance(value.get("indexes", []), list)
        or not all(isinstance(index, dict) and isinstance(index.get("key"), dict) for index in value.get("indexes", []))
        or not all(isinstance(index.get("name"), str) for index in value.get("indexes", []))
    ):
        raise JsonInvalid("The collection's metadata is not of the form {options, indexes}.")
    return value


def kind_of(entry: Mapping[str, Any]) -> str:
    """The kind of a `listCollections` entry."""
    options = entry.get("options", {})
    if entry.get("type") in ("view", "timeseries"):
        return str(entry["type"])
    if "encryptedFields" in options:
        return "encrypted"
    if options.get("capped"):
        return "capped"
    return "clustered" if "clusteredIndex" in options else "collection"


async def list_entries(database: Database) -> list[dict[str, Any]]:
    """`listCollections` without the server's own collections."""
    return [entry for entry in await database.list_collections() if not entry["name"].startswith("system.")]


async def uuids(database: Database) -> dict[str, str]:
    """UUID (32 hex digits) of every collection by name; views have an empty one."""
    return {entry["name"]: uuid_of(entry) for entry in await list_entries(database)}


async def is_there(database: Database, name: str, uuid: str) -> bool:
    """Whether the collection of this name still is the one with this UUID (32 hex digits)."""
    reply = await database.command({"listCollections": 1, "filter": {"name": name}})
    return any(uuid_of(entry) == uuid for entry in reply["cursor"]["firstBatch"])


def uuid_of(entry: Mapping[str, Any]) -> str:
    """UUID of a `listCollections` entry as 32 hex digits; empty for a view."""
    value = entry.get("info", {}).get("uuid")
    return bytes(value).hex() if value is not None else ""


async def list_collections(database: Database) -> list[CollectionInfo]:
    """Every collection and view but our own, in order of their names."""
    gate = asyncio.Semaphore(_CATALOG_AT_ONCE)

    async def describe(entry: Mapping[str, Any]) -> CollectionInfo | None:
        async with gate:
            return await _describe(database, entry)

    entries = [entry for entry in await list_entries(database) if not entry["name"].startswith(OWN_PREFIX)]
    found = await asyncio.gather(*(describe(entry) for entry in entries))
    return sorted((info for info in found if info is not None), key=lambda info: info.name)


async def _describe(database: Database, entry: Mapping[str, Any]) -> CollectionInfo | None:
    name, kind = entry["name"], kind_of(entry)
    if kind in ("view", "timeseries"):
        return CollectionInfo(name, kind, uuid_of(entry), entry.get("options", {}))
    try:
        indexes = await list_indexes(database, name)
        size = await collection_size(database, name)
    except DatabaseRefused as error:
        if error.details["code"] == _NAMESPACE_MISSING:
            return None  # dropped since it was listed
        raise
    return CollectionInfo(name, kind, uuid_of(entry), entry.get("options", {}), tuple(indexes), *size)


async def list_indexes(database: Database, collection: str) -> list[dict[str, Any]]:
    """`listIndexes`, whole. Raises DatabaseRefused (code 26) when there is no such collection."""
    reply = await database.command({"listIndexes": collection, "cursor": {"batchSize": 1000}})
    return list(reply["cursor"]["firstBatch"])


async def collection_size(database: Database, collection: str) -> tuple[int, int, int, int]:
    """The server's estimates: documents, bytes of raw BSON, bytes of them on the disk, bytes of indexes there."""
    reply = await database.command(
        {"aggregate": collection, "pipeline": [{"$collStats": {"storageStats": {}}}], "cursor": {}}
    )
    stats = reply["cursor"]["firstBatch"]
    storage = stats[0].get("storageStats", {}) if stats else {}
    count, size, disk, indexes = (
        int(storage.get(name, 0)) for name in ("count", "size", "storageSize", "totalIndexSize")
    )
    # The disk may have room that former documents left.
    return count, size, min(size, disk), indexes


def create_options(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `create` that make the same collection again (the `_id` index with its own version included)."""
    options = dict(metadata.get("options", {}))
    for name in ("uuid", "autoIndexId", "create", "temp"):
        options.pop(name, None)
    if "clusteredIndex" not in options:
        for index in metadata.get("indexes", []):
            if dict(index["key"]) == {"_id": 1}:
                options["idIndex"] = {key: value for key, value in index.items() if key != "ns"}
    return options


def secondary_indexes(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The indexes that have to be built (all but the `_id` and the clustered one)."""
    return [
        {key: value for key, value in index.items() if key != "ns"}
        for index in metadata.get("indexes", [])
        if dict(index["key"]) != {"_id": 1} and not index.get("clustered")
    ]


def split_ttl(indexes: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The same indexes as plain ones, and the `expireAfterSeconds` of those that are TTL indexes, by name.

    In staging a TTL index would delete what is being imported; it becomes one by collMod after the swap.
    """
    plain = [{key: value for key, value in index.items() if key != "expireAfterSeconds"} for index in indexes]
    ttl = {index["name"]: index["expireAfterSeconds"] for index in indexes if "expireAfterSeconds" in index}
    return plain, ttl


async def create_collection(database: Database, name: str, metadata: Mapping[str, Any]) -> None:
    """Make an empty collection (or a view); durable with the next majority write. Raises CollectionIllegal."""
    try:
        await database.command({"create": name, **create_options(metadata)})
    except DatabaseRefused as error:
        raise CollectionIllegal(
            f"The destination's MongoDB cannot make the collection: {error.message}", collection=name
        ) from error


async def create_indexes(database: Database, name: str, indexes: Sequence[Mapping[str, Any]]) -> None:
    """Build indexes in one scan of the collection; indexes that are there already change nothing. Durable with the
    next majority write."""
    if indexes:
        await database.command({"createIndexes": name, "indexes": [dict(index) for index in indexes]})


async def drop_indexes(database: Database, name: str) -> None:
    """Drop all indexes but the `_id` one; no error when there is no such collection."""
    try:
        await database.command({"dropIndexes": name, "index": "*"})
    except DatabaseRefused as error:
        if error.details["code"] != _NAMESPACE_MISSING:
            raise


async def set_ttl(database: Database, collection: str, index: str, seconds: Any) -> None:
    """Turn a plain index into a TTL index (MongoDB 5.1 and newer), or change its time."""
    await database.command(
        {"collMod": collection, "index": {"name": index, "expireAfterSeconds": seconds}}, majority=True
    )


async def drop(database: Database, name: str) -> None:
    """Drop a collection or view; no error when there is none. Durable with the next majority write."""
    try:
        await database.command({"drop": name})
    except DatabaseRefused as error:
        if error.details["code"] != _NAMESPACE_MISSING:
            raise


async def rename(database: Database, source: str, target: str) -> None:
    """Rename within the database; the UUID stays. Durable with the next majority write. Raises DatabaseRefused (code
    48 when the target exists)."""
    await database.admin({"renameCollection": f"{database.name}.{source}", "to": f"{database.name}.{target}"})
