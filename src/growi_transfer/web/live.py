"""Socket.IO, as GROWI's admin page speaks it: namespace `/admin`, `admin:g2gProgress` and `admin:g2gError`;
and `admin:job`, which is ours.

Who gets in: an admin, whose `auth` is `{"token": <admin token>}` or whose login cookie comes with the handshake, to all
transfers; and `{"watch": <token>}` of a watch link, to the progress of its one, for as long as the link is valid. Who
comes late gets the present state of every live transfer at once. Who came with a login or a link is cut off when that
ends. What is told is in `web.broadcast`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

import socketio
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from growi_transfer.ledger.jobs import LIVE_JOBS
from growi_transfer.protocol.errors import AdminRequired, TransferError
from growi_transfer.protocol.machine import FINISHED
from growi_transfer.web.auth import COOKIE, Guard, is_same_origin
from growi_transfer.web.broadcast import ADMINS, JOB, NAMESPACE, PROGRESS, Broadcast, job_event, progress, room_of
from growi_transfer.web.feed import Feed, Watching
from growi_transfer.web.services import JobsService, Services
from growi_transfer.web.sessions import Session
from growi_transfer.web.watch_links import WatchLink, WatchLinks

PATH = "/socket.io/"
_BODY_LIMIT = 1_000_000
_LIVE_JOBS = frozenset(state.value for state in LIVE_JOBS)


@dataclass(frozen=True, slots=True)
class _Running:
    """What there is while the services are open."""

    guard: Guard
    links: WatchLinks
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
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: dict[str, Watching] = {}
        """Of each that is connected, by the id of its session."""
        self._ends: dict[str, asyncio.Task[None]] = {}
        """What waits for the end of what let them in, of those who came with a login or through a watch link."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._closing:
            # They come back within a moment, and a connection made now would hold up the end of the server.
            await _refuse(scope, receive, send)
        else:
            await self._app(scope, _limited(receive), send)

    @asynccontextmanager
    async def run(self, services: Services, guard: Guard, links: WatchLinks, feed: Feed) -> AsyncIterator[None]:
        """Let watchers in, and send while the block lasts."""
        self._running = _Running(guard, links, feed, services.jobs)
        broadcast = Broadcast(self._server, services.ledger)
        telling = [asyncio.create_task(broadcast.transfers(feed))]
        if services.jobs is not None:
            telling.append(asyncio.create_task(broadcast.jobs(services.jobs.live)))
        try:
            yield
        finally:
            self._running = None
            tasks = [*telling, *self._tasks]
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
            way = await _admit(running, environ, auth)
        except TransferError as refusal:
            raise socketio.exceptions.ConnectionRefusedError(refusal.message) from None
        # Nothing may be sent before the library has told the client that it is in, which is after this returns.
        self._start(self._welcome(sid, running, way if isinstance(way, WatchLink) else None))
        if way is not None:
            self._ends[sid] = self._start(self._end(sid, running, way))

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
        await self._server.enter_room(sid, ADMINS if link is None else room_of(link.role, link.transfer_id), NAMESPACE)
        feed = running.feed
        watching = feed.watching() if link is None else feed.watching(link.role, link.transfer_id)
        self._watching[sid] = watching
        for told in watching.take():
            if link is not None:
                await self._server.emit(PROGRESS, progress(told.watcher_shape), to=sid, namespace=NAMESPACE)
            elif told.snapshot.position.state not in FINISHED:
                await self._server.emit(PROGRESS, progress(told.shape), to=sid, namespace=NAMESPACE)
        if link is None and running.jobs is not None:
            for _, view in running.jobs.live.watching().take():
                if view.state in _LIVE_JOBS:
                    await self._server.emit(JOB, job_event(view), to=sid, namespace=NAMESPACE)

    async def _end(self, sid: str, running: _Running, way: WatchLink | Session) -> None:
        if isinstance(way, WatchLink):
            await running.links.ends.wait(way)
        else:
            await running.guard.sessions.ends.wait(way)
        await self._server.disconnect(sid, namespace=NAMESPACE)


async def _admit(running: _Running, environ: Mapping[str, Any], auth: object) -> WatchLink | Session | None:
    """The login of an admin, or None for the token; the watch link of who has only that. Raises TransferError for all
    others."""
    scope = environ["asgi.scope"]
    client = scope.get("client")
    address = client[0] if client else ""
    given = auth if isinstance(auth, dict) else {}
    if "watch" in given:
        token = given["watch"]
        return await running.links.check(token if isinstance(token, str) else "", address)
    token = given.get("token")
    if not (isinstance(token, str) and token):
        session = running.guard.session_of_cookie(_cookie(environ.get("HTTP_COOKIE", "")))
        if session is None:
            raise AdminRequired()
        return session
    refusal = running.guard.refusal_of_token(token, address)
    if refusal is not None:
        raise refusal
    return None


def _is_ours(origin: str, environ: Mapping[str, Any]) -> bool:
    """Whether a page that connects is one of ours. Browsers always say where it is from; other programs do not."""
    return is_same_origin(Headers(scope=environ["asgi.scope"]))


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
