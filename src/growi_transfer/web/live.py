"""Socket.IO, as GROWI's admin page speaks it: namespace `/admin`, `admin:g2gProgress` and `admin:g2gError`.

Only admins get in: `auth` is `{"token": <admin token>}`, or the page's login cookie comes with the handshake. Who comes
late gets the present state of every live transfer at once. One task, owned by the server's lifespan, reads the board
and sends to all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import CookieError, SimpleCookie
from typing import Any

import socketio
import structlog
from starlette.types import Message, Receive, Scope, Send

from growi_transfer.ledger.base import Ledger, Role
from growi_transfer.protocol.errors import AdminRequired, TransferError
from growi_transfer.protocol.machine import FINISHED, State
from growi_transfer.protocol.progress import Failure, Snapshot
from growi_transfer.protocol.shape import to_json
from growi_transfer.web.auth import COOKIE, Guard
from growi_transfer.web.services import Board, Services

PATH = "/socket.io/"
NAMESPACE = "/admin"
PROGRESS = "admin:g2gProgress"
ERROR = "admin:g2gError"
ERROR_EXPORT = "admin:g2g:error_generate_growi_archive"
ERROR_SEND = "admin:g2g:error_send_growi_archive"
ERROR_ATTACHMENT = "admin:g2g:error_upload_attachment"
"""GROWI's keys of its own texts."""

_ROOM = "admins"
_BODY_LIMIT = 1_000_000
_BEFORE_COPYING = (State.CREATED, State.CHECKED)
_AGAIN_SECONDS = 0.5
_log = structlog.get_logger("growi_transfer.web")


class Live:
    """The Socket.IO server. Call it with ASGI scopes below PATH; `run` while the services are open."""

    def __init__(self) -> None:
        self._server = socketio.AsyncServer(
            async_mode="asgi", namespaces=[NAMESPACE], max_http_buffer_size=_BODY_LIMIT, logger=False
        )
        self._server.on("connect", self._connect, namespace=NAMESPACE)
        self._app = socketio.ASGIApp(self._server, socketio_path=PATH)
        self._guard: Guard | None = None
        self._present: dict[tuple[str, str], Snapshot] = {}
        self._told: dict[tuple[str, str], set[Failure]] = {}
        self._welcomes: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, _limited(receive), send)

    @asynccontextmanager
    async def run(self, services: Services, guard: Guard) -> AsyncIterator[None]:
        """Let admins in, and send while the block lasts."""
        self._guard = guard
        broadcaster = asyncio.create_task(self._broadcast(services.board, services.ledger))
        try:
            yield
        finally:
            self._guard = None
            broadcaster.cancel()
            await asyncio.gather(broadcaster, *self._welcomes, return_exceptions=True)
            await self.disconnect_all()
            await self._server.shutdown()

    async def disconnect_all(self) -> None:
        """End every connection; clients try again by themselves."""
        engine = self._server.eio
        for connection in list(engine.sockets.values()):
            # The library's own `disconnect` waits until everything queued is sent, which a client that is gone never
            # lets happen.
            await connection.close(wait=False, reason=engine.reason.SERVER_DISCONNECT)

    # clients

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        if not self._admits(environ, auth):
            raise socketio.exceptions.ConnectionRefusedError(AdminRequired().message)
        # Nothing may be sent before the library has told the client that it is in, which is after this returns.
        task = asyncio.create_task(self._welcome(sid))
        self._welcomes.add(task)
        task.add_done_callback(self._welcomes.discard)

    def _admits(self, environ: dict[str, Any], auth: object) -> bool:
        if self._guard is None:
            return False
        token = auth.get("token") if isinstance(auth, dict) else None
        if not isinstance(token, str) or not token:
            return self._guard.is_session(_cookie(environ.get("HTTP_COOKIE", "")))
        client = environ["asgi.scope"].get("client")
        return self._guard.refusal_of_token(token, client[0] if client else "") is None

    async def _welcome(self, sid: str) -> None:
        while self._server.manager.is_pre_connected(sid, NAMESPACE):
            await asyncio.sleep(0)
        if not self._server.manager.is_connected(sid, NAMESPACE):
            return
        # First into the room, then the present state: a change between the two is sent rather than missed.
        await self._server.enter_room(sid, _ROOM, namespace=NAMESPACE)
        for snapshot in list(self._present.values()):
            await self._server.emit(PROGRESS, _progress(snapshot), to=sid, namespace=NAMESPACE)

    # the board

    async def _broadcast(self, board: Board, ledger: Ledger) -> None:
        while True:
            try:
                async for snapshot in board.watch():
                    await self._tell(snapshot, ledger)
            except Exception:  # noqa: BLE001 - whatever it was, the next watcher must not wait for ever
                _log.exception("the live broadcast stopped and begins again")
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _tell(self, snapshot: Snapshot, ledger: Ledger) -> None:
        item = (snapshot.role, snapshot.id)
        before = self._present.get(item)
        if snapshot.position.state in FINISHED:
            self._present.pop(item, None)
        else:
            self._present[item] = snapshot
        await self._emit(PROGRESS, _progress(snapshot))
        told = self._told.setdefault(item, set())
        fresh = [failure for failure in snapshot.failures if failure not in told]
        self._told[item] = set(snapshot.failures)
        for failure in fresh:
            key = ERROR_ATTACHMENT if failure.kind == "file" else ERROR_SEND
            await self._emit(ERROR, {"message": failure.message, "key": key, "transfer": snapshot.id})
        failed_now = snapshot.position.state is State.FAILED
        if failed_now and before is not None and before.position.state is not State.FAILED:
            key = ERROR_EXPORT if snapshot.position.came_from in _BEFORE_COPYING else ERROR_SEND
            message = await _reason(snapshot, ledger)
            await self._emit(ERROR, {"message": message, "key": key, "transfer": snapshot.id})
        if snapshot.position.state in FINISHED:
            self._told.pop(item, None)

    async def _emit(self, event: str, data: dict[str, Any]) -> None:
        await self._server.emit(event, data, to=_ROOM, namespace=NAMESPACE)


def _progress(snapshot: Snapshot) -> dict[str, Any]:
    shape = to_json(snapshot)
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


def _cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


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
