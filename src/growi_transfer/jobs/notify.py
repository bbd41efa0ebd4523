"""Tells another program that a job has ended: a webhook, signed, and sent again until it is taken.

The signed text is the time, a dot and the body, so that nobody can send an old notification again later. Where it goes
is a setting: a request can never choose an address, so the jobs API cannot be used to make this server talk to others.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import orjson
import structlog

from growi_transfer.jobs.job_board import JobBoard
from growi_transfer.ledger.jobs import LIVE_JOBS, JobState
from growi_transfer.protocol.errors import TransferError, code_of
from growi_transfer.protocol.job_shapes import JobView

PAUSES = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
"""Seconds between tries."""
TIMESTAMP_HEADER = "x-growi-transfer-timestamp"
SIGNATURE_HEADER = "x-growi-transfer-signature"
DELIVERY_HEADER = "x-growi-transfer-delivery"
_FINISHED = [state for state in JobState if state not in LIVE_JOBS]
_ROWS = 1000
_log = structlog.get_logger(__name__)


class Post(Protocol):
    async def __call__(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Send it to the address of the setting; the status of the answer. Raises TransferError without one."""


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """`v1=` and HMAC-SHA-256 in hex over `<timestamp>.<body>`."""
    return "v1=" + hmac.new(secret.encode(), b"%d." % timestamp + body, "sha256").hexdigest()


def owed(folder: str) -> dict[str, Any]:
    """What is noted with the end of a job: that somebody is to be told of it, by the server that has this folder."""
    return {"webhook": {"state": "pending", "tries": 0, "status": None}, "webhook_from": folder}


class Webhooks:
    """Sends in the background while `running`. What was not taken when the server ends is sent by the next one, so what
    was taken right before may come again."""

    def __init__(
        self, board: JobBoard, folder: str, post: Post | None, secret: str, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        """`post` None: nobody is to be told."""
        self._board = board
        self._folder = folder
        self._post = post
        self._secret = secret
        self._sleep = sleep
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Owns the background work."""
        if self._post is not None:
            for row in await self._board.ledger.list_jobs(states=_FINISHED, limit=_ROWS):
                ours = row.facts.get("webhook_from", row.folder) == self._folder
                if ours and (row.facts.get("webhook") or {}).get("state") == "pending":
                    self.tell(self._board.view(row))
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def tell(self, view: JobView) -> None:
        """A job has ended."""
        if self._post is not None:
            task = asyncio.ensure_future(self._deliver(view))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, view: JobView) -> None:
        tries = view.webhook.tries if view.webhook is not None else 0
        # An archive may go before its end was told; it was completed all the same.
        event = JobState.COMPLETED if view.state == JobState.EXPIRED else view.state
        body = orjson.dumps({"event": f"job.{event}", "job": _public(view)})
        status: int | None = None
        for pause in (*PAUSES[tries:], None):
            tries += 1
            status = await self._try(view.id, body)
            if status is not None and 200 <= status < 300:
                await self._note(view.id, "delivered", tries, status)
                return
            if pause is None or status == 410:  # Gone: whoever was to be told does not want it any more
                break
            await self._note(view.id, "pending", tries, status)
            await self._sleep(pause)
        _log.warning("webhook_given_up", job=view.id, tries=tries)
        await self._note(view.id, "failed", tries, status)

    async def _try(self, job_id: str, body: bytes) -> int | None:
        assert self._post is not None
        timestamp = int(self._board.clock().timestamp())
        headers = {
            "content-type": "application/json",
            TIMESTAMP_HEADER: str(timestamp),
            SIGNATURE_HEADER: signature(self._secret, timestamp, body),
            DELIVERY_HEADER: job_id,
        }
        try:
            status = await self._post(body, headers)
        except TransferError as error:
            _log.warning("webhook_failed", job=job_id, code=code_of(error), message=error.message)
            return None
        if status >= 300:
            _log.warning("webhook_refused", job=job_id, status=status)
        return status

    async def _note(self, job_id: str, state: str, tries: int, status: int | None) -> None:
        facts: dict[str, Any] = {"webhook": {"state": state, "tries": tries, "status": status}}
        with suppress(TransferError):
            await self._board.change(job_id, _FINISHED, None, facts)


def _public(view: JobView) -> dict[str, Any]:
    shape = view.model_dump(mode="json")
    del shape["webhook"]
    return shape
