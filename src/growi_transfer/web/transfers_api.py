"""Paths that both roles share. Credentials and the ledger's row decide what one means.

A request with a transfer key comes from the peer and reaches receiver rows, and of these only the one that its key has
claimed. A request of the admin reaches every row of this server: what may be done with one is up to its role.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.protocol.errors import InvalidRequest, StateConflict
from growi_transfer.protocol.machine import State
from growi_transfer.web import receiver_api
from growi_transfer.web.auth import epoch_of, guard_of, presents_key, services_of
from growi_transfer.web.present import row_of, shape_of
from growi_transfer.web.requests import (
    Nothing,
    Resume,
    VerifyAgain,
    api,
    json_body,
    role_of,
    transfer_id_of,
    whole_number,
)
from growi_transfer.web.services import PusherService, ReceiverService, Services

_LISTED = 100
_LISTED_LIMIT = 1000
_SKIPPED_LIMIT = 1_000_000

Answer = Awaitable[dict[str, Any]]
Endpoint = Callable[[Request], Awaitable[Response]]
PusherAction = Callable[[PusherService, str], Answer]
ReceiverAction = Callable[[ReceiverService, str, int | None], Answer]


async def list_transfers(request: Request) -> Response:
    guard_of(request).admin(request)
    services = services_of(request)
    role = role_of(request)
    limit = whole_number(request, "limit", _LISTED, _LISTED_LIMIT)
    skip = whole_number(request, "skip", 0, _SKIPPED_LIMIT, least=0)
    states = _states_of(request)
    rows = await services.ledger.list_transfers(role, limit, skip, states=states)
    total = await services.ledger.count_transfers(role, states=states)
    return JSONResponse({"transfers": [await _listed(services, row) for row in rows], "total": total})


async def _listed(services: Services, row: TransferRow) -> dict[str, Any]:
    shape = await shape_of(services, row)
    return {**shape, "destination": row.setup.get("destination"), "preset": row.setup.get("preset")}


def _states_of(request: Request) -> tuple[State, ...]:
    """The states that a query asks for, with commas between them. Raises InvalidRequest."""
    names = [name for name in request.query_params.get("state", "").split(",") if name]
    try:
        return tuple(State(name) for name in names)
    except ValueError:
        raise InvalidRequest(f"state takes some of {', '.join(State)}.", field="state") from None


async def get_transfer(request: Request) -> Response:
    guard = guard_of(request)
    transfer_id = transfer_id_of(request)
    if presents_key(request):
        await guard.key_of_transfer(request, transfer_id)
        return JSONResponse(await guard.receiver().transfer(transfer_id))
    guard.admin(request)
    row = await row_of(request, transfer_id)
    return JSONResponse({"transfer": await shape_of(services_of(request), row)})


async def verify(request: Request) -> Response:
    if presents_key(request):
        return await receiver_api.verify(request)
    return await _verify_at_source(request)


async def _verify_at_source(request: Request) -> Response:
    guard = guard_of(request)
    guard.admin(request)
    transfer_id = transfer_id_of(request)
    body = await json_body(request, VerifyAgain)
    await _pusher_row(request, transfer_id, "verify")
    return JSONResponse(await guard.pusher().verify(transfer_id, deep=body.deep))


async def resume(request: Request) -> Response:
    guard = guard_of(request)
    guard.admin(request)
    transfer_id = transfer_id_of(request)
    body = await json_body(request, Resume)
    await _pusher_row(request, transfer_id, "resume")
    return JSONResponse(await guard.pusher().resume(transfer_id, body.transferKey, body.accept_warnings))


async def purge(request: Request) -> Response:
    """Remove what a finished transfer keeps; there is no way back afterwards, so the peer may not ask for it."""
    guard = guard_of(request)
    guard.admin(request)
    transfer_id = transfer_id_of(request)
    await json_body(request, Nothing)
    row = await row_of(request, transfer_id)
    service = guard.pusher() if row.role is Role.PUSHER else guard.receiver()
    return JSONResponse(await service.purge(transfer_id))


async def release_maintenance(request: Request) -> Response:
    """The admin opens the wiki again after a commit: the destination, or a source that was frozen."""
    guard = guard_of(request)
    guard.admin(request)
    transfer_id = transfer_id_of(request)
    await json_body(request, Nothing)
    row = await row_of(request, transfer_id)
    if row.role is Role.PUSHER:
        return JSONResponse(await guard.pusher().release(transfer_id))
    return JSONResponse(await guard.receiver().release_maintenance(transfer_id))


def _either(of_pusher: PusherAction, of_receiver: ReceiverAction) -> Endpoint:
    """An action of the peer (key) on its receiver row, or of the admin on a row of either role."""

    async def endpoint(request: Request) -> Response:
        guard = guard_of(request)
        transfer_id = transfer_id_of(request)
        if presents_key(request):
            await guard.key_of_transfer(request, transfer_id)
            epoch = epoch_of(request)
            await json_body(request, Nothing)
            return JSONResponse(await of_receiver(guard.receiver(), transfer_id, epoch))
        guard.admin(request)
        await json_body(request, Nothing)
        row = await row_of(request, transfer_id)
        if row.role is Role.PUSHER:
            return JSONResponse(await of_pusher(guard.pusher(), transfer_id))
        return JSONResponse(await of_receiver(guard.receiver(), transfer_id, None))

    return endpoint


def _at_source(name: str, action: PusherAction) -> Endpoint:
    """An action of the admin that only a row of the pusher has."""

    async def endpoint(request: Request) -> Response:
        guard = guard_of(request)
        guard.admin(request)
        transfer_id = transfer_id_of(request)
        await json_body(request, Nothing)
        await _pusher_row(request, transfer_id, name)
        return JSONResponse(await action(guard.pusher(), transfer_id))

    return endpoint


async def _pusher_row(request: Request, transfer_id: str, action: str) -> None:
    row = await row_of(request, transfer_id)
    if row.role is not Role.PUSHER:
        raise StateConflict(f"This transfer comes in from elsewhere: {action} is for its source.", role=row.role.value)


ROUTES = [
    api("GET", "/transfers", list_transfers),
    api("GET", "/transfers/{transfer_id}", get_transfer),
    api("POST", "/transfers/{transfer_id}/verify", verify),
    api(
        "POST",
        "/transfers/{transfer_id}/commit",
        _either(lambda pusher, row: pusher.commit(row), lambda receiver, row, epoch: receiver.commit(row, epoch=epoch)),
    ),
    api(
        "POST",
        "/transfers/{transfer_id}/rollback",
        _either(
            lambda pusher, row: pusher.rollback(row), lambda receiver, row, epoch: receiver.rollback(row, epoch=epoch)
        ),
    ),
    api(
        "POST",
        "/transfers/{transfer_id}/cancel",
        _either(lambda pusher, row: pusher.cancel(row), lambda receiver, row, epoch: receiver.cancel(row, epoch=epoch)),
    ),
    api("POST", "/transfers/{transfer_id}/pause", _at_source("pause", lambda pusher, row: pusher.pause(row))),
    api("POST", "/transfers/{transfer_id}/retry", _at_source("retry", lambda pusher, row: pusher.retry(row))),
    api("POST", "/transfers/{transfer_id}/resume", resume),
    api("POST", "/transfers/{transfer_id}/release-maintenance", release_maintenance),
    api("POST", "/transfers/{transfer_id}/purge", purge),
]
