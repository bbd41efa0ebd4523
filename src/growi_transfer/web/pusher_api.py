"""The pushing side's routes, for this server's admin: check a destination, start a transfer, change one that runs."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from growi_transfer.ledger.base import Role
from growi_transfer.web.auth import guard_of
from growi_transfer.web.present import row_of
from growi_transfer.web.requests import Push, Tune, api, json_body, transfer_id_of

_STARTED = "Successfully requested auto transfer."
"""GROWI's own text."""


async def transferable_collections(request: Request) -> Response:
    guard = guard_of(request)
    guard.admin(request)
    return JSONResponse({"collections": await guard.pusher().collections()})


async def preflight(request: Request) -> Response:
    guard = guard_of(request)
    guard.admin(request)
    pusher = guard.pusher()
    push = await json_body(request, Push)
    options = push.push_options(await pusher.collections())
    return JSONResponse(await pusher.preflight(push.transferKey, options))


async def start(request: Request) -> Response:
    guard = guard_of(request)
    guard.admin(request)
    pusher = guard.pusher()
    push = await json_body(request, Push)
    options = push.push_options(await pusher.collections())
    transfer_id = await pusher.start(push.transferKey, options)
    return JSONResponse({"message": _STARTED, "transferId": transfer_id})


async def tune(request: Request) -> Response:
    guard = guard_of(request)
    guard.admin(request)
    transfer_id = transfer_id_of(request)
    pusher = guard.pusher()
    wanted = await json_body(request, Tune)
    await row_of(request, transfer_id, Role.PUSHER)
    limit = wanted.bandwidth_bytes_per_second
    answer = await pusher.tune(
        transfer_id,
        volumes=wanted.parallelism.change("volumes"),
        attachments=wanted.parallelism.change("attachments"),
        bandwidth=limit if "bandwidth_bytes_per_second" in wanted.model_fields_set else "unchanged",
    )
    return JSONResponse(answer)


ROUTES = [
    api("GET", "/transferable-collections", transferable_collections),
    api("POST", "/preflight", preflight),
    api("POST", "/transfer", start),
    api("PATCH", "/transfers/{transfer_id}", tune),
]
