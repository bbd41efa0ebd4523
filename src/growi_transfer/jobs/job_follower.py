"""Jobs that servers of other data folders have, as they go on: read from the ledger, for those who watch here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog

from growi_transfer.jobs.job_board import JobBoard
from growi_transfer.ledger.jobs import LIVE_JOBS, JobRow
from growi_transfer.protocol.errors import TransferError, code_of

FOLLOW_SECONDS = 1.0
"""As often as a server writes down how far its jobs are."""
_ROWS = 1000
_log = structlog.get_logger(__name__)


class Follower:
    """`folder`: that of this server, whose jobs the board hears of by itself."""

    def __init__(self, board: JobBoard, folder: str, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._board = board
        self._folder = folder
        self._sleep = sleep
        self._seen: dict[str, JobRow] = {}

    async def follow_for_ever(self) -> NoReturn:
        """Ends when it is cancelled."""
        while True:
            try:
                await self.look()
            except asyncio.CancelledError:
                raise
            except TransferError as error:
                _log.debug("jobs_not_followed", code=code_of(error), message=error.message)
            except Exception:  # noqa: BLE001 - whatever it was, watchers wait for the next look
                _log.exception("jobs_not_followed")
            await self._sleep(FOLLOW_SECONDS)

    async def look(self) -> None:
        """Show every job of others that has changed since the last look. Raises DatabaseUnavailable."""
        ledger = self._board.ledger
        live = await ledger.list_jobs(states=LIVE_JOBS, limit=_ROWS)
        rows = [row for row in live if row.folder != self._folder]
        # Those that were live and are not any more have ended; a job may also begin and end between two looks.
        watched = self._board.live.watched() | self._seen.keys()
        for job_id in watched - {row.id for row in live}:
            row = await ledger.get_job(job_id)
            if row is not None and row.folder != self._folder:
                rows.append(row)
        for row in rows:
            if self._seen.get(row.id) != row:
                self._board.show(row)
        self._seen = {row.id: row for row in rows if row.state in LIVE_JOBS}
