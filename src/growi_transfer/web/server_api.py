"""What this server is, for the pages of its admin."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from growi_transfer.ledger.base import Role
from growi_transfer.web.auth import guard_of, services_of
from growi_transfer.web.requests import api


async def server(request: Request) -> Response:
    """Version and roles: `receiver`, `pusher` or both."""
    guard_of(request).admin(request)
    services = services_of(request)
    roles = {Role.RECEIVER: services.receiver, Role.PUSHER: services.pusher}
    return JSONResponse(
        {"version": services.version, "roles": [role.value for role, service in roles.items() if service is not None]}
    )


ROUTES = [api("GET", "/server", server)]
