"""The contract of `ledger.jobs`, for every ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from growi_transfer.ledger.base import Ledger
from growi_transfer.ledger.jobs import JobKind, JobRow, JobState
from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.ledger.mongo import MongoLedger
from growi_transfer.mongo.client import Database, open_database

NOW = datetime(2026, 3, 4, 5, 6, 7, 891_234, tzinfo=UTC)
LATER = NOW + timedelta(seconds=9)


@pytest.fixture
async def database(mongo_uri: str, mongo_database_name: str) -> AsyncIterator[Database]:
    opened = await open_database(mongo_uri, database=mongo_database_name)
    yield opened
    await opened.close()


@pytest.fixture(params=["memory", "mongo"])
def unprepared(request: pytest.FixtureRequest) -> Ledger:
    return MemoryLedger() if request.param == "memory" else MongoLedger(request.getfixturevalue("database"))


@pytest.fixture
async def ledger(unprepared: Ledger) -> Ledger:
    await unprepared.prepare()
    return unprepared


def job(number: int, kind: JobKind = JobKind.EXPORT, state: JobState = JobState.QUEUED, **facts: Any) -> JobRow:
    created = NOW + timedelta(seconds=number)
    request = {"collections": ["a.b", "$c"], "": None}
    return JobRow(f"{number:032x}", kind, state, "f" * 32, request, created, created, facts)


async def test_a_row_comes_back_as_it_was(ledger: Ledger) -> None:
    row = job(1, errors=[{"item": "a.b", "$": 1.5}], result={"": None})
    await ledger.add_job(row)
    kept = await ledger.get_job(row.id)
    assert kept is not None
    milli = row.created_at.replace(microsecond=891_000)
    assert (kept.created_at, kept.updated_at) == (milli, milli)
    assert (kept.request, kept.facts, kept.kind, kept.folder) == (row.request, row.facts, row.kind, row.folder)
    assert await ledger.get_job("0" * 32) is None
    await ledger.delete_job(row.id)
    assert await ledger.get_job(row.id) is None


async def test_lists_are_newest_first_and_filtered(ledger: Ledger) -> None:
    for number in range(5):
        await ledger.add_job(job(number, state=JobState.COMPLETED if number % 2 else JobState.QUEUED))
    await ledger.add_job(job(9, JobKind.IMPORT, JobState.COMPLETED))
    ids = [int(row.id, 16) for row in await ledger.list_jobs()]
    assert ids == [9, 4, 3, 2, 1, 0]
    assert [int(row.id, 16) for row in await ledger.list_jobs(kind=JobKind.EXPORT, skip=1, limit=2)] == [3, 2]
    done = await ledger.list_jobs(states=[JobState.COMPLETED])
    assert [int(row.id, 16) for row in done] == [9, 3, 1]
    assert await ledger.list_jobs(states=[]) == []
    assert await ledger.list_jobs(limit=0) == []
    assert await ledger.count_jobs(kind=JobKind.EXPORT) == {JobState.COMPLETED: 2, JobState.QUEUED: 3}
    assert await ledger.count_jobs(states=[JobState.RUNNING]) == {}


async def test_a_change_needs_the_expected_state(ledger: Ledger) -> None:
    await ledger.add_job(job(1, tries=1, percent=5))
    row = job(1)
    assert await ledger.change_job(row.id, [JobState.RUNNING], JobState.FAILED, {"tries": 9}, LATER) is None
    assert await ledger.change_job("0" * 32, list(JobState), None, {}, LATER) is None
    changed = await ledger.change_job(row.id, [JobState.QUEUED], JobState.RUNNING, {"tries": 2, "percent": None}, LATER)
    assert changed is not None
    assert (changed.state, changed.facts) == (JobState.RUNNING, {"tries": 2})
    assert changed.updated_at == LATER.replace(microsecond=891_000)
    same = await ledger.change_job(row.id, [JobState.RUNNING], None, {"more": [1]}, LATER)
    assert same is not None
    assert same == await ledger.get_job(row.id)
    assert (same.state, same.facts) == (JobState.RUNNING, {"tries": 2, "more": [1]})
    with pytest.raises(ValueError, match="fact"):
        await ledger.change_job(row.id, [JobState.RUNNING], None, {"a.b": 1}, LATER)


async def test_one_of_many_gets_a_job(ledger: Ledger) -> None:
    await ledger.add_job(job(1))
    got = await asyncio.gather(
        *(
            ledger.change_job(job(1).id, [JobState.QUEUED], JobState.RUNNING, {"by": number}, LATER)
            for number in range(8)
        )
    )
    assert sum(row is not None for row in got) == 1
