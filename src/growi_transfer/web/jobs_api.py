"""Exports and imports as jobs, for this server's admin: docs/jobs.md. Transfers appear in the list of all jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from growi_transfer.jobs.live import Change
from growi_transfer.jobs.views import view_of_transfer
from growi_transfer.ledger.jobs import LIVE_JOBS, JobKind, JobState
from growi_transfer.protocol.errors import InvalidRequest, JobNotFound, NotFound
from growi_transfer.protocol.job_shapes import ExportRequest, JobView
from growi_transfer.protocol.machine import State
from growi_transfer.protocol.names import check_transfer_id
from growi_transfer.protocol.wire import API
from growi_transfer.web.auth import guard_of, services_of
from growi_transfer.web.downloads import file_answer
from growi_transfer.web.events import EventStream, ends_of
from growi_transfer.web.links import PARAMETER, DownloadLinks
from growi_transfer.web.present import snapshot_of_row
from growi_transfer.web.requests import Nothing, api, json_body, whole_number
from growi_transfer.web.services import JobsService
from growi_transfer.web.uploads import spooled

SIZE, LARGEST_SIZE, LAST_PAGE = 20, 100, 1000
_EVENT_ID_LIMIT = 1 << 53
_KINDS = {kind.value: kind for kind in JobKind}
_STATES = {state.value: state for state in JobState}
_TRANSFER_STATES = frozenset(state.value for state in State)
_LIVE = frozenset(state.value for state in LIVE_JOBS)
Endpoint = Callable[[Request], Awaitable[Response]]


def _jobs(request: Request) -> JobsService:
    guard_of(request).admin(request)
    return _service(request)


def _service(request: Request) -> JobsService:
    jobs = services_of(request).jobs
    if jobs is None:
        raise NotFound("This server has no jobs.")
    return jobs


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
    jobs = _jobs(request)
    wanted = await json_body(request, ExportRequest)
    return _accepted(request, await jobs.create_export(wanted))


async def create_import(request: Request) -> Response:
    """The body is the archive."""
    jobs = _jobs(request)
    jobs.importer()
    services = services_of(request)
    limits = services.limits
    async with spooled(request, services.data_dir, limit=limits.archive_bytes, spare=limits.spare_bytes) as path:
        view = await jobs.create_import(path)
    return _accepted(request, view)


def _list(kind: JobKind) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        jobs = _jobs(request)
        page, size = _page(request)
        states = _states(request, list(_STATES))
        wanted = None if states is None else [_STATES[state] for state in states]
        views, total = await jobs.page(kind=kind, states=wanted, skip=(page - 1) * size, limit=size)
        return _listed(request, views, page, size, total)

    return endpoint


async def list_all(request: Request) -> Response:
    """Exports, imports and transfers, newest first."""
    jobs = _jobs(request)
    page, size = _page(request)
    kind = request.query_params.get("type")
    if kind not in (None, "transfer", *_KINDS):
        raise InvalidRequest("type must be export, import or transfer.", field="type")
    states = _states(request, [*_STATES, *sorted(_TRANSFER_STATES)])
    end = page * size
    views: list[JobView] = []
    total = 0
    if kind != "transfer":
        wanted = None if states is None else [_STATES[state] for state in states if state in _STATES]
        views, total = await jobs.page(kind=_KINDS.get(kind or ""), states=wanted, skip=0, limit=end)
    if kind in (None, "transfer"):
        transfers, number = await _transfers(request, states, end)
        total += number
        views = sorted([*views, *transfers], key=lambda view: (view.created_at, view.id), reverse=True)
    return _listed(request, views[end - size : end], page, size, total)


async def _transfers(request: Request, states: list[str] | None, limit: int) -> tuple[list[JobView], int]:
    """The newest transfers as jobs, and how many there are."""
    services = services_of(request)
    wanted = None if states is None else [State(state) for state in states if state in _TRANSFER_STATES]
    if wanted == []:
        return [], 0  # states that only jobs have
    rows = await services.ledger.list_transfers(limit=limit, states=wanted or ())
    total = await services.ledger.count_transfers(states=wanted or ())
    return [view_of_transfer(row, snapshot_of_row(services, row)) for row in rows], total


def _listed(request: Request, views: list[JobView], page: int, size: int, total: int) -> Response:
    links = DownloadLinks(request)
    shown = [links.with_link(view).model_dump(mode="json") for view in views]
    return JSONResponse({"jobs": shown, "page": page, "size": size, "total": total})


def _page(request: Request) -> tuple[int, int]:
    return whole_number(request, "page", 1, LAST_PAGE), whole_number(request, "size", SIZE, LARGEST_SIZE)


def _states(request: Request, known: Sequence[str]) -> list[str] | None:
    text = request.query_params.get("status")
    if text is None:
        return None
    states = text.split(",")
    if not set(states) <= set(known):
        told = ", ".join(dict.fromkeys(known))
        raise InvalidRequest(f"status takes some of {told}, with commas between them.", field="status")
    return states


def _get(kind: JobKind) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        jobs = _jobs(request)
        return JSONResponse({"job": _shape(request, await jobs.get(_job_id(request), kind))})

    return endpoint


def _cancel(kind: JobKind) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        jobs = _jobs(request)
        job_id = _job_id(request)
        await json_body(request, Nothing)
        return JSONResponse({"job": _shape(request, await jobs.cancel(job_id, kind))})

    return endpoint


def _monitor(kind: JobKind) -> Endpoint:
    """The present state, then each change. With `Last-Event-ID` only what is newer, but the end is always told."""

    async def endpoint(request: Request) -> Response:
        session = guard_of(request).admin(request)
        jobs = _service(request)
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
    path, view = await _archive(request, token)
    assert view.file is not None
    assert view.finished_at is not None
    return file_answer(request, path, view.file, datetime.fromisoformat(view.finished_at))


async def _archive(request: Request, token: str | None) -> tuple[Path, JobView]:
    jobs = _service(request)
    job_id = _job_id(request)
    if token is not None:
        # First: a stranger with a wrong link learns nothing of any job.
        DownloadLinks(request).check(token, job_id)
    path, view = await jobs.archive(job_id)
    return path, view


def _routes(kind: JobKind, create: Endpoint) -> list[Any]:
    base = f"/{kind.value}-jobs"
    return [
        api("POST", base, create, below=API),
        api("GET", base, _list(kind), below=API),
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
