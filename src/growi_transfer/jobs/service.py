"""Exports and imports that a server does for somebody: asked for, shown, cancelled, given out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import structlog

from growi_transfer.jobs.files import JobFiles
from growi_transfer.jobs.job_board import JobBoard
from growi_transfer.jobs.job_runner import SAVE_SECONDS, JobRunner
from growi_transfer.jobs.live import LiveJobs
from growi_transfer.jobs.work import Exporter, Importer
from growi_transfer.ledger.jobs import LIVE_JOBS, JobKind, JobRow, JobState
from growi_transfer.ledger.values import milliseconds
from growi_transfer.protocol.errors import (
    CollectionNotFound,
    ExportExpired,
    FileNotFound,
    NotFound,
    OwnerSilent,
    QueueFull,
    StateConflict,
)
from growi_transfer.protocol.job_shapes import ExportRequest, JobView

QUEUED_MOST = 100
"""Jobs that may wait; more are refused, so that nobody can fill the ledger or the disk by asking."""
_ELSEWHERE_SECONDS = 10.0
_log = structlog.get_logger(__name__)


class Jobs:
    """The jobs of one wiki, as one server sees them. A job of another folder's server is shown, and can be asked to
    stop; `exporter` and `importer` are None where this server does not have the role."""

    def __init__(
        self,
        board: JobBoard,
        files: JobFiles,
        runner: JobRunner,
        *,
        node: str,
        sleep: Callable[[float], Awaitable[None]],
        new_id: Callable[[], str],
        exporter: Exporter | None,
        importer: Importer | None,
    ) -> None:
        self._board = board
        self._files = files
        self._runner = runner
        self._node = node
        self._sleep = sleep
        self._new_id = new_id
        self._exporter = exporter
        self._importer = importer

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Owns the background work."""
        try:
            async with self._runner.running():
                yield
        finally:
            self._board.live.close()

    # asked for

    async def create_export(self, request: ExportRequest) -> JobView:
        """Queue an export. Raises InvalidRequest, CollectionNotFound, QueueFull, NotFound where there is no source."""
        if self._exporter is None:
            raise NotFound("This server does not export: it does not have the role of a source.")
        request = request.check()
        known = set(await self._exporter.collections())
        for name in (*(request.collections or ()), *request.exclude_collections):
            if name not in known:
                raise CollectionNotFound(f"There is no collection {name} here that moves.", collection=name)
        await self.check_queue()
        return await self._add(JobKind.EXPORT, self._new_id(), request.model_dump(mode="json"))

    async def create_import(self, archive: Path) -> JobView:
        """Queue the import of an archive, which is moved into the folder of the jobs.

        Raises ArchiveInvalid and the like, QueueFull, NotFound where there is no destination.
        """
        importer = self.importer()
        await self.check_queue()
        form = await importer.check_archive(archive)
        job_id = self._new_id()
        size = archive.stat().st_size
        archive.replace(self._files.upload(job_id))
        try:
            return await self._add(JobKind.IMPORT, job_id, {"format": form, "bytes": size})
        except BaseException:
            self._files.remove(job_id)
            raise

    def importer(self) -> Importer:
        """Raises NotFound where there is no destination."""
        if self._importer is None:
            raise NotFound("This server does not import: it does not have the role of a destination.")
        return self._importer

    async def check_queue(self) -> None:
        """Raises QueueFull when no more jobs may wait."""
        waiting = await self._board.ledger.count_jobs(states=[JobState.QUEUED])
        if waiting.get(JobState.QUEUED, 0) >= QUEUED_MOST:
            raise QueueFull(limit=QUEUED_MOST)

    async def _add(self, kind: JobKind, job_id: str, request: dict[str, Any]) -> JobView:
        # As precise as the ledger keeps it, so that it never seems to change.
        now = milliseconds(self._board.clock())
        row = JobRow(
            id=job_id,
            kind=kind,
            state=JobState.QUEUED,
            folder=self._files.id,
            request=request,
            created_at=now,
            updated_at=now,
            facts={"node": self._node},
        )
        await self._board.ledger.add_job(row)
        _log.info("job_queued", job=job_id, kind=kind.value)
        view = self._board.show(row)
        self._runner.wake()
        return view

    # shown

    @property
    def live(self) -> LiveJobs:
        """What changes, for those who watch."""
        return self._board.live

    async def get(self, job_id: str, kind: JobKind | None = None) -> JobView:
        """Raises JobNotFound."""
        return self._board.view(await self._board.row(job_id, kind))

    async def page(
        self, *, kind: JobKind | None, states: Collection[JobState] | None, skip: int, limit: int
    ) -> tuple[list[JobView], int]:
        """Some jobs, newest first, and how many there are in all."""
        ledger = self._board.ledger
        rows = await ledger.list_jobs(kind=kind, states=states, skip=skip, limit=limit)
        total = sum((await ledger.count_jobs(kind=kind, states=states)).values())
        return [self._board.view(row) for row in rows], total

    async def counts(self) -> dict[JobKind, dict[JobState, int]]:
        """How many jobs there are, by kind and state."""
        return {kind: await self._board.ledger.count_jobs(kind=kind) for kind in JobKind}

    async def archive(self, job_id: str) -> tuple[FileIO, JobView]:
        """The file of a finished export, open: it can be read to its end though it is removed meanwhile. Whoever asks
        closes it. Raises JobNotFound, StateConflict, ExportExpired, FileNotFound."""
        row = await self._board.row(job_id, JobKind.EXPORT)
        if row.state is JobState.EXPIRED:
            raise ExportExpired()
        if row.state is not JobState.COMPLETED:
            raise StateConflict(
                f"The export is {row.state.value}: there is nothing to download.", state=row.state.value
            )
        if row.folder != self._files.id:
            raise FileNotFound("Another server of this wiki has the file.", node=row.facts.get("node", ""))
        try:
            file = await asyncio.to_thread(FileIO, self._files.export(job_id))
        except FileNotFoundError:
            raise ExportExpired("The file is no longer there.") from None
        view = self._board.view(row)
        if view.file is None:
            file.close()
            raise ExportExpired("The file is no longer there.")
        return file, view

    # stopped

    async def cancel(self, job_id: str, kind: JobKind | None = None) -> JobView:
        """Stop a job. When this returns nothing of it works any more, and it has left nothing.

        Raises JobNotFound, StateConflict (finished, or an import whose commit has begun), OwnerSilent.
        """
        row = await self._board.row(job_id, kind)
        if row.state is JobState.QUEUED:
            stopped = await self._board.end(job_id, [JobState.QUEUED], JobState.CANCELLED, {})
            if stopped is not None:
                if stopped.folder == self._files.id:
                    self._files.remove(job_id)
                return self._board.view(stopped)
            row = await self._board.row(job_id)
        if row.state in LIVE_JOBS and not await self._runner.stop(job_id):
            await self._ask_to_stop(row)
        row = await self._board.row(job_id)
        if row.state is not JobState.CANCELLED:
            raise StateConflict(f"The job is {row.state.value} already.", state=row.state.value)
        return self._board.view(row)

    async def _ask_to_stop(self, row: JobRow) -> None:
        """Have the server that has this job stop it."""
        await self._board.change(row.id, LIVE_JOBS, None, {"cancel_requested": True})
        waited = 0.0
        while waited < _ELSEWHERE_SECONDS:
            await self._sleep(SAVE_SECONDS / 2)
            waited += SAVE_SECONDS / 2
            if (await self._board.row(row.id)).state not in LIVE_JOBS:
                return
        raise OwnerSilent("The server that has this job does not answer.", node=row.facts.get("node", ""))
