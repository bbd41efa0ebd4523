"""Jobs as they are now: their rows in the ledger, and what is newer in this process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from growi_transfer.jobs.files import JobFiles
from growi_transfer.jobs.live import LiveJobs
from growi_transfer.jobs.progress import Progress
from growi_transfer.jobs.views import view_of
from growi_transfer.ledger.jobs import LIVE_JOBS, JobKind, JobLedger, JobRow, JobState
from growi_transfer.protocol.errors import JobNotFound
from growi_transfer.protocol.job_shapes import JobView

SILENT = timedelta(minutes=2)
"""A live job is written to by its server at least twice a minute: one that was not has no server at present."""


class JobBoard:
    """`keep`: how long the files of exports are kept; None: for ever. `owed`: what is noted with each end, in the same
    write, so that whoever is to be told of it is told though this process dies right then."""

    def __init__(
        self,
        ledger: JobLedger,
        clock: Callable[[], datetime],
        files: JobFiles,
        keep: timedelta | None,
        owed: Mapping[str, Any] | None = None,
    ) -> None:
        self.ledger = ledger
        self.clock = clock
        self.live = LiveJobs(clock)
        self._files = files
        self.progress: dict[str, Progress] = {}
        """Of the jobs that run here."""
        self.ended: list[Callable[[JobView], None]] = []
        """Called with each job that this process has put to its end."""
        self._keep = keep
        self._owed = owed or {}

    def view(self, row: JobRow) -> JobView:
        """How a job is shown."""
        progress = self.progress.get(row.id) if row.state is JobState.RUNNING else None
        silent = row.id not in self.progress and row.state in LIVE_JOBS and row.updated_at + SILENT < self.clock()
        view = view_of(row, keep=self._keep, **(progress.facts() if progress is not None else {}))
        if view.file is not None:
            here = row.folder == self._files.id
            gone = here and not self._files.export(row.id).exists()
            file = None if gone else view.file.model_copy(update={"here": here})
            return view.model_copy(update={"file": file})
        return view.model_copy(update={"silent_since": row.updated_at.isoformat()}) if silent else view

    def show(self, row: JobRow) -> JobView:
        """Tell those who watch that a job has changed."""
        view = self.view(row)
        self.live.put(view)
        return view

    async def change(
        self, job_id: str, expected: Collection[JobState], new: JobState | None, facts: Mapping[str, Any]
    ) -> JobRow | None:
        """Change a job and show it; None, and no change, if it is not in an expected state any more."""
        row = await self.ledger.change_job(job_id, expected, new, facts, self.clock())
        if row is not None:
            self.show(row)
        return row

    async def end(
        self, job_id: str, expected: Collection[JobState], state: JobState, facts: Mapping[str, Any]
    ) -> JobRow | None:
        """Put a job to its end, as `change` does, and tell those who wait for ends."""
        assert state not in LIVE_JOBS
        more = {"finished_at": self.clock().isoformat(), "cancel_requested": None, **self._owed}
        row = await self.change(job_id, expected, state, {**facts, **more})
        if row is not None:
            self.tell_end(row)
        return row

    def tell_end(self, row: JobRow) -> None:
        """A job of this process is at its end."""
        view = self.view(row)
        for tell in self.ended:
            tell(view)

    async def row(self, job_id: str, kind: JobKind | None = None) -> JobRow:
        """Raises JobNotFound."""
        row = await self.ledger.get_job(job_id)
        if row is None or kind not in (None, row.kind):
            raise JobNotFound()
        return row
