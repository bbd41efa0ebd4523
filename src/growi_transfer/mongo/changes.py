"""What has changed in the database between two moments: which documents of which collections, by a change stream.

A moment is a cluster time of the source. The server tells with every reply up to which moment it has told everything;
that stands in its resume token (`_data`, hexadecimal: 82, four bytes of seconds, four of an increment; so since
MongoDB 4.0.7, written down in the server's `resume_token.h` and `key_string.h`). Where anything about this is not as
expected the answer is None, and whoever asked reads everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp

from growi_transfer.mongo.client import BOUNDS, Database
from growi_transfer.protocol.errors import CursorLost, DatabaseRefused, SnapshotExpired
from growi_transfer.protocol.names import OWN_PREFIX

_log = structlog.get_logger(__name__)
_IDS = 20_000
"""Changed documents of one collection that are remembered one by one; of more, only that it has changed."""
_ELEMENTS = 50_000
"""Bounds and ids that the server is asked to put in order at once; a result of two small fields each."""
_SORTED_BYTES = 8 << 20
_WAIT_MS = 200
_PATIENCE = 60.0
"""Seconds in which a stream that has come to its end has to say so."""
_ONE_DOCUMENT = ("insert", "update", "replace", "delete")


@dataclass(slots=True)
class Changes:
    """What was written: raw `{_id}` documents by collection; None where all of a collection may have changed."""

    ids: dict[str, set[bytes] | None] = field(default_factory=dict)

    def of(self, collection: str) -> set[bytes] | None:
        """Of one collection; empty when nothing of it was written."""
        return self.ids.get(collection, set())

    @property
    def documents(self) -> int:
        """How many documents are known to have changed."""
        return sum(len(ids) for ids in self.ids.values() if ids is not None)

    def note(self, collection: str, identity: bytes | None) -> None:
        """One document has changed, or with None anything."""
        known = self.ids.setdefault(collection, set())
        if identity is None or (known is not None and len(known) >= _IDS and identity not in known):
            self.ids[collection] = None
        elif known is not None:
            known.add(identity)


async def changes_between(database: Database, since: Timestamp, until: Timestamp) -> Changes | None:
    """Everything that was written after `since` and up to `until`, and perhaps something later. Our own collections are
    left out. None when the server does not tell: no rights to it, or the history is no longer kept."""
    if since >= until:
        return Changes()
    pipeline = [
        {"$changeStream": {"startAtOperationTime": since}},
        {"$match": {"ns.coll": {"$not": {"$regex": f"^{OWN_PREFIX}"}}}},
        {"$project": {"operationType": 1, "ns": 1, "documentKey": 1, "to": 1}},
    ]
    found = Changes()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE
    replies = database.replies({"aggregate": 1, "pipeline": pipeline, "cursor": {"batchSize": 1000}}, _WAIT_MS)
    try:
        async for cursor in replies:
            events: Sequence[Any] = cursor.get("firstBatch", cursor.get("nextBatch", ()))
            if not await asyncio.to_thread(_note_all, found, events):
                return None
            told = moment_of(cursor.get("postBatchResumeToken"))
            if told is None:
                return None
            # What was written in one transaction has one moment, and a batch may end within it.
            if told > until or (told == until and not events):
                return found
            if events:
                deadline = loop.time() + _PATIENCE
            elif loop.time() > deadline:
                break
    except (DatabaseRefused, CursorLost, SnapshotExpired) as error:
        _log.info("changes_not_told", code=error.details.get("code"), message=error.message)
    finally:
        await replies.aclose()
    return None


def _note_all(found: Changes, events: Iterable[Mapping[str, Any]]) -> bool:
    """False when a collection cannot be named. For a thread: every event is taken apart."""
    for event in events:
        namespace = event.get("ns", {})
        name = namespace.get("coll")
        if name is None:
            return False  # the whole database was dropped
        kind = event.get("operationType")
        if kind in _ONE_DOCUMENT:
            found.note(name, event["documentKey"].raw)
            continue
        found.note(name, None)
        if "to" in event:
            found.note(event["to"]["coll"], None)
    return True


def moment_of(token: Any) -> Timestamp | None:
    """The moment in a resume token; None when it is not written as we know it."""
    data = token.get("_data") if isinstance(token, Mapping) else None
    if not isinstance(data, str) or not data.startswith("82") or len(data) < 18:
        return None
    try:
        return Timestamp(int(data[2:10], 16), int(data[10:18], 16))
    except ValueError:
        return None


async def place(
    database: Database,
    bounds: Iterable[tuple[int, bytes | None]],
    ids: Iterable[bytes],
    collation: Mapping[str, Any] | None,
) -> set[int] | None:
    """Numbers of the ranges in which the documents with these `_id`s stand, or would stand. `bounds`: number and lower
    bound of each range. The order of `_id`s is the server's, so the server is asked; None when it does not tell."""
    places: list[dict[str, Any]] = []
    number, size = None, 0
    for own, minimum in bounds:
        if minimum is None:
            number = own
        else:
            places.append({"k": _literal(minimum), "o": 0, "n": own})
            size += len(minimum)
    for identity in ids:
        places.append({"k": _literal(identity), "o": 1, "n": -1})
        size += len(identity)
    if len(places) > _ELEMENTS or size > _SORTED_BYTES or number is None:
        return None
    command: dict[str, Any] = {
        "aggregate": 1,
        "pipeline": [{"$documents": places}, {"$sort": {"k": 1, "o": 1}}, {"$project": {"o": 1, "n": 1}}],
        "cursor": {"batchSize": _ELEMENTS},
    }
    if collation:
        command["collation"] = dict(collation)
    try:
        reply = await database.command(command)
    except DatabaseRefused as error:
        _log.info("ids_not_placed", code=error.details.get("code"))  # MongoDB 5.0 has no $documents
        return None
    if reply["cursor"]["id"]:
        return None
    touched: set[int] = set()
    for one in reply["cursor"]["firstBatch"]:
        if one["o"] == 0:
            number = int(one["n"])
        else:
            touched.add(number)
    return touched


def _literal(raw: bytes) -> dict[str, Any]:
    """Values of `$documents` are expressions: an `_id` may look like one."""
    return {"$literal": RawBSONDocument(raw, BOUNDS)["_id"]}
