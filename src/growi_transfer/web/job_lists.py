"""Pages of jobs: of one kind, and of exports, imports and transfers together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from growi_transfer.jobs.views import view_of_transfer
from growi_transfer.ledger.jobs import JobKind, JobState
from growi_transfer.protocol.errors import InvalidRequest, NotFound
from growi_transfer.protocol.job_shapes import JobView
from growi_transfer.protocol.machine import State
from growi_transfer.web.auth import guard_of, services_of
from growi_transfer.web.links import DownloadLinks
from growi_transfer.web.present import snapshot_of_row
from growi_transfer.web.requests import whole_number
from growi_transfer.web.services import JobsService, Services

SIZE, LARGEST_SIZE, LAST_PAGE = 20, 100, 1_000_000
_KINDS = {kind.value: kind for kind in JobKind}
_STATES = {state.value: state for state in JobState}
_TRANSFER_STATES = frozenset(state.value for state in State)
Endpoint = Callable[[Request], Awaitable[Response]]


def jobs_of(request: Request) -> JobsService:
    """For the admin. Raises AdminRequired, RateLimited, NotFound."""
    guard_of(request).admin(request)
    return service_of(request)


def service_of(request: Request) -> JobsService:
    """Raises NotFound."""
    jobs = services_of(request).jobs
    if jobs is None:
        raise NotFound("This server has no jobs.")
    return jobs


def list_of(kind: JobKind) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        jobs = jobs_of(request)
        page, size = _page(request)
        states = _states(request, list(_STATES))
        wanted = None if states is None else [_STATES[state] for state in states]
        views, total = await jobs.page(kind=kind, states=wanted, skip=(page - 1) * size, limit=size)
        return _listed(request, views, page, size, total)

    return endpoint


async def list_all(request: Request) -> Response:
    """Exports, imports and transfers, newest first."""
    jobs = jobs_of(request)
    page, size = _page(request)
    kind = request.query_params.get("type")
    if kind not in (None, "transfer", *_KINDS):
        raise InvalidRequest("type must be export, import or transfer.", field="type")
    states = _states(request, [*_STATES, *sorted(_TRANSFER_STATES)])
    sources: list[_Source] = []
    if kind != "transfer":
        wanted = None if states is None else [_STATES[state] for state in states if state in _STATES]
        sources.append(partial(jobs.page, kind=_KINDS.get(kind or ""), states=wanted))
    if kind in (None, "transfer"):
        sources.append(partial(_transfers, services_of(request), states))
    views, total = await _merged(sources, (page - 1) * size, size)
    return _listed(request, views, page, size, total)


class _Source(Protocol):
    async def __call__(self, *, skip: int, limit: int) -> tuple[list[JobView], int]:
        """Some of them, newest first, and how many there are in all."""


async def _merged(sources: Sequence[_Source], skip: int, size: int) -> tuple[list[JobView], int]:
    """One page of all sources together, newest first, and how many there are in all.

    What comes before the page is counted and not read, as far as that can be: an entry of a source has at most those
    before it that precede it there, and all of the other sources.
    """
    totals = [(await source(skip=0, limit=0))[1] for source in sources]
    total = sum(totals)
    views: list[JobView] = []
    passed = 0
    for source, number in zip(sources, totals, strict=True):
        before = min(number, max(0, skip - (total - number)))
        passed += before
        views += (await source(skip=before, limit=skip + size - before))[0]
    # Stable: those of one moment stay in the order of their source.
    views.sort(key=lambda view: view.created_at, reverse=True)
    return views[skip - passed : skip - passed + size], total


async def _transfers(
    services: Services, states: list[str] | None, *, skip: int, limit: int
) -> tuple[list[JobView], int]:
    """Transfers as jobs."""
    wanted = None if states is None else [State(state) for state in states if state in _TRANSFER_STATES]
    if wanted == []:
        return [], 0  # states that only jobs have
    rows = await services.ledger.list_transfers(limit=limit, skip=skip, states=wanted or ())
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
