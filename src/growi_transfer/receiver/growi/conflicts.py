"""Users and groups of an archive whose names or addresses others here have: GROWI 8.x refuses such an import.

Source: GROWI 8.x (growilabs/growi at 5026059a): `username`, `email` and `slackMemberId` of users, `name` of groups;
texts only, empty ones do not count, and a document is not in its own way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import bson

from growi_transfer.archive.growi_archive import GrowiArchive
from growi_transfer.mongo.client import DECODED, Database
from growi_transfer.protocol.errors import GrowiDataConflict
from growi_transfer.receiver.growi.request import Mode

_UNIQUE: Mapping[str, tuple[str, ...]] = {"users": ("username", "email", "slackMemberId"), "usergroups": ("name",)}


async def refuse_conflicts(database: Database, archive: GrowiArchive, modes: Mapping[str, Mode]) -> None:
    """Raises GrowiDataConflict with counts by field; the values themselves are personal, and are told nowhere."""
    found: dict[str, int] = {}
    for collection, fields in _UNIQUE.items():
        if modes.get(collection, Mode.FLUSH_AND_INSERT) is Mode.FLUSH_AND_INSERT:
            continue
        async for batch in archive.documents(collection):
            documents = await asyncio.to_thread(_decoded, batch)
            for name in fields:
                number = await _conflicts(database, collection, name, documents)
                if number:
                    found[f"{collection}.{name}"] = found.get(f"{collection}.{name}", 0) + number
    if found:
        raise GrowiDataConflict(conflicts=found)


def _decoded(batch: Sequence[bytes]) -> list[dict[str, Any]]:
    return [bson.decode(document, DECODED) for document in batch]


async def _conflicts(database: Database, collection: str, name: str, documents: list[dict[str, Any]]) -> int:
    coming = {document[name]: document.get("_id") for document in documents if _is_set(document.get(name))}
    if not coming:
        return 0
    here = await database.find(collection, {name: {"$in": list(coming)}}, {name: 1})
    return sum(1 for document in here if coming.get(document.get(name), document["_id"]) != document["_id"])


def _is_set(value: object) -> bool:
    return isinstance(value, str) and value != ""
