"""The two routes by which an unmodified GROWI pushes. Status codes, codes and texts are GROWI's (docs/growi.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from growi_transfer.protocol.errors import FormInvalid, GrowiParseFailed, TransferDataInvalid, TransferError
from growi_transfer.web.auth import guard_of, services_of
from growi_transfer.web.forms import form
from growi_transfer.web.requests import api
from growi_transfer.web.services import KeyService

_ARCHIVE, _CONTENT = "transferDataZipFile", "content"
_STARTED = "Successfully started to receive transfer data."
_STORED = "Successfully imported attached file."
_RENEW_SECONDS = 60.0


async def import_archive(request: Request) -> Response:
    """`POST /`: answered when all of it is in place."""
    guard = guard_of(request)
    row = await guard.unclaimed_key(request)
    services = services_of(request)
    limits = services.limits
    try:
        async with (
            _in_use(guard.receiver().keys, row.id),
            form(
                request,
                services.data_dir,
                file_field=_ARCHIVE,
                limit=limits.archive_bytes,
                spare=limits.spare_bytes,
            ) as received,
        ):
            file = received.file
            if file is not None and not file.name.endswith(".zip"):
                raise TransferDataInvalid()
            path = file.content if file is not None and isinstance(file.content, Path) else None
            answer = await guard.growi().import_archive(row.id, received.fields, path)
    except FormInvalid as error:
        raise GrowiParseFailed() from error
    return JSONResponse({"message": _STARTED, **answer})


async def attachment(request: Request) -> Response:
    """`POST /attachment`: answered when the file is durable."""
    guard = guard_of(request)
    row = await guard.unclaimed_key(request)
    services = services_of(request)
    limits = services.limits
    try:
        async with form(
            request,
            services.data_dir,
            file_field=_CONTENT,
            limit=limits.archive_bytes,
            spare=limits.spare_bytes,
            memory=services.form_memory,
            file_limit=guard.growi().max_file_size,
        ) as received:
            file = received.file
            content, size = (file.content, file.size) if file is not None else (None, 0)
            await guard.growi().put_attachment(row.id, received.fields, content, size)
    except FormInvalid as error:
        raise GrowiParseFailed("Failed to parse body.") from error
    return JSONResponse({"message": _STORED})


@asynccontextmanager
async def _in_use(keys: KeyService, key_id: str) -> AsyncIterator[None]:
    """A key lives on while its request is under way, as in GROWI 8.x: a GROWI that waits cannot renew it."""

    async def renew() -> None:
        while True:
            with suppress(TransferError):  # a database that is away for a moment
                await keys.renew(key_id)
            await asyncio.sleep(_RENEW_SECONDS)

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])


ROUTES = [
    api("POST", "/", import_archive),
    api("POST", "/attachment", attachment),
]
