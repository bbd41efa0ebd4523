"""The receipt of a transfer: for its peer, which signs it too, and for the admin of either side."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.errors import NotFound
from growi_transfer.protocol.receipt import RECEIPT_LIMIT, CounterSignature
from growi_transfer.web.auth import guard_of, presents_key, services_of
from growi_transfer.web.present import row_of
from growi_transfer.web.requests import api, json_body, transfer_id_of, yes_or_no
from growi_transfer.web.uploads import read_body


async def get_receipt(request: Request) -> Response:
    guard = guard_of(request)
    transfer_id = transfer_id_of(request)
    if presents_key(request):
        await guard.key_of_transfer(request, transfer_id)
        return JSONResponse(await guard.receiver().receipt(transfer_id))
    guard.admin(request)
    row = await row_of(request, transfer_id)
    service = guard.pusher() if row.role is Role.PUSHER else guard.receiver()
    return JSONResponse(await service.receipt(transfer_id))


async def countersign(request: Request) -> Response:
    guard = guard_of(request)
    transfer_id = transfer_id_of(request)
    await guard.key_of_transfer(request, transfer_id)
    mark = await json_body(request, CounterSignature)
    return JSONResponse(await guard.receiver().countersign(transfer_id, mark))


async def verify(request: Request) -> Response:
    """Check a receipt that somebody kept: its text is the body; `data=true` reads this side's data again, too."""
    guard_of(request).admin(request)
    data = yes_or_no(request, "data")
    recheck = services_of(request).recheck
    if recheck is None:
        raise NotFound("This server cannot check receipts.")
    return JSONResponse(await recheck.check(await read_body(request, RECEIPT_LIMIT), data=data))


ROUTES = [
    api("POST", "/receipts/verify", verify),
    api("GET", "/transfers/{transfer_id}/receipt", get_receipt),
    api("POST", "/transfers/{transfer_id}/receipt", countersign),
]
