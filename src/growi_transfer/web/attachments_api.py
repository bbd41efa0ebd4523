"""The receiving side's routes for attachments: what is missing, bundles of small files, large files by offset.

Large files follow the IETF draft on resumable uploads (draft-ietf-httpbis-resumable-upload): `Upload-Offset` and
`Upload-Complete` in both directions, HEAD for the durable offset, 409 with the right offset for a wrong one.
"""

from __future__ import annotations

import base64
import binascii
import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from growi_transfer.protocol.errors import InvalidRequest
from growi_transfer.protocol.names import check_attachment_id
from growi_transfer.protocol.wire import (
    BUNDLE_LIMIT,
    CHUNK_BYTES,
    COMPLETE_HEADER,
    DIGEST_HEADER,
    JSON_LIMIT,
    LENGTH_HEADER,
    META_HEADER,
    OFFSET_HEADER,
    AttachmentFile,
    CopyPage,
    PlanPage,
    parse,
)
from growi_transfer.web.auth import epoch_of, guard_of
from growi_transfer.web.requests import api, json_body, transfer_id_of
from growi_transfer.web.services import UploadState
from growi_transfer.web.uploads import read_body, streamed

_BOOLEANS = {"?1": True, "?0": False}
"""As RFC 8941 writes them in headers."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_OFFSET_LIMIT = 1 << 62


async def plan(request: Request) -> Response:
    guard = guard_of(request)
    transfer_id = transfer_id_of(request)
    await guard.key_of_transfer(request, transfer_id)
    epoch = epoch_of(request)
    page = await json_body(request, PlanPage, JSON_LIMIT)
    return JSONResponse(await guard.receiver().plan_attachments(transfer_id, page, epoch=epoch))


async def put_bundle(request: Request) -> Response:
    guard = guard_of(request)
    transfer_id = transfer_id_of(request)
    await guard.key_of_transfer(request, transfer_id)
    epoch = epoch_of(request)
    body: bytes | CopyPage
    if request.headers.get("content-type", "").partition(";")[0].strip() == "application/json":
        body = await json_body(request, CopyPage, JSON_LIMIT)
    else:
        body = await read_body(request, BUNDLE_LIMIT)
    return JSONResponse(await guard.receiver().put_bundle(transfer_id, body, epoch=epoch))


async def upload_state(request: Request) -> Response:
    guard = guard_of(request)
    transfer_id = transfer_id_of(request)
    await guard.key_of_transfer(request, transfer_id)
    state = await guard.receiver().upload_state(transfer_id, _attachment_id(request))
    return _upload_answer(state)


async def patch_upload(request: Request) -> Response:
    guard = guard_of(request)
    transfer_id = transfer_id_of(request)
    await guard.key_of_transfer(request, transfer_id)
    epoch = epoch_of(request)
    attachment_id = _attachment_id(request)
    file, offset = _file(request, attachment_id), _offset(request)
    complete, sha256 = _complete(request), _sha256(request)
    async with streamed(request, CHUNK_BYTES) as chunks:
        state = await guard.receiver().patch_upload(
            transfer_id,
            attachment_id,
            file=file,
            offset=offset,
            complete=complete,
            sha256=sha256,
            chunks=chunks,
            epoch=epoch,
        )
    return _upload_answer(state)


def _upload_answer(state: UploadState) -> Response:
    headers = {OFFSET_HEADER: str(state.offset), COMPLETE_HEADER: "?1" if state.complete else "?0"}
    if state.length is not None:
        headers[LENGTH_HEADER] = str(state.length)
    return Response(status_code=204, headers=headers)


def _attachment_id(request: Request) -> str:
    return check_attachment_id(request.path_params["attachment_id"])


def _offset(request: Request) -> int:
    text = request.headers.get(OFFSET_HEADER, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) < _OFFSET_LIMIT):
        raise InvalidRequest("Upload-Offset must be an integer, 0 or more.", field=OFFSET_HEADER)
    return int(text)


def _complete(request: Request) -> bool:
    text = request.headers.get(COMPLETE_HEADER, "")
    if text not in _BOOLEANS:
        raise InvalidRequest("Upload-Complete must be ?1 or ?0.", field=COMPLETE_HEADER)
    return _BOOLEANS[text]


def _sha256(request: Request) -> str | None:
    text = request.headers.get(DIGEST_HEADER)
    if text is not None and not _DIGEST.fullmatch(text):
        raise InvalidRequest("The digest must be 64 lower-case hexadecimal digits.", field=DIGEST_HEADER)
    return text


def _file(request: Request, attachment_id: str) -> AttachmentFile | None:
    text = request.headers.get(META_HEADER)
    if text is None:
        return None
    try:
        described = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{META_HEADER} must be base64.", field=META_HEADER) from None
    file = parse(AttachmentFile, described)
    if file.id != attachment_id:
        raise InvalidRequest("The file described is another one than the path names.", field="id")
    return file


ROUTES = [
    api("POST", "/transfers/{transfer_id}/attachments/plan", plan),
    api("POST", "/transfers/{transfer_id}/attachments", put_bundle),
    api("HEAD", "/transfers/{transfer_id}/attachments/{attachment_id}", upload_state),
    api("PATCH", "/transfers/{transfer_id}/attachments/{attachment_id}", patch_upload),
]
