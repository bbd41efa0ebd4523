"""Archives of exports go when their time is over, or when newer ones need the space; rows of old jobs go too."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from growi_transfer.jobs.files import JobFiles
from growi_transfer.jobs.job_board import JobBoard
from growi_transfer.ledger.jobs import LIVE_JOBS, JobKind, JobRow, JobState
from growi_transfer.protocol.errors import JobAbandoned, TransferError, code_of
from growi_transfer.protocol.job_shapes import JobView

JOBS_KEPT = 1000
"""Finished jobs, newest first, whose rows are kept."""
_EVERY_SECONDS = 600.0
_ABANDONED = {JobState.RUNNING: timedelta(hours=1), JobState.QUEUED: timedelta(days=1)}
"""Jobs that wait or run somewhere are written to again and again: these have no server any more."""
_PAGE = 500
_FINISHED = [state for state in JobState if state not in LIVE_JOBS]
_log = structlog.get_logger(__name__)


class Retention:
    """`kinds`: of the jobs that this server does. `keep`: how long an archive is kept, None for ever. `most`: bytes of
    all archives, None any number.

    The newest archive is never removed for its size: somebody has just asked for it.
    """

    def __init__(
        self, board: JobBoard, files: JobFiles, *, kinds: Collection[JobKind], keep: timedelta | None, most: int | None
    ) -> None:
        self._board = board
        self._files = files
        self._kinds = frozenset(kinds)
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
        await self._end_abandoned()
        return gone

    async def _expire(self) -> list[str]:
        gone: list[str] = []
        rows = await self._board.ledger.list_jobs(
            kind=JobKind.EXPORT, states=[JobState.COMPLETED], limit=10 * JOBS_KEPT
        )
        # After the rows: each of them had its file by then, or somebody else has removed it.
        sizes = await asyncio.to_thread(lambda: dict(self._files.sizes()))
        total, newest = 0, True
        for row in rows:
            if row.folder != self._files.id:
                continue
            total += sizes.get(row.id, 0)
            too_many = self._most is not None and total > self._most and not newest
            if row.id not in sizes or self._is_over(row) or too_many:
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

    async def _end_abandoned(self) -> None:
        """Jobs of folders that are no longer served would look alive for ever; so would those of a role that this
        server does not have any more."""
        error = JobAbandoned()
        facts = {
            "errors": [{"item": "", "kind": "job", "code": error.code, "message": error.message}],
            "errors_total": 1,
        }
        for row in await self._board.ledger.list_jobs(states=LIVE_JOBS, limit=_PAGE):
            ours = row.folder == self._files.id
            if (ours and row.kind in self._kinds) or row.updated_at + _ABANDONED[row.state] > self._board.clock():
                continue
            await self._board.end(row.id, [row.state], JobState.FAILED, facts)
            if ours:
                await asyncio.to_thread(self._files.remove, row.id)
