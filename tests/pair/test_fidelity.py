"""What arrives is what was there: documents at the limits, every kind of collection, every kind of index."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, Regex, Timestamp
from bson.raw_bson import RawBSONDocument
from tests.pair.instances import Pair

from growi_transfer.protocol.machine import State
from growi_transfer.protocol.wire import DOCUMENT_LIMIT


def element(kind: int, name: str, value: bytes) -> bytes:
    return bytes([kind]) + name.encode() + b"\x00" + value


def document(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return struct.pack("<i", len(body) + 5) + body + b"\x00"


def identity(number: int) -> bytes:
    return element(0x10, "_id", struct.pack("<i", number))


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<i", len(raw) + 1) + raw + b"\x00"


async def moved(pair: Pair, **options: Any) -> None:
    row = await pair.push(**options)
    assert row.position.state is State.COMPLETED, row.facts.get("error")


def same(pair: Pair, collection: str, *, natural: bool = False) -> None:
    assert pair.destination.documents(collection, natural=natural) == pair.source.documents(collection, natural=natural)
    assert pair.destination.indexes(collection) == pair.source.indexes(collection)
    assert pair.destination.options(collection) == pair.source.options(collection)


async def test_documents_that_only_bytes_can_say(pair: Pair) -> None:
    deep: dict[str, Any] = {}
    for _ in range(170):
        deep = {"d": deep}
    raw = [
        document(identity(1), element(2, "a", text("x")), element(2, "a", text("y"))),  # a name twice
        document(identity(2), element(2, "", text("empty name"))),
        document(identity(3), element(2, "dot.ted", text("1")), element(2, "$set", text("2"))),
        document(identity(4), element(0x11, "t", bytes(8)), element(2, "z", text("zero timestamp"))),
        document(identity(5), element(0x06, "undefined", b"")),
        document(identity(6), element(0x0E, "symbol", text("sym"))),
        document(identity(7), element(1, "nan", struct.pack("<Q", 0x7FF8000000000001))),
        bson.encode({"_id": 8, "deep": deep}),
        bson.encode({"_id": 9, "d": Decimal128("1.000"), "i": Int64(1), "r": Regex("a", "i")}),
        bson.encode({"_id": 10, "b": Binary(b"\x00\x01", 128), "t": Timestamp(1, 2), "c": Code("x", {"y": 1})}),
        bson.encode({"_id": 11, "far": bson.DatetimeMS(2**62), "ref": bson.DBRef("a", 1)}),
    ]
    pair.source.insert_raw("odd", raw[:3] + raw[4:])
    # The server fills in a zero timestamp of an inserted document, but not of a replaced one.
    pair.source.insert_raw("odd", [bson.encode({"_id": 4})])
    literal = RawBSONDocument(raw[3])
    pair.source.database.command(
        {"update": "odd", "updates": [{"q": {"_id": 4}, "u": [{"$replaceWith": {"$literal": literal}}]}]}
    )
    assert raw[3] in pair.source.documents("odd")
    await moved(pair)
    same(pair, "odd")


async def test_documents_at_the_limit_of_size(pair: Pair) -> None:
    overhead = len(document(identity(1), element(2, "s", text(""))))
    largest = document(identity(1), element(2, "s", text("x" * (DOCUMENT_LIMIT - overhead))))
    assert len(largest) == DOCUMENT_LIMIT
    pair.source.insert_raw("large", [largest])
    pair.source.insert_raw("large", [bson.encode({"_id": number, "s": "y" * 3_000_000}) for number in range(2, 12)])
    await moved(pair)
    same(pair, "large")


async def test_every_kind_of_collection(pair: Pair) -> None:
    database = pair.source.database
    database.create_collection("capped", capped=True, size=100_000, max=500)
    database["capped"].insert_many([{"_id": (number * 7) % 1000, "n": number} for number in range(700)])
    database.create_collection("clustered", clusteredIndex={"key": {"_id": 1}, "unique": True, "name": "by id"})
    database["clustered"].insert_many([{"_id": f"id{number}"} for number in range(300)])
    database.create_collection("collated", collation={"locale": "ja", "strength": 2})
    database["collated"].insert_many([{"_id": one} for one in ("ア", "い", "b", "A", "漢", "c")])
    database.create_collection("validated", validator={"$jsonSchema": {"required": ["x"]}}, validationAction="error")
    pair.source.insert_raw("validated", [bson.encode({"_id": 1, "not x": 1})])
    database.command({"create": "images", "changeStreamPreAndPostImages": {"enabled": True}})
    database["base"].insert_many([{"_id": number, "n": number} for number in range(10)])
    database.create_collection("seen", viewOn="base", pipeline=[{"$match": {"n": {"$gt": 5}}}])
    await moved(pair)
    for name in ("capped", "clustered", "collated", "validated", "images", "base"):
        same(pair, name, natural=name == "capped")
    assert pair.destination.options("seen") == pair.source.options("seen")
    assert pair.destination.database["seen"].count_documents({}) == 4


async def test_every_kind_of_index(pair: Pair) -> None:
    collection = pair.source.database["indexed"]
    collection.insert_many([{"_id": n, "a": n, "t": "wort", "p": [n % 90, 1], "s": f"s{n}"} for n in range(200)])
    command = {
        "createIndexes": "indexed",
        "indexes": [
            {"key": {"a": 1, "s": -1}, "name": "compound", "unique": True},
            {"key": {"t": "text"}, "name": "words", "default_language": "german", "weights": {"t": 3}},
            {"key": {"p": "2dsphere"}, "name": "place"},
            {"key": {"s": "hashed"}, "name": "hash"},
            {"key": {"w.$**": 1}, "name": "wild"},
            {"key": {"e": 1}, "name": "sparse", "sparse": True},
            {"key": {"f": 1}, "name": "part", "partialFilterExpression": {"f": {"$gt": 5}}},
            {"key": {"g": 1}, "name": "coll", "collation": {"locale": "ja", "strength": 1}},
            {"key": {"h": 1}, "name": "hid", "hidden": True},
            {"key": {"gone": 1}, "name": "ttl", "expireAfterSeconds": 3600},
            {"key": {"gone2": 1}, "name": "ttl0", "expireAfterSeconds": 0, "background": True},
        ],
    }
    pair.source.database.command(command)
    await moved(pair)
    same(pair, "indexed")


async def test_a_ttl_index_deletes_nothing_on_the_way(pair: Pair) -> None:
    """Documents that are long due arrive; only the live collection has the TTL index again."""
    database = pair.source.database
    database["due"].insert_many([{"_id": number, "at": bson.DatetimeMS(0)} for number in range(50)])
    # No TTL monitor at the source, or it would delete before the test reads.
    database.client.admin.command({"setParameter": 1, "ttlMonitorEnabled": False})
    destination = pair.destination.database
    destination.client.admin.command({"setParameter": 1, "ttlMonitorEnabled": False})
    try:
        database["due"].create_index("at", expireAfterSeconds=1)
        row = await pair.push(commit=False)
        [staging] = [name for name in pair.destination.own_collections() if destination[name].count_documents({}) == 50]
        assert all("expireAfterSeconds" not in index for index in destination[staging].list_indexes())
        assert pair.from_source.pusher is not None
        await pair.from_source.pusher.commit(row.id)
        await pair.wait(row.id)
        same(pair, "due")
    finally:
        for client in (database.client, destination.client):
            client.admin.command({"setParameter": 1, "ttlMonitorEnabled": True})


async def test_a_time_series_blocks_until_it_is_excluded(pair: Pair) -> None:
    pair.source.database.create_collection("series", timeseries={"timeField": "t"})
    pair.source.database["other"].insert_one({"x": 1})
    with pytest.raises(Exception, match="series") as refused:
        await pair.push()
    assert getattr(refused.value, "code", "") == "blocked"
    await moved(pair, exclude_collections=("series",))
    same(pair, "other")


async def test_large_and_empty_files_of_both_folders(pair: Pair) -> None:
    contents = [b"", b"x", bytes(range(256)) * 4096 * 6, b"\x00" * (5 << 20)]
    for number, content in enumerate(contents):
        pair.source.add_attachment(content, page=bool(number % 2))
    await moved(pair)
    assert pair.destination.files() == pair.source.files()
    assert sorted(map(len, pair.destination.files().values())) == sorted(map(len, contents))


async def test_many_ranges_of_one_collection(pair: Pair) -> None:
    pair.source.insert_raw("many", [bson.encode({"_id": number, "s": "z" * 9000}) for number in range(4000)])
    await moved(pair, volumes=4)
    same(pair, "many")
    row = (await pair.from_source.ledger.list_transfers())[0]
    [collection] = [one for one in await pair.from_source.ledger.collections(row.role, row.id) if one.name == "many"]
    ranges = [one async for one in pair.from_source.ledger.ranges(row.role, row.id, collection.number)]
    assert len(ranges) > 3
    assert ranges[0].minimum is None
    assert ranges[-1].maximum is None
    assert all(before.maximum == after.minimum for before, after in pairwise(ranges))
