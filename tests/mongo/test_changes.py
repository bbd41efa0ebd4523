"""What was written between two moments, and in which ranges."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson.timestamp import Timestamp
from pymongo import MongoClient
from pymongo.database import Database as PyMongoDatabase
from pymongo.errors import OperationFailure

from growi_transfer.mongo.changes import Changes, changes_between, moment_of, place
from growi_transfer.mongo.client import Database, open_database, translated


@pytest.fixture
async def database(mongo_uri: str, mongo_database_name: str) -> AsyncIterator[Database]:
    opened = await open_database(mongo_uri, database=mongo_database_name)
    yield opened
    await opened.close()


@pytest.fixture
def plain(mongo_uri: str, mongo_database_name: str) -> Iterator[PyMongoDatabase[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        yield client[mongo_database_name]


async def now(database: Database) -> Timestamp:
    moment = await database.now()
    assert moment is not None
    return moment


def ids(*values: Any) -> set[bytes]:
    return {bson.encode({"_id": value}) for value in values}


async def test_every_kind_of_write_is_told(database: Database, plain: PyMongoDatabase[dict[str, Any]]) -> None:
    plain["a"].insert_many([{"_id": number} for number in range(5)])
    plain["renamed"].insert_one({"_id": 1})
    plain["dropped"].insert_one({"_id": 1})
    since = await now(database)
    plain["a"].update_one({"_id": 1}, {"$set": {"x": 1}})
    plain["a"].delete_one({"_id": 2})
    plain["a"].replace_one({"_id": 3}, {"y": 1})
    plain["b"].insert_one({"_id": "$x"})
    plain["renamed"].rename("target")
    plain["dropped"].drop()
    plain["growi_transfer_ranges"].insert_one({"_id": 1})
    until = await now(database)
    found = await changes_between(database, since, until)
    assert found is not None
    # What was written in the very moment `since` may be told too.
    assert (found.of("a") or set()) >= ids(1, 2, 3)
    assert found.of("b") == ids("$x")
    assert found.of("renamed") is found.of("target") is found.of("dropped") is None
    assert found.of("growi_transfer_ranges") == set()
    nothing = await changes_between(database, until, until)
    assert nothing is not None
    assert nothing.ids == {}


async def test_a_transaction_is_told_whole(database: Database, plain: PyMongoDatabase[dict[str, Any]]) -> None:
    """All that it wrote has one moment, and is more than the server tells at once."""
    number = 2500
    plain.create_collection("a")
    since = await now(database)
    with plain.client.start_session() as session:
        with session.start_transaction():
            plain["a"].insert_many([{"_id": one} for one in range(number)], session=session)
        until = session.operation_time
    assert until is not None
    found = await changes_between(database, since, until)
    assert found is not None
    assert found.documents == number


async def test_a_history_that_is_lost_is_not_guessed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(self: Database, command: Any, wait_ms: int) -> AsyncIterator[Any]:
        with translated():
            raise OperationFailure("the resume point may no longer be in the oplog", 286)
        yield

    monkeypatch.setattr(Database, "replies", lost)
    assert await changes_between(database, Timestamp(1, 1), await now(database)) is None


async def test_a_dropped_database_is_not_guessed(database: Database, plain: PyMongoDatabase[dict[str, Any]]) -> None:
    plain["a"].insert_one({})
    since = await now(database)
    plain.client.drop_database(plain.name)
    assert await changes_between(database, since, await now(database)) is None


def test_of_too_many_only_that_something_changed_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("growi_transfer.mongo.changes._IDS", 2)
    changes = Changes()
    for number in (1, 2, 1):
        changes.note("a", bson.encode({"_id": number}))
    assert changes.of("a") == ids(1, 2)
    changes.note("a", bson.encode({"_id": 3}))
    assert changes.of("a") is None
    assert changes.documents == 0


@pytest.mark.parametrize(
    "token", [None, {}, {"_data": 5}, {"_data": "83" + "0" * 30}, {"_data": "82"}, {"_data": "82" + "x" * 20}]
)
def test_a_token_that_is_written_otherwise_is_no_moment(token: Any) -> None:
    assert moment_of(token) is None


ORDER: list[Any] = [
    bson.MinKey(),
    None,
    -5,
    1,
    bson.Int64(2),
    2.5,
    bson.Decimal128("3"),
    "$a",
    "A",
    "b",
    {"a": 1},
    {"a": {"b": "$a"}},
    b"bin",
    bson.ObjectId("0" * 24),
    True,
    datetime(2020, 1, 1, tzinfo=UTC),
    Timestamp(5, 1),
    bson.MaxKey(),
]


@pytest.mark.parametrize("every", [1, 2, 5])
async def test_ids_of_every_type_are_placed_as_the_server_orders_them(
    database: Database, plain: PyMongoDatabase[dict[str, Any]], every: int
) -> None:
    """Compared with what an index scan between the bounds finds."""
    plain["a"].insert_many([{"_id": value} for value in ORDER])
    ordered = [one["_id"] for one in plain["a"].find({}, {"_id": 1}).sort("_id", 1)]
    bounds = ordered[every::every]
    ranges = [(0, None), *((number, bson.encode({"_id": bound})) for number, bound in enumerate(bounds, 1))]
    for position, value in enumerate(ordered):
        expected = min(position // every, len(bounds))
        assert await place(database, ranges, ids(value), None) == {expected}, value


async def test_a_collation_decides_where_an_id_stands(database: Database) -> None:
    ranges = [(0, None), (1, bson.encode({"_id": "b"}))]
    assert await place(database, ranges, ids("A", "C"), None) == {0}
    assert await place(database, ranges, ids("C"), {"locale": "en", "strength": 2}) == {1}


async def test_too_many_to_be_put_in_order_are_not_placed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("growi_transfer.mongo.changes._ELEMENTS", 2)
    assert await place(database, [(0, None)], ids(1, 2, 3), None) is None
