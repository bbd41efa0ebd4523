"""The contract of `ledger.sessions`, for every ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.ledger.mongo import MongoLedger
from growi_transfer.ledger.sessions import SessionLedger
from growi_transfer.mongo.client import open_database

NOW = datetime(2026, 3, 4, 5, 6, 7, 891_234, tzinfo=UTC)
MILLI = NOW.replace(microsecond=891_000)


@pytest.fixture
async def mongo(mongo_uri: str, mongo_database_name: str) -> AsyncIterator[MongoLedger]:
    database = await open_database(mongo_uri, database=mongo_database_name)
    ledger = MongoLedger(database)
    await ledger.prepare()
    yield ledger
    await database.close()


@pytest.fixture(params=["memory", "mongo"])
def ledger(request: pytest.FixtureRequest) -> SessionLedger:
    return MemoryLedger() if request.param == "memory" else request.getfixturevalue("mongo")


async def test_what_is_over_is_remembered_for_its_time(ledger: SessionLedger) -> None:
    assert await ledger.ended_sessions() == {}
    hour = timedelta(hours=1)
    for _ in range(2):
        await ledger.end_session("a", NOW + hour, NOW)
    await ledger.end_session("b", NOW + 2 * hour, NOW)
    assert await ledger.ended_sessions() == {"a": MILLI + hour, "b": MILLI + 2 * hour}
    await ledger.end_session("c", NOW + 3 * hour, NOW + hour)
    assert await ledger.ended_sessions() == {"b": MILLI + 2 * hour, "c": MILLI + 3 * hour}
