"""Documents of a plug-in that GROWI does not know: every BSON type, and the odd shapes MongoDB allows."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import bson
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from growi_transfer.demo.identity import Ids
from growi_transfer.demo.schema import CONTACTS, COUNTERS, EXOTIC, LOG
from growi_transfer.demo.text import TextPool

ZERO_TIMESTAMP_ID = "zero timestamp"
"""`_id` of the document whose top-level Timestamp(0, 0) a plain insert would replace."""


def fill_plugin_collections(database: Database[Any], ids: Ids, text: TextPool, rng: Random, now: datetime) -> None:
    """Fill the collections that `create_plugin_collections` made."""
    _raw(database, EXOTIC, list(_exotic(ids, text, rng, now)))
    database.command(
        "update",
        EXOTIC,
        updates=[
            {
                "q": {"_id": ZERO_TIMESTAMP_ID},
                "u": [{"$replaceWith": {"$literal": {"_id": ZERO_TIMESTAMP_ID, "at": Timestamp(0, 0), "n": 1}}}],
                "upsert": False,
            }
        ],
    )
    _raw(
        database,
        LOG,
        [{"_id": ids.at(now), "level": number % 5, "line": text.sentence(number, 90)} for number in range(400)],
    )
    contacts: list[dict[str, Any]] = [
        {"_id": name, "name": name, "email": f"{number}.{rng.randrange(1000)}@Example.com"}
        for number, name in enumerate(("Sato", "Suzuki", "高橋", "田中", "Müller", "Östberg", "İpek"))
    ]
    contacts.append({"_id": "Ito", "name": "Older than the validator"})
    _raw(database, CONTACTS, contacts)
    _raw(
        database,
        COUNTERS,
        [{"_id": f"counter {number:04}", "value": Int64(number), "last": now} for number in range(50)],
    )


def _raw(database: Database[Any], collection: str, documents: list[Any]) -> None:
    database.get_collection(collection, write_concern=WriteConcern(w=1)).insert_many(
        documents, bypass_document_validation=True
    )


def _exotic(ids: Ids, text: TextPool, rng: Random, now: datetime) -> Iterator[Any]:
    for number in range(120):
        yield {
            "_id": ids.at(now - timedelta(days=number)),
            "kind": ("expense", "travel", "経費")[number % 3],
            "title": text.sentence(number, 40),
            "notes": text.sentence(number + 500, 200),
            "owner": ids.at(now),
            "amount": Decimal128(f"{rng.randrange(10**9)}.{rng.randrange(100):02}")
            if number % 4
            else Decimal128("-0E-6176"),
            "total": Int64(rng.randrange(2**62)),
            "small": rng.randrange(2**31),
            "ratio": (rng.random(), 2.0, float("inf"), float("-inf"), float("nan"), -0.0)[number % 6],
            "place": {"type": "Point", "coordinates": [rng.uniform(-180, 180), rng.uniform(-80, 80)]},
            "digest": Binary(rng.randbytes(20), number % 6 if number % 6 != 2 else 0x80),
            "session": Binary.from_uuid(UUID(bytes=rng.randbytes(16), version=4)),
            "settings": {
                "pattern": Regex("^/営業部/.*$", "imx"),
                "script": Code("function () { return this.amount > limit }", {"limit": 10} if number % 2 else None),
                "since": {
                    "created": now - timedelta(days=number, milliseconds=number),
                    "before": datetime(1890, 1, 1, tzinfo=UTC),
                },
                "bounds": [MinKey(), None, True, False, MaxKey(), [], {}, [[]], ""],
                "stamp": Timestamp(0, 0),
                "ref": DBRef("pages", ids.at(now)),
            },
        }
    odd_ids: list[Any] = [MinKey(), MaxKey(), None, True, 0, 1.5, Int64(2**53 + 1), -(2**31), Decimal128("1E+3")]
    odd_ids += [
        "",
        "日本語",
        {"b": 1, "a": [2]},
        {},
        Binary(b"\x00\x01", 5),
        datetime(1969, 7, 20, tzinfo=UTC),
        Timestamp(1, 0),
    ]
    for odd in odd_ids:
        yield {"_id": odd, "kind": "odd id"}
    yield {"_id": ZERO_TIMESTAMP_ID}
    yield {"_id": "names", "a.b": 1, "$set": {"$inc": 1, "c.d": {"": "empty name"}}, "": "", "é": 1, "e\u0301": 2}
    deep: dict[str, Any] = {}
    for level in range(100):
        deep = {"level": level, "in": deep}
    yield {"_id": "deep", "in": deep}
    yield RawBSONDocument(_twice_the_same_name())


def _twice_the_same_name() -> bytes:
    """A document in which a field name comes twice: legal BSON, stored as it is, impossible to write as a dict."""
    elements = b"".join(
        bson.encode({name: value})[4:-1] for name, value in (("_id", ObjectId(bytes(12))), ("x", 1), ("x", 2))
    )
    return struct.pack("<i", len(elements) + 5) + elements + b"\x00"
