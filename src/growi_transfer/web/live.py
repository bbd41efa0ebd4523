"""Socket.IO, as GROWI's admin page speaks it: namespace `/admin`, `admin:g2gProgress` and `admin:g2gError`;
and `admin:job`, which is ours.

Who gets in: an admin, whose `auth` is `{"token": <admin token>}` or whose login cookie comes with the handshake, to all
transfers; and `{"watch": <token>}` of a watch link, to the progress of its one, for as long as the link is valid. Who
comes late gets the present state of every live transfer at once. One task, owned by the server's lifespan, reads the
feed and sends to all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

import engineio
import socketio
import structlog
from socketio import packet
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from growi_transfer.jobs.live import LiveJobs
from growi_transfer.ledger.base import Ledger, Role
from growi_transfer.ledger.jobs import LIVE_JOBS
from growi_transfer.protocol.errors import AdminRequired, TransferError
from growi_transfer.protocol.job_shapes import JobView
from growi_transfer.protocol.machine import FINISHED, State
from growi_transfer.protocol.progress import Failure, Snapshot
from growi_transfer.web.auth import COOKIE, Guard, is_same_origin
from growi_transfer.web.feed import Feed, Told, Watching
from growi_transfer.web.services import JobsService, Services
from growi_transfer.web.watch_links import WatchLink, WatchLinks

PATH = "/socket.io/"
NAMESPACE = "/admin"
PROGRESS = "admin:g2gProgress"
ERROR = "admin:g2gError"
JOB = "admin:job"
ERROR_EXPORT = "admin:g2g:error_generate_growi_archive"
ERROR_SEND = "admin:g2g:error_send_growi_archive"
ERROR_ATTACHMENT = "admin:g2g:error_upload_attachment"
"""GROWI's keys of its own texts."""

_ADMINS = "admins"
_BODY_LIMIT = 1_000_000
_BEFORE_COPYING = (State.CREATED, State.CHECKED)
_AGAIN_SECONDS = 0.5
_LIVE_JOBS = frozenset(state.value for state in LIVE_JOBS)
_log = structlog.get_logger("growi_transfer.web")


@dataclass(frozen=True, slots=True)
class _Running:
    """What there is while the services are open."""

    guard: Guard
    links: WatchLinks
    ledger: Ledger
    feed: Feed
    jobs: JobsService | None


