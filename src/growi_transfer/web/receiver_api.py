"""The receiving side's routes for peers, and the admin's routes for keys. Paths as in docs/protocol.md.

Large files and bundles are in `attachments_api`, paths that both roles share in `transfers_api`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from growi_transfer.ledger.base import KeyRow
from growi_transfer.protocol.errors import InvalidRequest
from growi_transfer.protocol.merge_keys import MergePlan
from growi_transfer.protocol.names import check_collection
from growi_transfer.protocol.wire import JSON_LIMIT, PROBE_LIMIT, VOLUME_LIMIT, Claim, PutTransfer, Verify
from growi_transfer.storage.base import StoredFile
from growi_transfer.web.auth import epoch_of, guard_of, services_of
from growi_transfer.web.requests import SMALL_JSON, GenerateKey, Nothing, api, json_body, transfer_id_of
from growi_transfer.web.uploads import read_body, spooled

_NUMBER_LIMIT = 1 << 31
_KEYS_LISTED = 500


async def generate_key(request: Request) -> Response:
    guard = guard_of(request)
    guard.admin(request)
    (await json_body(request, GenerateKey)).check()
    issued = await guard.receiver().keys.issue()
    now = services_of(request).clock()
    return JSONResponse({"transferKey": issued.key_string, "key": key_shape(issued.row, now), "now": now.isoformat()})


async def list_keys(request: Request) -> Response:
    guard = guard_of(request)
    guard.admin(request)
    now = services_of(request).clock()
    rows = (await guard.receiver().keys.list())[:_KEYS_LISTED]
    return JSONResponse({"keys": [key_shape(row, now) for row in rows], "now": now.isoformat()})


async def revoke_key(request: Request) -> Response:
    guard = guard_of(request)
    guard.admin(request)
    await guard.receiver().keys.revoke(request.path_params["key_id"])
    return Response(status_code=204)


async def growi_info(request: Request) -> Response:
    guard = guard_of(request)
    await guard.key(request)
    return JSONResponse({"growiInfo": await guard.receiver().growi_info()})


async def plan_merge(request: Request) -> Response:
    guard = guard_of(request)
    await guard.key(request)
    part = await json_body(request, MergePlan, JSON_LIMIT)
    return JSONResponse(await guard.receiver().plan_merge(part))


async def preflight_probe(request: Request) -> Response:
    """Count what is sent and throw it away: the source measures the line."""
    guard = guard_of(request)
    await guard.key(request)
    return JSONResponse({"bytes": len(await read_body(request, PROBE_LIMIT))})


async def keep_alive(request: Request) -> Response:
    guard = guard_of(request)
    row = await guard.key(request)
    await read_body(request, SMALL_JSON)  # a GROWI may send anything here
    await guard.receiver().keys.renew(row.id)
    return Response(status_code=204)


async def files(request: Request) -> Response:
    guard = guard_of(request)
    await guard.key(request)
    pages = guard.receiver().files()
    # The first page is asked for before the answer begins, so that a storage that does not answer is an error with a
    # status of its own. Later errors cut the answer, which then is no valid JSON.
    first: list[StoredFile] = await anext(pages, [])
    return StreamingResponse(_file_list(first, pages), media_type="application/json")


async def _file_list(first: list[StoredFile], pages: AsyncIterator[list[StoredFile]]) -> AsyncIterator[bytes]:
    yield b'{"files":[' + _file_entries(first)
    wrote = bool(first)
    async for page in pages:
        if page:
            yield (b"," if wrote else b"") + _file_entries(page)
            wrote = True
    yield b"]}"


def _file_entries(page: list[StoredFile]) -> bytes:
    return orjson.dumps([{"name": file.path, "size": file.size} for file in page])[1:-1]


async def import_archive(request: Request) -> Response:
    guard = guard_of(request)
    row = await guard.unclaimed_key(request)
    services = services_of(request)
    limits = services.limits
    async with spooled(request, services.data_dir, limit=limits.archive_bytes, spare=limits.spare_bytes) as path:
        await guard.receiver().keys.renew(row.id)
        return JSONResponse(await guard.receiver().import_archive(path))


async def put_transfer(request: Request) -> Response:
    guard = guard_of(request)
    transfer_id = transfer_id_of(request)
    row = await guard.key_for_claim(request, transfer_id)
    epoch = epoch_of(request)
    body = await json_body(request, PutTransfer, JSON_LIMIT)
    if body.setup.preset == "growi":
        raise InvalidRequest(
            "This preset is for what an unmodified GROWI sends by its own routes.", field="setup.preset"
        )
    return JSONResponse(await guard.receiver().put_transfer(transfer_id, body, key_id=row.id, epoch=epoch))


async def claim(request: Request) -> Response:
    """The one route of a transfer that a key reaches before it has claimed it, besides PUT."""
    guard = guard_of(request)
    transfer_id = transfer_id_of(request)
    row = await guard.key_for_claim(request, transfer_id)
    body = await json_body(request, Claim, JSON_LIMIT)
    return JSONResponse(await guard.receiver().claim(transfer_id, body, key_id=row.id))


async def list_volumes(request: Request) -> Response:
    guard = guard_of(request)
    transfer_id = transfer_id_of(request)
    await guard.key_of_transfer(request, transfer_id)
    collection = check_collection(request.path_params["collection"])
    return JSONResponse({"volumes": await guard.receiver().volumes(transfer_id, collection)})


async def put_volume(request: Request) -> Response:
    guard = guard_of(request)
    transfer_id = transfer_id_of(request)
    await guard.key_of_transfer(request, transfer_id)
    epoch = epoch_of(request)
    collection = check_collection(request.path_params["collection"])
    number = request.path_params["number"]
    if not (number.isascii() and number.isdigit() and len(number) < 11 and int(number) < _NUMBER_LIMIT):
        raise InvalidRequest(
            f"The number of a volume is an integer, 0 or more and below {_NUMBER_LIMIT}.", field="number"
        )
    body = await read_body(request, VOLUME_LIMIT)
    return JSONResponse(await guard.receiver().put_volume(transfer_id, collection, int(number), body, epoch=epoch))


async def verify(request: Request) -> Response:
    """For `transfers_api`, which tells the roles apart."""
    guard = guard_of(request)
    transfer_id = transfer_id_of(request)
    await guard.key_of_transfer(request, transfer_id)
    epoch = epoch_of(request)
    expected = await json_body(request, Verify, JSON_LIMIT)
    return JSONResponse(await guard.receiver().verify(transfer_id, expected, epoch=epoch))


async def keep_transfer_alive(request: Request) -> Response:
    guard = guard_of(request)
    transfer_id = transfer_id_of(request)
    row = await guard.key_of_transfer(request, transfer_id)
    epoch = epoch_of(request)
    await json_body(request, Nothing)
    await guard.receiver().keys.renew(row.id)
    await guard.receiver().keep_alive(transfer_id, epoch=epoch)
    return Response(status_code=204)


def key_shape(row: KeyRow, now: datetime) -> dict[str, Any]:
    """A key as the admin sees it. The key itself is shown once, when it is made."""
    ended = row.revoked_at is not None or now >= min(row.expires_at, row.ceiling_at)
    return {
        "id": row.id,
        "state": "revoked" if row.revoked_at is not None else "expired" if ended else "valid",
        "audience": row.audience,
        "issued_at": row.issued_at.isoformat(),
        "expires_at": row.expires_at.isoformat(),
        "ceiling_at": row.ceiling_at.isoformat(),
        "claimed_by": row.claimed_by,
        "revoked_at": row.revoked_at.isoformat() if row.revoked_at else None,
        "last_used_at": row.last_used_at.isoformat() if row.last_used_at else None,
    }


ROUTES = [
    api("POST", "/generate-key", generate_key),
    api("GET", "/keys", list_keys),
    api("DELETE", "/keys/{key_id}", revoke_key),
    api("GET", "/growi-info", growi_info),
    api("POST", "/preflight-probe", preflight_probe),
    api("POST", "/merge-plan", plan_merge),
    api("POST", "/keep-alive", keep_alive),
    api("GET", "/files", files),
    api("POST", "/mongo", import_archive),
    api("PUT", "/transfers/{transfer_id}", put_transfer),
    api("POST", "/transfers/{transfer_id}/claim", claim),
    api("POST", "/transfers/{transfer_id}/keep-alive", keep_transfer_alive),
    # A collection's name may have slashes in it; the number is what follows the last one.
    api("PUT", "/transfers/{transfer_id}/volumes/{collection:path}/{number}", put_volume),
    api("GET", "/transfers/{transfer_id}/volumes/{collection:path}", list_volumes),
]
