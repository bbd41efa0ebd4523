"""The ASGI application: routes, the layer for refusals, Socket.IO, and the lifespan that holds the services open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from growi_transfer.protocol.errors import TransferError
from growi_transfer.web import (
    attachments_api,
    details_api,
    events,
    growi_api,
    instance_api,
    jobs_api,
    live,
    logs_api,
    metrics,
    openapi_api,
    pages,
    pusher_api,
    receipts_api,
    receiver_api,
    server_api,
    transfers_api,
    watch_api,
)
from growi_transfer.web.auth import Guard
from growi_transfer.web.details_api import CollectionSums
from growi_transfer.web.errors import on_http_exception, on_transfer_error
from growi_transfer.web.feed import Feed
from growi_transfer.web.live import Live
from growi_transfer.web.refusals import Refusals
from growi_transfer.web.services import Services
from growi_transfer.web.uploads import clear_spool
from growi_transfer.web.watch_links import WatchLinks

OpenServices = Callable[[], AbstractAsyncContextManager[Services]]

ROUTES: list[BaseRoute] = [
    *receiver_api.ROUTES,
    *growi_api.ROUTES,
    *attachments_api.ROUTES,
    *pusher_api.ROUTES,
    *events.ROUTES,
    *transfers_api.ROUTES,
    *details_api.ROUTES,
    *logs_api.ROUTES,
    *instance_api.ROUTES,
    *receipts_api.ROUTES,
    *server_api.ROUTES,
    *watch_api.ROUTES,
    *jobs_api.ROUTES,
    *metrics.ROUTES,
    *openapi_api.ROUTES,
    *pages.ROUTES,
]


class App:
    """What `create_app` gives: an ASGI application that can be asked to let go of its watchers."""

    def __init__(self, open_services: OpenServices) -> None:
        self._open_services = open_services
        self._stopping = asyncio.Event()
        self._live = Live()
        self._socket_io = Refusals(self._live)
        self._http = Starlette(
            routes=ROUTES,
            middleware=[Middleware(Refusals)],
            exception_handlers={TransferError: on_transfer_error, HTTPException: on_http_exception},
            lifespan=self._lifespan,
        )
        self._http.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and scope["path"].startswith(live.PATH):
            await self._socket_io(scope, receive, send)
        else:
            await self._http(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with self._open_services() as services:
            await asyncio.to_thread(clear_spool, services.data_dir)
            guard = Guard(services)
            links = WatchLinks(services.ledger, services.session_secrets, services.clock)
            feed = Feed(services.board)
            async with (
                feed.running(),
                guard.sessions.ends.running(),
                links.ends.running(),
                self._live.run(services, guard, links, feed),
            ):
                yield {
                    "services": services,
                    "guard": guard,
                    "stopping": self._stopping,
                    "sums": CollectionSums(),
                    "watch_links": links,
                    "feed": feed,
                }

    async def release_watchers(self) -> None:
        """End all event streams and Socket.IO connections, which otherwise never end by themselves.

        A server that stops gracefully waits for its connections before it ends the lifespan, so whoever runs it calls
        this as soon as it is asked to stop.
        """
        self._stopping.set()
        await self._live.disconnect_all()


def create_app(open_services: OpenServices) -> App:
    """The application. `open_services` is entered when the server starts and left when it has stopped."""
    return App(open_services)
