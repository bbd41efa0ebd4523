"""Archives of exports go when their time is over, or when newer ones need the space; rows of old jobs go too."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from growi_transfer.jobs.files import JobFiles
from growi_transfer.jobs.job_board import JobBoard
from growi_transfer.ledger.jobs import LIVE_JOBS, JobKind, JobRow, JobState
from growi_transfer.protocol.errors import JobInterrupted, TransferError, code_of
from growi_transfer.protocol.job_shapes import JobView

JOBS_KEPT = 1000
"""Finished jobs, newest first, whose rows are kept."""
_EVERY_SECONDS = 600.0
_SILENT = timedelta(hours=1)
"""A job that runs somewhere is written to every second."""
_PAGE = 500
_FINISHED = [state for state in JobState if state not in LIVE_JOBS]
_log = structlog.get_logger(__name__)


class Retention:
    """`keep`: how long an archive is kept, None for ever; `most`: bytes of all archives, None any number.

    The newest archive is never removed for its size: somebody has just asked for it.
    """

    def __init__(self, board: JobBoard, files: JobFiles, *, keep: timedelta | None, most: int | None) -> None:
        self._board = board
        self._files = files
        self._keep = keep
        self._most = most
        self._wake = asyncio.Event()

    def wake(self, _: JobView) -> None:
        """A job has ended: there may be one more archive."""
        self._wake.set()

    async def sweep_for_ever(self) -> None:
        """At once, after each job, and every ten minutes; ends when it is cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.sweep()
            except TransferError as error:
                _log.warning("jobs_not_swept", code=code_of(error), message=error.message)
            except Exception:  # noqa: BLE001 - whatever it was, archives must not stay for ever
                _log.exception("jobs_not_swept")
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_SECONDS):
                    await self._wake.wait()

    async def sweep(self) -> list[str]:
        """Remove what is over; ids of the exports whose archives went."""
        gone = await self._expire()
        ledger = self._board.ledger
        for row in await ledger.list_jobs(states=_FINISHED, skip=JOBS_KEPT, limit=_PAGE):
            if row.folder == self._files.id:
                await asyncio.to_thread(self._files.remove, row.id)
            await ledger.delete_job(row.id)
        await self._end_silent()
        return gone

    async def _expire(self) -> list[str]:
        gone: list[str] = []
        sizes = await asyncio.to_thread(lambda: dict(self._files.sizes()))
        total, newest = 0, True
        rows = await self._board.ledger.list_jobs(
            kind=JobKind.EXPORT, states=[JobState.COMPLETED], limit=10 * JOBS_KEPT
        )
        for row in rows:
            if row.folder != self._files.id:
                continue
            total += sizes.get(row.id, 0)
            if self._is_over(row) or (self._most is not None and total > self._most and not newest):
                await self._remove(row)
                total -= sizes.get(row.id, 0)
                gone.append(row.id)
            newest = False
        return gone

    def _is_over(self, row: JobRow) -> bool:
        finished = datetime.fromisoformat(row.facts["finished_at"])
        return self._keep is not None and finished + self._keep <= self._board.clock()

    async def _remove(self, row: JobRow) -> None:
        # The row first: a file that nobody gives out any more does no harm, a link to no file does.
        if await self._board.change(row.id, [JobState.COMPLETED], JobState.EXPIRED, {"expired": True}) is not None:
            await asyncio.to_thread(self._files.remove, row.id)
            _log.info("export_expired", job=row.id)

    async def _end_silent(self) -> None:
        """Jobs of folders that are no longer served would look alive for ever."""
        error = JobInterrupted("The server that had this job is gone.")
        facts = {
            "errors": [{"item": "", "kind": "job", "code": error.code, "message": error.message}],
            "errors_total": 1,
        }
        for row in await self._board.ledger.list_jobs(states=[JobState.RUNNING], limit=_PAGE):
            if row.folder != self._files.id and row.updated_at + _SILENT < self._board.clock():
                await self._board.end(row.id, [JobState.RUNNING], JobState.FAILED, facts)