class Live:
    """The Socket.IO server. Call it with ASGI scopes below PATH; `run` while the services are open."""

    def __init__(self) -> None:
        self._server = socketio.AsyncServer(
            async_mode="asgi",
            namespaces=[NAMESPACE],
            max_http_buffer_size=_BODY_LIMIT,
            logger=False,
            cors_allowed_origins=_is_ours,
        )
        self._server.on("connect", self._connect, namespace=NAMESPACE)
        self._server.on("disconnect", self._disconnect, namespace=NAMESPACE)
        self._app = socketio.ASGIApp(self._server, socketio_path=PATH)
        self._running: _Running | None = None
        self._closing = False
        self._told: dict[tuple[str, str], set[Failure]] = {}
        self._states: dict[tuple[str, str], State] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: dict[str, Watching] = {}
        """Of each that is connected, by the id of its session."""
        self._ends: dict[str, asyncio.Task[None]] = {}
        """What waits for the end of a watch link, of those who came through one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._closing:
            # They come back within a moment, and a connection made now would hold up the end of the server.
            await _refuse(scope, receive, send)
        else:
            await self._app(scope, _limited(receive), send)

    @asynccontextmanager
    async def run(self, services: Services, guard: Guard, links: WatchLinks, feed: Feed) -> AsyncIterator[None]:
        """Let watchers in, and send while the block lasts."""
        self._running = _Running(guard, links, services.ledger, feed, services.jobs)
        broadcaster = asyncio.create_task(self._broadcast(self._running))
        if services.jobs is not None:
            self._start(self._broadcast_jobs(services.jobs.live))
        try:
            yield
        finally:
            self._running = None
            tasks = [broadcaster, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.disconnect_all()
            await self._server.shutdown()

    async def disconnect_all(self) -> None:
        """End every connection, and let nobody in any more; clients try again by themselves."""
        self._closing = True
        engine = self._server.eio
        for connection in list(engine.sockets.values()):
            # The library's own `disconnect` waits until everything queued is sent, which a client that is gone never
            # lets happen. And a WebSocket ends without a word: Python's client takes one for the last.
            lasting = connection.upgraded
            await connection.close(wait=False, abort=lasting, reason=engine.reason.SERVER_DISCONNECT)
            if lasting:
                connection.queue.put_nowait(None)  # the end, for the one who sends

    # clients

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        running = self._running
        if running is None:
            raise socketio.exceptions.ConnectionRefusedError(AdminRequired().message)
        try:
            link = await _admit(running, environ, auth)
        except TransferError as refusal:
            raise socketio.exceptions.ConnectionRefusedError(refusal.message) from None
        # Nothing may be sent before the library has told the client that it is in, which is after this returns.
        self._start(self._welcome(sid, running, link))
        if link is not None:
            self._ends[sid] = self._start(self._end(sid, running.links, link))

    async def _disconnect(self, sid: str, _: object = None) -> None:
        self._watching.pop(sid, None)
        end = self._ends.pop(sid, None)
        if end is not None and end is not asyncio.current_task():
            end.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _welcome(self, sid: str, running: _Running, link: WatchLink | None) -> None:
        while self._server.manager.is_pre_connected(sid, NAMESPACE):
            await asyncio.sleep(0)
        if not self._server.manager.is_connected(sid, NAMESPACE):
            return
        # First into the room, then the present state: a change between the two is sent rather than missed.
        await self._server.enter_room(sid, _ADMINS if link is None else _room(link.role, link.transfer_id), NAMESPACE)
        feed = running.feed
        watching = feed.watching() if link is None else feed.watching(link.role, link.transfer_id)
        self._watching[sid] = watching
        for told in watching.take():
            if link is not None:
                await self._server.emit(PROGRESS, _progress(told.watcher_shape), to=sid, namespace=NAMESPACE)
            elif told.snapshot.position.state not in FINISHED:
                await self._server.emit(PROGRESS, _progress(told.shape), to=sid, namespace=NAMESPACE)

        if link is None and running.jobs is not None:
            for _, view in running.jobs.live.watching().take():
                if view.state in _LIVE_JOBS:
                    await self._server.emit(JOB, _job(view), to=sid, namespace=NAMESPACE)

    async def _broadcast_jobs(self, live: LiveJobs) -> None:
        watching = live.watching()
        while not watching.is_over:
            await watching.changed()
            for _, view in watching.take():
                await self._server.emit(JOB, _job(view), to=_ADMINS, namespace=NAMESPACE)

    async def _end(self, sid: str, links: WatchLinks, link: WatchLink) -> None:
        await links.ended(link)
        await self._server.disconnect(sid, namespace=NAMESPACE)

    # the feed

    async def _broadcast(self, running: _Running) -> None:
        watching = running.feed.watching()
        while True:
            try:
                await watching.changed()
                for told in watching.take():
                    await self._tell(told, running.ledger)
            except Exception:  # noqa: BLE001 - whatever it was, the next watcher must not wait for ever
                _log.exception("the live broadcast stopped and begins again")
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _tell(self, told: Told, ledger: Ledger) -> None:
        snapshot = told.snapshot
        item = (snapshot.role, snapshot.id)
        state = snapshot.position.state
        before = self._states.get(item)
        self._states[item] = state
        await self._emit(PROGRESS, lambda: _progress(told.shape), _ADMINS)
        await self._emit(PROGRESS, lambda: _progress(told.watcher_shape), _room(Role(snapshot.role), snapshot.id))
        known = self._told.setdefault(item, set())
        fresh = [failure for failure in snapshot.failures if failure not in known]
        self._told[item] = set(snapshot.failures)
        for failure in fresh:
            await self._error(ERROR_ATTACHMENT if failure.kind == "file" else ERROR_SEND, failure.message, snapshot.id)
        if state is State.FAILED and before not in (None, State.FAILED):
            key = ERROR_EXPORT if snapshot.position.came_from in _BEFORE_COPYING else ERROR_SEND
            await self._error(key, await _reason(snapshot, ledger), snapshot.id)
        if state in FINISHED:
            self._told.pop(item, None)
            self._states.pop(item, None)

    async def _error(self, key: str, message: str, transfer_id: str) -> None:
        await self._emit(ERROR, lambda: {"message": message, "key": key, "transfer": transfer_id}, _ADMINS)

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


async def _admit(running: _Running, environ: Mapping[str, Any], auth: object) -> WatchLink | None:
    """None for an admin, or the watch link of who has only that. Raises TransferError for all others."""
    scope = environ["asgi.scope"]
    client = scope.get("client")
    address = client[0] if client else ""
    given = auth if isinstance(auth, dict) else {}
    if "watch" in given:
        token = given["watch"]
        return await running.links.check(token if isinstance(token, str) else "", address)
    token = given.get("token")
    if isinstance(token, str) and token:
        refusal = running.guard.refusal_of_token(token, address)
    else:
        is_admin = running.guard.is_session(_cookie(environ.get("HTTP_COOKIE", "")))
        refusal = None if is_admin else AdminRequired()
    if refusal is not None:
        raise refusal
    return None


def _is_ours(origin: str, environ: Mapping[str, Any]) -> bool:
    """Whether a page that connects is one of ours. Browsers always say where it is from; other programs do not."""
    return is_same_origin(Headers(scope=environ["asgi.scope"]))


def _room(role: Role, transfer_id: str) -> str:
    return f"{role.value} {transfer_id}"


def _progress(shape: dict[str, Any]) -> dict[str, Any]:
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


def _job(view: JobView) -> dict[str, Any]:
    return {"job": view.model_dump(mode="json")}


def _cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()  # its request to connect
        await send({"type": "websocket.close", "code": 1012})
    else:
        await Response(status_code=503, headers={"retry-after": "1"})(scope, receive, send)


def _limited(receive: Receive) -> Receive:
    """The library reads a whole body before it looks at its size, so it is not given more than it takes."""
    size = 0

    async def limited() -> Message:
        nonlocal size
        message = await receive()
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            if size > _BODY_LIMIT:
                return {"type": "http.disconnect"}
        return message

    return limited
