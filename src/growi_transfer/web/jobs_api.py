"""Exports and imports as jobs, for this server's admin: docs/jobs.md. Transfers appear in the list of all jobs."""

from __future__ import annotations

from datetime import datetime
from io import FileIO
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from growi_transfer.jobs.live import Change
from growi_transfer.ledger.jobs import LIVE_JOBS, JobKind
from growi_transfer.protocol.errors import InvalidRequest, JobNotFound
from growi_transfer.protocol.job_shapes import ExportRequest, JobView
from growi_transfer.protocol.names import check_transfer_id
from growi_transfer.protocol.wire import API
from growi_transfer.web.auth import guard_of, services_of
from growi_transfer.web.downloads import file_answer
from growi_transfer.web.events import EventStream, ends_of
from growi_transfer.web.job_lists import Endpoint, jobs_of, list_all, list_of, service_of
from growi_transfer.web.links import PARAMETER, DownloadLinks
from growi_transfer.web.requests import Nothing, api, json_body
from growi_transfer.web.uploads import spooled

_EVENT_ID_LIMIT = 1 << 53
_LIVE = frozenset(state.value for state in LIVE_JOBS)


def _job_id(request: Request) -> str:
    try:
        return check_transfer_id(request.path_params["job_id"])
    except InvalidRequest:
        raise JobNotFound() from None


def _shape(request: Request, view: JobView) -> dict[str, Any]:
    return DownloadLinks(request).with_link(view).model_dump(mode="json")


def _accepted(request: Request, view: JobView) -> Response:
    location = f"{API}/{view.type}-jobs/{view.id}"
    return JSONResponse({"job": _shape(request, view)}, 202, {"location": location})


async def create_export(request: Request) -> Response:
    jobs = jobs_of(request)
    wanted = await json_body(request, ExportRequest)
    return _accepted(request, await jobs.create_export(wanted))


async def create_import(request: Request) -> Response:
    """The body is the archive."""
    jobs = jobs_of(request)
    jobs.importer()
    await jobs.check_queue()  # before the body, which may be many GiB; and again when it is here
    services = services_of(request)
    limits = services.limits
    async with spooled(request, services.data_dir, limit=limits.archive_bytes, spare=limits.spare_bytes) as path:
        view = await jobs.create_import(path)
    return _accepted(request, view)


def _get(kind: JobKind) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        jobs = jobs_of(request)
        return JSONResponse({"job": _shape(request, await jobs.get(_job_id(request), kind))})

    return endpoint


def _cancel(kind: JobKind) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        jobs = jobs_of(request)
        job_id = _job_id(request)
        await json_body(request, Nothing)
        return JSONResponse({"job": _shape(request, await jobs.cancel(job_id, kind))})

    return endpoint


def _monitor(kind: JobKind) -> Endpoint:
    """The present state, then each change. With `Last-Event-ID` only what is newer, but the end is always told."""

    async def endpoint(request: Request) -> Response:
        session = guard_of(request).admin(request)
        jobs = service_of(request)
        view = await jobs.get(_job_id(request), kind)
        seen, first = _last_event(request), b""
        newest = next(jobs.live.newest(view.id), None)
        if newest is None or view.state not in _LIVE:
            # Of a job that does not change here any more there is only its row.
            now = newest[0] if newest is not None else jobs.live.number(datetime.fromisoformat(view.created_at))
            first, seen = _event(request, (now, view)), max(seen, now)
        watching = jobs.live.watching(view.id, seen)
        watching.is_over = view.state not in _LIVE
        return EventStream(
            watching,
            lambda change: _event(request, change),
            first=first,
            ends=ends_of(request, session),
            heartbeat=services_of(request).limits.heartbeat_seconds,
        )

    return endpoint


def _last_event(request: Request) -> int:
    text = request.headers.get("last-event-id", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 16 and int(text) < _EVENT_ID_LIMIT else 0


def _event(request: Request, change: Change) -> bytes:
    number, view = change
    return b"id: %d\nevent: job\ndata: %s\n\n" % (number, orjson.dumps({"job": _shape(request, view)}))


async def download(request: Request) -> Response:
    """The archive, for the admin or for whoever has a link to it."""
    token = request.query_params.get(PARAMETER)
    if token is None:
        guard_of(request).admin(request)
    file, view = await _archive(request, token)
    assert view.file is not None
    assert view.finished_at is not None
    return file_answer(request, file, view.file, datetime.fromisoformat(view.finished_at))


async def _archive(request: Request, token: str | None) -> tuple[FileIO, JobView]:
    jobs = service_of(request)
    job_id = _job_id(request)
    if token is not None:
        # First: a stranger with a wrong link learns nothing of any job.
        DownloadLinks(request).check(token, job_id)
    return await jobs.archive(job_id)


def _routes(kind: JobKind, create: Endpoint) -> list[Any]:
    base = f"/{kind.value}-jobs"
    return [
        api("POST", base, create, below=API),
        api("GET", base, list_of(kind), below=API),
        api("GET", base + "/{job_id}", _get(kind), below=API),
        api("POST", base + "/{job_id}/cancel", _cancel(kind), below=API),
        api("GET", base + "/{job_id}/monitor", _monitor(kind), below=API),
    ]


ROUTES = [
    *_routes(JobKind.EXPORT, create_export),
    api("GET", "/export-jobs/{job_id}/download", download, below=API),
    api("HEAD", "/export-jobs/{job_id}/download", download, below=API),
    *_routes(JobKind.IMPORT, create_import),
    api("GET", "/jobs", list_all, below=API),
]
