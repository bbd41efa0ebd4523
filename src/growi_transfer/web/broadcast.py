"""What is told over Socket.IO: each change of a transfer and of a job, to the rooms of those who may know it.

Two tasks, owned by the server's lifespan, read the feed and the jobs and send to all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import engineio
import socketio
import structlog
from socketio import packet

from growi_transfer.jobs.live import LiveJobs
from growi_transfer.ledger.base import Ledger, Role
from growi_transfer.protocol.errors import TransferError
from growi_transfer.protocol.job_shapes import JobView
from growi_transfer.protocol.machine import FINISHED, State
from growi_transfer.protocol.progress import Failure, Snapshot
from growi_transfer.web.feed import Feed, Told

NAMESPACE = "/admin"
PROGRESS = "admin:g2gProgress"
ERROR = "admin:g2gError"
JOB = "admin:job"
ERROR_EXPORT = "admin:g2g:error_generate_growi_archive"
ERROR_SEND = "admin:g2g:error_send_growi_archive"
ERROR_ATTACHMENT = "admin:g2g:error_upload_attachment"
"""GROWI's keys of its own texts."""

ADMINS = "admins"
"""The room of those who may know everything."""
_BEFORE_COPYING = (State.CREATED, State.CHECKED)
_AGAIN_SECONDS = 0.5
_log = structlog.get_logger("growi_transfer.web")


class Broadcast:
    """Tells all who are connected to `server`."""

    def __init__(self, server: socketio.AsyncServer, ledger: Ledger) -> None:
        self._server = server
        self._ledger = ledger
        self._told: dict[tuple[str, str], set[Failure]] = {}
        self._states: dict[tuple[str, str], State] = {}

    async def transfers(self, feed: Feed) -> None:
        """Tell each change that the feed has."""
        watching = feed.watching()
        while True:
            try:
                await watching.changed()
                for told in watching.take():
                    await self._tell(told)
            except Exception:  # noqa: BLE001 - whatever it was, the next watcher must not wait for ever
                _log.exception("the live broadcast stopped and begins again")
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _tell(self, told: Told) -> None:
        snapshot = told.snapshot
        item = (snapshot.role, snapshot.id)
        state = snapshot.position.state
        before = self._states.get(item)
        self._states[item] = state
        await self._emit(PROGRESS, lambda: progress(told.shape), ADMINS)
        await self._emit(PROGRESS, lambda: progress(told.watcher_shape), room_of(Role(snapshot.role), snapshot.id))
        known = self._told.setdefault(item, set())
        fresh = [failure for failure in snapshot.failures if failure not in known]
        self._told[item] = set(snapshot.failures)
        for failure in fresh:
            await self._error(ERROR_ATTACHMENT if failure.kind == "file" else ERROR_SEND, failure.message, snapshot.id)
        if state is State.FAILED and before not in (None, State.FAILED):
            key = ERROR_EXPORT if snapshot.position.came_from in _BEFORE_COPYING else ERROR_SEND
            await self._error(key, await _reason(snapshot, self._ledger), snapshot.id)
        if state in FINISHED:
            self._told.pop(item, None)
            self._states.pop(item, None)

    async def jobs(self, live: LiveJobs) -> None:
        """Tell each change of a job."""
        watching = live.watching()
        while not watching.is_over:
            try:
                await watching.changed()
                for _, view in watching.take():
                    await self._emit(JOB, partial(job_event, view), ADMINS)
            except Exception:  # noqa: BLE001 - as above
                _log.exception("the live broadcast of jobs stopped and begins again")
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _error(self, key: str, message: str, transfer_id: str) -> None:
        await self._emit(ERROR, lambda: {"message": message, "key": key, "transfer": transfer_id}, ADMINS)

    async def _emit(self, event: str, data: Callable[[], dict[str, Any]], room: str) -> None:
        """Encoded once for all in the room, and not at all for an empty one."""
        connections = [connection for _, connection in self._server.manager.get_participants(NAMESPACE, room)]
        if not connections:
            return
        message = self._server.packet_class(packet.EVENT, namespace=NAMESPACE, data=[event, data()]).encode()
        line = engineio.packet.Packet(engineio.packet.MESSAGE, message)
        # The library's `emit` makes a task for each connection; this only puts one more into its queue.
        for connection in connections:
            with suppress(engineio.exceptions.SocketIsClosedError):
                await self._server.eio.send_packet(connection, line)


def room_of(role: Role, transfer_id: str) -> str:
    return f"{role.value} {transfer_id}"


def progress(shape: dict[str, Any]) -> dict[str, Any]:
    return {"mongo": shape["mongo"], "attachments": shape["attachments"], "transfer": shape}


async def _reason(snapshot: Snapshot, ledger: Ledger) -> str:
    """Why a transfer failed, as its row says."""
    try:
        row = await ledger.get_transfer(Role(snapshot.role), snapshot.id)
    except TransferError as error:
        return error.message
    kept = row.facts.get("error") if row is not None else None
    message = kept.get("message") if isinstance(kept, dict) else kept
    return str(message or "The transfer failed.")


def job_event(view: JobView) -> dict[str, Any]:
    return {"job": view.model_dump(mode="json")}
