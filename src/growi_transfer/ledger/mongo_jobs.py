"""The jobs of the ledger in the wiki's own database."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from growi_transfer.ledger.jobs import JobKind, JobRow, JobState
from growi_transfer.ledger.mongo_rows import fact_fields
from growi_transfer.ledger.mongo_store import Store
from growi_transfer.ledger.values import check_fact_names, from_json_text, json_text, milliseconds
from growi_transfer.protocol.names import OWN_PREFIX

JOBS = OWN_PREFIX + "jobs"


class MongoJobs:
    """`JobLedger` over database commands. There are a thousand rows or so: see `jobs.retention`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add_job(self, row: JobRow) -> None:
        check_fact_names(row.facts)
        await self._store.put(JOBS, iter([_document(row)]))

    async def get_job(self, job_id: str) -> JobRow | None:
        document = await self._store.get(JOBS, job_id)
        return _row(document) if document else None

    async def list_jobs(
        self,
        *,
        kind: JobKind | None = None,
        states: Collection[JobState] | None = None,
        skip: int = 0,
        limit: int = 100,
    ) -> list[JobRow]:
        if limit <= 0:
            return []
        ids = (await self._store.newest(JOBS, _query(kind, states), "created_at", skip + limit))[skip:]
        rows = {document["_id"]: document for document in await self._store.get_many(JOBS, ids)}
        return [_row(rows[one]) for one in ids if one in rows]

    async def count_jobs(
        self, *, kind: JobKind | None = None, states: Collection[JobState] | None = None
    ) -> dict[JobState, int]:
        found = await self._store.aggregate(
            JOBS, [{"$match": _query(kind, states)}, {"$group": {"_id": "$state", "rows": {"$sum": 1}}}]
        )
        return {JobState(one["_id"]): int(one["rows"]) for one in found}

    async def change_job(
        self,
        job_id: str,
        expected: Collection[JobState],
        new: JobState | None,
        facts: Mapping[str, Any],
        now: datetime,
    ) -> JobRow | None:
        check_fact_names(facts)
        known = fact_fields({name: value for name, value in facts.items() if value is not None})
        fields: dict[str, Any] = {"updated_at": milliseconds(now)}
        fields |= {f"facts.{name}": text for name, text in known.items()}
        if new is not None:
            fields["state"] = new.value
        change: dict[str, Any] = {"$set": fields}
        if len(known) < len(facts):
            change["$unset"] = {f"facts.{name}": "" for name in facts if name not in known}
        document = await self._store.change(JOBS, {"_id": job_id, "state": _among(expected)}, change)
        return _row(document) if document else None

    async def delete_job(self, job_id: str) -> None:
        await self._store.delete(JOBS, {"_id": job_id})


def _among(states: Collection[JobState]) -> dict[str, Any]:
    return {"$in": [state.value for state in states]}


def _query(kind: JobKind | None, states: Collection[JobState] | None) -> dict[str, Any]:
    query: dict[str, Any] = {} if kind is None else {"kind": kind.value}
    return query if states is None else {**query, "state": _among(states)}


def _document(row: JobRow) -> dict[str, Any]:
    return {
        "_id": row.id,
        "kind": row.kind.value,
        "state": row.state.value,
        "folder": row.folder,
        "request": json_text(row.request),
        "created_at": milliseconds(row.created_at),
        "updated_at": milliseconds(row.updated_at),
        "facts": fact_fields(row.facts),
    }


def _row(document: Mapping[str, Any]) -> JobRow:
    return JobRow(
        id=document["_id"],
        kind=JobKind(document["kind"]),
        state=JobState(document["state"]),
        folder=document["folder"],
        request=from_json_text(document["request"]),
        created_at=milliseconds(document["created_at"]),
        updated_at=milliseconds(document["updated_at"]),
        facts={name: from_json_text(text)["v"] for name, text in document["facts"].items()},
    )
