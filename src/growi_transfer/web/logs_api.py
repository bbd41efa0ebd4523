"""What happened to a transfer, for this server's admin."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from growi_transfer.ledger.log import KEPT, LEVELS, levels_from, line_json
from growi_transfer.protocol.errors import InvalidRequest
from growi_transfer.web.auth import guard_of, services_of
from growi_transfer.web.present import row_of
from growi_transfer.web.requests import api, role_of, transfer_id_of, whole_number

_LISTED = 200
_STAMP = 20


async def logs(request: Request) -> Response:
    """The newest lines of one side's log, oldest first; `after` (the `next` of an answer before) gives newer ones."""
    guard_of(request).admin(request)
    transfer_id = transfer_id_of(request)
    level = request.query_params.get("level", LEVELS[0])
    if level not in LEVELS:
        raise InvalidRequest(f"level must be one of {', '.join(LEVELS)}.", field="level")
    limit = whole_number(request, "limit", _LISTED, KEPT)
    after = request.query_params.get("after", "")
    if len(after) > _STAMP or not ((after.isascii() and after.isalnum()) or not after):
        raise InvalidRequest("after is the `next` of an earlier answer.", field="after")
    row = await row_of(request, transfer_id, role_of(request))
    rows = await services_of(request).ledger.log(
        row.role, transfer_id, levels=levels_from(level), limit=limit, after=after
    )
    return JSONResponse({"logs": [line_json(one) for one in rows], "next": rows[-1].stamp if rows else after})


ROUTES = [api("GET", "/transfers/{transfer_id}/logs", logs)]
