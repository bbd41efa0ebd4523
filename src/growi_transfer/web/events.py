"""Server-sent events: the present state of transfers at once, then every change.

`GET transfers/{id}/events` ends at a finished state; `GET events` (the pages') and `GET watch/events` (a watch link's)
do not. Each `transfer` event says all there is, so a reader that was away needs nothing that it missed: `Last-Event-ID`
is accepted and changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.machine import FINISHED
from growi_transfer.web.auth import guard_of, presents_key, services_of
from growi_transfer.web.feed import Feed, encoded_event
from growi_transfer.web.present import row_of, shape_of
from growi_transfer.web.requests import api, transfer_id_of
from growi_transfer.web.sessions import Session
from growi_transfer.web.watch_links import WatchLink, watch_links_of

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_RETRY_MS = 2000
_RETRY_AFTER_END_MS = 60_000


class Watched(Protocol[T_co]):
    """What one watcher has seen of something that changes."""

    @property
    def is_over(self) -> bool: ...

    def take(self) -> Sequence[T_co]:
        """What changed since the last time."""

    async def changed(self) -> None:
        """Wait until there is something to take."""


class EventStream(Response, Generic[T]):
    """An answer that lasts until what is watched is over, the reader goes, or one of `ends` is done. `first` is sent at
    once; `form` gives the bytes of a state."""

    media_type = "text/event-stream"

    def __init__(
        self,
        watching: Watched[T],
        form: Callable[[T], bytes],
        *,
        first: bytes = b"",
        ends: Sequence[Coroutine[Any, Any, object]],
        heartbeat: float,
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._watching = watching
        self._form = form
        self._first = first
        self._ends = ends
        self._heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        telling = asyncio.create_task(self._tell(send))
        tasks = [telling, *(asyncio.create_task(one) for one in (_gone(receive), *self._ends))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _tell(self, send: Send) -> None:
        data = f"retry: {_RETRY_MS}\n\n".encode() + self._first
        while True:
            data += b"".join(self._form(told) for told in self._watching.take())
            over = self._watching.is_over
            if over:
                data += b"event: end\nretry: %d\ndata: {}\n\n" % _RETRY_AFTER_END_MS
            await send({"type": "http.response.body", "body": data, "more_body": True})
            if over:
                return
            data = b""
            try:
                async with asyncio.timeout(self._heartbeat):
                    await self._watching.changed()
            except TimeoutError:
                data = b": still here\n\n"


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def feed_of(request: Request) -> Feed:
    feed: Feed = request.state.feed
    return feed


def ends_of(request: Request, session: Session | None) -> list[Coroutine[Any, Any, object]]:
    """What ends a stream from outside: the end of the server, and of the login that opened it."""
    stopping: Coroutine[Any, Any, object] = request.state.stopping.wait()
    return [stopping] if session is None else [stopping, guard_of(request).sessions.ends.wait(session)]


async def watch_transfer(request: Request) -> Response:
    guard = guard_of(request)
    transfer_id = transfer_id_of(request)
    services = services_of(request)
    role: Role | None = None
    session: Session | None = None
    if presents_key(request):
        await guard.key_of_transfer(request, transfer_id)
        role = Role.RECEIVER
    else:
        session = guard.admin(request)
    row = await row_of(request, transfer_id, role)
    # The board knows what moved in this process's time; of an older transfer there is only its row.
    known = services.board.snapshot(row.role, row.id) is not None
    over = not known and row.position.state in FINISHED
    return EventStream(
        feed_of(request).watching(row.role, row.id, ends=True, over=over),
        lambda told: told.event,
        first=b"" if known else encoded_event(0, await shape_of(services, row)),
        ends=ends_of(request, session),
        heartbeat=services.limits.heartbeat_seconds,
    )


async def watch_all(request: Request) -> Response:
    session = guard_of(request).admin(request)
    return EventStream(
        feed_of(request).watching(),
        lambda told: told.event,
        ends=ends_of(request, session),
        heartbeat=services_of(request).limits.heartbeat_seconds,
    )


def watch_through(request: Request, link: WatchLink) -> Response:
    """What a watch link shows, for as long as it is valid."""
    return EventStream(
        feed_of(request).watching(link.role, link.transfer_id),
        lambda told: told.watcher_event,
        ends=[*ends_of(request, None), watch_links_of(request).ends.wait(link)],
        heartbeat=services_of(request).limits.heartbeat_seconds,
    )


ROUTES = [
    api("GET", "/events", watch_all),
    api("GET", "/transfers/{transfer_id}/events", watch_transfer),
]
