"""Runs the jobs of one data folder, some at once and the others in the order in which they were asked for.

Only one server has a data folder, so what is live in the ledger and of this folder when a server starts was cut off:
it is queued again, and begun anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars

from growi_transfer.jobs.files import JobFiles
from growi_transfer.jobs.job_board import JobBoard
from growi_transfer.jobs.progress import Progress
from growi_transfer.jobs.work import Work
from growi_transfer.ledger.jobs import LIVE_JOBS, JobKind, JobRow, JobState
from growi_transfer.protocol.errors import DatabaseUnavailable, JobInterrupted, StateConflict, TransferError, code_of

BEGINNINGS = 3
"""How often a job is begun that goes down with its server each time."""
SAVE_SECONDS = 1.0
"""How old the ledger's copy of a job's progress may be, and how soon an order to stop from elsewhere is seen."""
TOUCH_SECONDS = 30.0
"""How often a job that waits is written to, so that everybody can tell it from one that no server has."""
_SHOW_SECONDS = 0.25
_OUTAGE_SECONDS = 600
"""How long an end waits for the ledger's database."""
_ROWS = 10_000
_log = structlog.get_logger(__name__)


@dataclass
class _Running:
    row: JobRow
    work: Work
    progress: Progress
    task: asyncio.Task[None] = field(init=False)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the task works: one that is cancelled before that would never come to its own end."""
    cancelled: bool = False

    def cancel(self) -> None:
        """Once: cancelled again it would leave off cleaning up after the first time."""
        if not self.cancelled:
            self.cancelled = True
            self.task.cancel()


class JobRunner:
    """`node` names this machine for people."""

    def __init__(
        self,
        board: JobBoard,
        files: JobFiles,
        works: Mapping[JobKind, Work],
        *,
        at_once: int,
        node: str,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._board = board
        self._files = files
        self._works = works
        self._at_once = at_once
        self._node = node
        self._sleep = sleep
        self._running: dict[str, _Running] = {}
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something was queued."""
        self._wake.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Owns the background work. What runs when it ends is begun anew by the next server of this folder."""
        await self._recover()
        scheduling = asyncio.ensure_future(self._schedule())
        try:
            yield
        finally:
            tasks = [scheduling, *(one.task for one in self._running.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self, job_id: str) -> bool:
        """End a job that runs here, and wait until nothing of it works any more; False when it does not run here.

        Raises StateConflict when it is too late.
        """
        one = self._running.get(job_id)
        if one is None:
            return False
        await one.begun.wait()
        one.work.refuse_cancel(one.row)
        one.cancel()
        await asyncio.wait({one.task})
        return True

    # at the start

    async def _recover(self) -> None:
        ledger = self._board.ledger
        live = [row for row in await ledger.list_jobs(states=LIVE_JOBS, limit=_ROWS) if self._is_ours(row)]
        for row in live:
            if row.state is not JobState.RUNNING:
                await self._touch(row)
            elif row.facts.get("tries", 1) >= BEGINNINGS:
                await self._end(row, JobState.FAILED, _failure(JobInterrupted(), Progress()))
            elif await self._board.change(row.id, [JobState.RUNNING], JobState.QUEUED, {"percent": 0}):
                _log.info("job_queued_again", job=row.id, kind=row.kind.value)
        done = await ledger.list_jobs(kind=JobKind.EXPORT, states=[JobState.COMPLETED], limit=_ROWS)
        exports = [row.id for row in done if self._is_ours(row)]
        uploads = [row.id for row in live if row.kind is JobKind.IMPORT]
        removed = await asyncio.to_thread(self._files.clear, exports, uploads)
        if removed:
            _log.info("files_of_dead_jobs_removed", files=removed)

    def _is_ours(self, row: JobRow) -> bool:
        return row.folder == self._files.id

    # the queue

    async def _schedule(self) -> None:
        touched = monotonic()
        while True:
            self._wake.clear()
            try:
                await self._start_some()
                if monotonic() - touched >= TOUCH_SECONDS:
                    touched = monotonic()
                    for row in await self._board.ledger.list_jobs(states=[JobState.QUEUED], limit=_ROWS):
                        await self._touch(row)
            except TransferError as error:
                _log.warning("jobs_not_started", code=code_of(error), message=error.message)
                await self._sleep(SAVE_SECONDS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(TOUCH_SECONDS):
                    await self._wake.wait()

    async def _touch(self, row: JobRow) -> None:
        """Note that a waiting job has a server, if it is one of this one."""
        if row.kind in self._works and self._is_ours(row):
            await self._board.ledger.change_job(row.id, [JobState.QUEUED], None, {}, self._board.clock())

    async def _start_some(self) -> None:
        if len(self._running) >= self._at_once:
            return
        waiting = await self._board.ledger.list_jobs(states=[JobState.QUEUED], limit=_ROWS)
        for row in reversed(waiting):
            if len(self._running) >= self._at_once:
                return
            # Two archives cannot come into one wiki at once.
            busy = any(one.row.kind is JobKind.IMPORT for one in self._running.values())
            if row.kind in self._works and self._is_ours(row) and not (row.kind is JobKind.IMPORT and busy):
                await self._start(row, self._works[row.kind])

    async def _start(self, row: JobRow, work: Work) -> None:
        facts = {
            "node": self._node,
            "started_at": self._board.clock().isoformat(),
            "tries": int(row.facts.get("tries", 0)) + 1,
        }
        begun = await self._board.change(row.id, [JobState.QUEUED], JobState.RUNNING, facts)
        if begun is None:
            return  # it was cancelled just now
        progress = self._board.progress[row.id] = work.progress(begun)
        one = self._running[row.id] = _Running(begun, work, progress)
        one.task = asyncio.ensure_future(self._run(one))
        one.task.add_done_callback(lambda _: self._wake.set())

    # one job

    async def _run(self, one: _Running) -> None:
        with bound_contextvars(job=one.row.id):
            _log.info("job_started", kind=one.row.kind.value, tries=one.row.facts["tries"])
            watching = asyncio.ensure_future(self._watch(one))
            one.begun.set()
            try:
                await self._work(one)
            finally:
                watching.cancel()
                self._running.pop(one.row.id, None)
                self._board.progress.pop(one.row.id, None)

    async def _work(self, one: _Running) -> None:
        async def note(facts: Mapping[str, Any]) -> None:
            changed = await self._board.change(one.row.id, [JobState.RUNNING], None, facts)
            if changed is None:
                raise StateConflict("Somebody else has ended this job.")
            one.row = changed

        try:
            facts = await one.work.run(one.row, one.progress, note)
        except asyncio.CancelledError:
            if one.cancelled:
                await self._finish(one, JobState.CANCELLED, one.progress.facts())
            raise
        except TransferError as error:
            await self._finish(one, JobState.FAILED, _failure(error, one.progress))
        except Exception as error:  # noqa: BLE001 (a fault of ours must not leave the job looking alive)
            _log.exception("job_failed_unexpectedly")
            fault = TransferError(f"Unexpected: {type(error).__name__}")
            await self._finish(one, JobState.FAILED, _failure(fault, one.progress))
        else:
            await self._finish(one, JobState.COMPLETED, {**one.progress.facts(), **facts})

    async def _finish(self, one: _Running, state: JobState, facts: Mapping[str, Any]) -> None:
        """Put the job to its end. A cancel that comes meanwhile is too late, and waits for it."""
        ending = asyncio.ensure_future(self._end(one.row, state, facts))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            if one.cancelled:
                await asyncio.wait({ending})
            raise

    async def _end(self, row: JobRow, state: JobState, facts: Mapping[str, Any]) -> None:
        """Put a job to its end. Its files go, but for the archive of an export that is done."""
        if state is not JobState.COMPLETED or row.kind is JobKind.IMPORT:
            await asyncio.to_thread(self._files.remove, row.id)
        self._board.progress.pop(row.id, None)
        await self._keep_end(row, state, facts)
        errors = facts.get("errors") or [{}]
        transfer = {"transfer": row.facts["transfer_id"]} if "transfer_id" in row.facts else {}
        _log.info("job_ended", job=row.id, state=state.value, code=errors[-1].get("code"), **transfer)

    async def _keep_end(self, row: JobRow, state: JobState, facts: Mapping[str, Any]) -> None:
        """Keep the end, as soon as the database lets us."""
        for tries in range(_OUTAGE_SECONDS):
            with suppress(DatabaseUnavailable):
                if await self._board.end(row.id, LIVE_JOBS, state, facts) is None and tries:
                    # It may have been kept before, and only the answer was lost.
                    kept = await self._board.ledger.get_job(row.id)
                    if kept is not None and kept.state is state:
                        self._board.show(kept)
                        self._board.tell_end(kept)
                return
            await self._sleep(1.0)
        await self._board.end(row.id, LIVE_JOBS, state, facts)

    async def _watch(self, one: _Running) -> None:
        """Show the progress, keep it, and see whether another server was asked to stop this job."""
        since = 0.0
        while True:
            await self._sleep(_SHOW_SECONDS)
            since += _SHOW_SECONDS
            if since < SAVE_SECONDS:
                if one.progress.changed:
                    one.progress.changed = False
                    self._board.show(one.row)
                continue
            since = 0.0
            with suppress(TransferError):  # the next one comes soon
                facts = one.progress.facts()
                row = await self._board.ledger.change_job(
                    one.row.id, [JobState.RUNNING], None, facts, self._board.clock()
                )
                if row is not None and row.facts.get("cancel_requested"):
                    with suppress(StateConflict):
                        one.work.refuse_cancel(one.row)
                        one.cancel()


def _failure(error: TransferError, progress: Progress) -> dict[str, Any]:
    progress.note("", "job", error)
    return progress.facts()
