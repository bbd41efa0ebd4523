"""Watch links: the admin's routes that make and end them, and the two that a link opens."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from growi_transfer.protocol.wire import Shape
from growi_transfer.web.auth import address_of, guard_of, services_of
from growi_transfer.web.details_api import CollectionSums
from growi_transfer.web.events import watch_through
from growi_transfer.web.present import row_of, shape_of
from growi_transfer.web.requests import api, json_body, role_of, transfer_id_of
from growi_transfer.web.watch_links import LIFETIME, LONGEST, WatchLink, watch_links_of
from growi_transfer.web.watcher_shape import watcher_shape

HEADER = "x-growi-transfer-watch"
PAGE = "/watch"


class NewLink(Shape):
    """The body of a request for a watch link."""

    expires_in_seconds: Annotated[int, Field(ge=60, le=int(LONGEST.total_seconds()))] = int(LIFETIME.total_seconds())


async def issue(request: Request) -> Response:
    """A new link. Its address is told once."""
    guard_of(request).admin(request)
    transfer_id = transfer_id_of(request)
    wanted = await json_body(request, NewLink)
    row = await row_of(request, transfer_id, role_of(request))
    made = await watch_links_of(request).issue(row, timedelta(seconds=wanted.expires_in_seconds))
    path = f"{PAGE}#{made.token}"
    return JSONResponse(
        {"link": _shape(made.link), "path": path, "url": f"{request.url.scheme}://{request.url.netloc}{path}"}, 201
    )


async def list_links(request: Request) -> Response:
    guard_of(request).admin(request)
    row = await row_of(request, transfer_id_of(request), role_of(request))
    return JSONResponse({"links": [_shape(link) for link in await watch_links_of(request).valid(row)]})


async def revoke(request: Request) -> Response:
    """One link, or all of a transfer. Who watches through it is cut off."""
    guard_of(request).admin(request)
    row = await row_of(request, transfer_id_of(request), role_of(request))
    await watch_links_of(request).revoke(row, request.path_params.get("link_id"))
    return Response(status_code=204)


async def watched(request: Request) -> Response:
    """The transfer of the link, as it is now."""
    link = await _link_of(request)
    row = await row_of(request, link.transfer_id, link.role)
    shape = watcher_shape(await shape_of(services_of(request), row))
    return JSONResponse({"transfer": shape, "expires_at": link.expires_at.isoformat()})


async def watched_collections(request: Request) -> Response:
    """Each collection of the transfer of the link, with what of it has arrived."""
    link = await _link_of(request)
    row = await row_of(request, link.transfer_id, link.role)
    sums: CollectionSums = request.state.sums
    return JSONResponse({"collections": await sums.of(services_of(request).ledger, row)})


async def watched_events(request: Request) -> Response:
    """Every change of the transfer of the link; ends with the link, not with the transfer."""
    link = await _link_of(request)
    return watch_through(request, link)


async def _link_of(request: Request) -> WatchLink:
    return await watch_links_of(request).check(request.headers.get(HEADER, ""), address_of(request))


def _shape(link: WatchLink) -> dict[str, Any]:
    return {"id": link.id, "created_at": link.created_at.isoformat(), "expires_at": link.expires_at.isoformat()}


ROUTES = [
    api("POST", "/transfers/{transfer_id}/watch-links", issue),
    api("GET", "/transfers/{transfer_id}/watch-links", list_links),
    api("DELETE", "/transfers/{transfer_id}/watch-links", revoke),
    api("DELETE", "/transfers/{transfer_id}/watch-links/{link_id}", revoke),
    api("GET", "/watch", watched),
    api("GET", "/watch/collections", watched_collections),
    api("GET", "/watch/events", watched_events),
]
