"""Server-sent events: the present state of transfers at once, then every change.

`GET transfers/{id}/events` ends at a finished state; `GET events` (the watch page's) never does. Each `transfer` event
is the same JSON as `GET transfers/{id}` and says all there is, so a reader that was away needs nothing that it missed:
`Last-Event-ID` is accepted and changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.machine import FINISHED
from growi_transfer.protocol.progress import Snapshot
from growi_transfer.protocol.shape import to_json
from growi_transfer.web.auth import guard_of, presents_key, services_of
from growi_transfer.web.present import row_of, shape_of
from growi_transfer.web.requests import api, transfer_id_of

_RETRY_MS = 2000
_RETRY_AFTER_END_MS = 60_000


class EventStream(Response):
    """An answer that lasts until `snapshots` ends, the reader goes, or `stopping` is set. `first` is sent at once."""

    media_type = "text/event-stream"

    def __init__(
        self, first: bytes, snapshots: AsyncIterator[Snapshot], *, stopping: asyncio.Event, heartbeat: float
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._first = first
        self._snapshots = snapshots
        self._stopping = stopping
        self._heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def write(data: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        ends = [asyncio.create_task(_gone(receive)), asyncio.create_task(self._stopping.wait())]
        coming: asyncio.Task[Snapshot | None] = asyncio.create_task(_next(self._snapshots))
        number = 0
        try:
            await write(f"retry: {_RETRY_MS}\n\n".encode() + self._first)
            while True:
                done, _ = await asyncio.wait(
                    [coming, *ends], timeout=self._heartbeat, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    await write(b": still here\n\n")
                if done.intersection(ends):
                    break
                if coming in done:
                    snapshot = coming.result()
                    if snapshot is None:
                        await write(b"event: end\nretry: %d\ndata: {}\n\n" % _RETRY_AFTER_END_MS)
                        break
                    number += 1
                    await write(_event(number, to_json(snapshot)))
                    coming = asyncio.create_task(_next(self._snapshots))
            await write(b"", more=False)
        finally:
            for task in (coming, *ends):
                task.cancel()
            await asyncio.gather(coming, *ends, return_exceptions=True)


async def _next(snapshots: AsyncIterator[Snapshot]) -> Snapshot | None:
    return await anext(snapshots, None)


async def _nothing() -> AsyncIterator[Snapshot]:
    none: tuple[Snapshot, ...] = ()
    for snapshot in none:
        yield snapshot


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(number: int, shape: object) -> bytes:
    return b"id: %d\nevent: transfer\ndata: %s\n\n" % (number, orjson.dumps({"transfer": shape}))


async def watch_transfer(request: Request) -> Response:
    guard = guard_of(request)
    transfer_id = transfer_id_of(request)
    services = services_of(request)
    role: Role | None = None
    if presents_key(request):
        await guard.key_of_transfer(request, transfer_id)
        role = Role.RECEIVER
    else:
        guard.admin(request)
    row = await row_of(request, transfer_id, role)
    # The board knows what moved in this process's time; of an older transfer there is only its row.
    known = services.board.snapshot(row.role, row.id) is not None
    over = not known and row.position.state in FINISHED
    return EventStream(
        b"" if known else _event(0, shape_of(services, row)),
        _nothing() if over else services.board.watch(row.role, row.id),
        stopping=request.state.stopping,
        heartbeat=services.limits.heartbeat_seconds,
    )


async def watch_all(request: Request) -> Response:
    guard_of(request).admin(request)
    services = services_of(request)
    return EventStream(
        b"",
        services.board.watch(),
        stopping=request.state.stopping,
        heartbeat=services.limits.heartbeat_seconds,
    )


ROUTES = [
    api("GET", "/events", watch_all),
    api("GET", "/transfers/{transfer_id}/events", watch_transfer),
]
