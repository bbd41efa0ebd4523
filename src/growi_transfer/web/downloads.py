"""A file as an answer that can be gone on with: one range at a time (RFC 9110), its digest beside it (RFC 9530)."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from datetime import datetime
from email.utils import format_datetime
from io import FileIO

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from growi_transfer.protocol.job_shapes import JobFile
from growi_transfer.web.errors import envelope

_PIECE = 1 << 20
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class _Pieces(StreamingResponse):
    """Sends a part of an open file, and closes it."""

    def __init__(self, opened: FileIO, start: int, end: int, status: int, headers: dict[str, str]) -> None:
        super().__init__(_pieces(opened, start, end), status, headers, "application/zip")
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._opened.close()


def file_answer(request: Request, opened: FileIO, file: JobFile, made_at: datetime) -> Response:
    """The file, or the part that the request asks for: 200, 206, 304 or 416. Closes it.

    A `Range` of another unit, of several parts, or that is not well formed is ignored, as is one whose `If-Range`
    names another state of the file.
    """
    status, headers, wanted = _answer_of(request, file, made_at)
    if wanted is not None and request.method != "HEAD":
        return _Pieces(opened, *wanted, status, headers)
    opened.close()
    if status == 416:
        told = envelope(f"The file has {file.bytes} bytes.", "range_not_satisfiable", {"bytes": file.bytes})
        return JSONResponse(told, 416, headers)
    return Response(status_code=status, headers=headers, media_type=None if wanted is None else "application/zip")


def _answer_of(
    request: Request, file: JobFile, made_at: datetime
) -> tuple[int, dict[str, str], tuple[int, int] | None]:
    """Status, headers, and which bytes are sent."""
    digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    headers = {
        "accept-ranges": "bytes",
        "etag": f'"{file.sha256}"',
        "last-modified": format_datetime(made_at, usegmt=True),
        "content-disposition": f'attachment; filename="{file.name}"',
        "repr-digest": f"sha-256=:{digest}:",
        "digest": f"sha-256={digest}",
    }
    if _is_known(request, headers["etag"]):
        return 304, headers, None
    wanted = _range_of(request, headers, file.bytes)
    if wanted is None:
        return 416, {"content-range": f"bytes */{file.bytes}", "accept-ranges": "bytes"}, None
    start, end = wanted
    whole = (start, end) == (0, file.bytes)
    if not whole:
        headers["content-range"] = f"bytes {start}-{end - 1}/{file.bytes}"
    headers["content-length"] = str(end - start)
    return 200 if whole else 206, headers, (start, end)


def _is_known(request: Request, etag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or etag in (one.strip().removeprefix("W/") for one in known.split(","))


def _range_of(request: Request, headers: dict[str, str], size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None when there are no such bytes."""
    whole = (0, size)
    found = _RANGE.fullmatch(request.headers.get("range", "").strip())
    state = request.headers.get("if-range")
    if found is None or (state is not None and state not in (headers["etag"], headers["last-modified"])):
        return whole
    first, last = found.groups()
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return whole
        return (start, end) if start < size else None
    if not last:
        return whole
    return (max(0, size - int(last)), size) if int(last) > 0 and size > 0 else None


async def _pieces(opened: FileIO, start: int, end: int) -> AsyncIterator[bytes]:
    await asyncio.to_thread(opened.seek, start)
    while start < end:
        piece = await asyncio.to_thread(opened.read, min(_PIECE, end - start))
        if not piece:
            raise OSError("the file of an export is shorter than it was")
        start += len(piece)
        yield piece
