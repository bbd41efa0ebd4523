"""The jobs of the ledger that forgets."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from growi_transfer.ledger.jobs import JobKind, JobRow, JobState
from growi_transfer.ledger.values import check_fact_names, from_json_text, json_text, milliseconds


class MemoryJobs:
    """`JobLedger` in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self._jobs: dict[str, JobRow] = {}

    async def add_job(self, row: JobRow) -> None:
        check_fact_names(row.facts)
        self._jobs[row.id] = replace(
            row,
            request=_json(row.request),
            facts=_json(row.facts),
            created_at=milliseconds(row.created_at),
            updated_at=milliseconds(row.updated_at),
        )

    async def get_job(self, job_id: str) -> JobRow | None:
        return copy.deepcopy(self._jobs.get(job_id))

    async def list_jobs(
        self,
        *,
        kind: JobKind | None = None,
        states: Collection[JobState] | None = None,
        skip: int = 0,
        limit: int = 100,
    ) -> list[JobRow]:
        rows = [row for row in self._jobs.values() if _fits(row, kind, states)]
        rows.sort(key=lambda row: (row.created_at, row.id), reverse=True)
        return copy.deepcopy(rows[skip : skip + max(0, limit)])

    async def count_jobs(
        self, *, kind: JobKind | None = None, states: Collection[JobState] | None = None
    ) -> dict[JobState, int]:
        return dict(Counter(row.state for row in self._jobs.values() if _fits(row, kind, states)))

    async def change_job(
        self,
        job_id: str,
        expected: Collection[JobState],
        new: JobState | None,
        facts: Mapping[str, Any],
        now: datetime,
    ) -> JobRow | None:
        check_fact_names(facts)
        given = _json(facts)
        row = self._jobs.get(job_id)
        if row is None or row.state not in expected:
            return None
        merged = {name: value for name, value in {**row.facts, **given}.items() if value is not None}
        self._jobs[job_id] = replace(row, state=new or row.state, facts=merged, updated_at=milliseconds(now))
        return copy.deepcopy(self._jobs[job_id])

    async def delete_job(self, job_id: str) -> None:
        self._jobs.pop(job_id, None)


def _fits(row: JobRow, kind: JobKind | None, states: Collection[JobState] | None) -> bool:
    return kind in (None, row.kind) and (states is None or row.state in states)


def _json(values: Mapping[str, Any]) -> dict[str, Any]:
    return from_json_text(json_text(values)) if values else {}
