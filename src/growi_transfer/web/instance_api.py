"""What this server and its wiki are, for the admin's pages."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from growi_transfer.protocol.errors import NotFound
from growi_transfer.web.auth import guard_of, services_of
from growi_transfer.web.requests import api


async def instance(request: Request) -> Response:
    """The summary of `jobs.instance`, and what this server does. The storage is really written to and cleaned up."""
    guard_of(request).admin(request)
    services = services_of(request)
    if services.instance is None:
        raise NotFound("This server cannot tell about its wiki.")
    roles = {"receiver": services.receiver, "pusher": services.pusher}
    summary = {
        "version": services.version,
        "roles": [name for name, role in roles.items() if role is not None],
        "now": services.clock().isoformat(),
        **await services.instance(),
    }
    return JSONResponse({"instance": summary})


ROUTES = [api("GET", "/instance", instance)]
