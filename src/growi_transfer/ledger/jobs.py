"""What is remembered of exports and imports that the server does for somebody, and the contract of every ledger of it.

As in `ledger.base`: durable when a call returns, times and ids are given, no row holds a secret.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol


class JobKind(StrEnum):
    EXPORT = "export"
    IMPORT = "import"


class JobState(StrEnum):
    """`queued` -> `running` -> `completed` | `failed` | `cancelled`; `completed` -> `expired` when its file is gone.

    A job that was running when its server ended is `queued` again.
    """

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


LIVE_JOBS = frozenset({JobState.QUEUED, JobState.RUNNING})
"""States of jobs that are not finished."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """One export or import."""

    id: str
    """32 lower-case hex digits."""
    kind: JobKind
    state: JobState
    folder: str
    """Id of the data folder that has its file: only the server of that folder can run it."""
    request: Mapping[str, Any]
    """What was asked for. Never changes; JSON values."""
    created_at: datetime
    updated_at: datetime
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What became known on the way, by name (`progress`, `errors`, `file`, `result`, ...). JSON values."""


class JobLedger(Protocol):
    async def add_job(self, row: JobRow) -> None: ...

    async def get_job(self, job_id: str) -> JobRow | None: ...

    async def list_jobs(
        self,
        *,
        kind: JobKind | None = None,
        states: Collection[JobState] | None = None,
        skip: int = 0,
        limit: int = 100,
    ) -> list[JobRow]:
        """Newest first; `states` None is all of them."""

    async def count_jobs(
        self, *, kind: JobKind | None = None, states: Collection[JobState] | None = None
    ) -> dict[JobState, int]:
        """How many there are in each state that some are in."""

    async def change_job(
        self,
        job_id: str,
        expected: Collection[JobState],
        new: JobState | None,
        facts: Mapping[str, Any],
        now: datetime,
    ) -> JobRow | None:
        """Set some facts (None removes one) and the state, unless `new` is None, if the job is in an expected state.

        The row afterwards; None, and no change, when the job is in another state or gone.
        """

    async def delete_job(self, job_id: str) -> None: ...
