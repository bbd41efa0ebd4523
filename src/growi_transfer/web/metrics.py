"""`/metrics`, as Prometheus reads it: what `ledger.tally` has counted, and how many transfers and jobs there are.

No label has more values than the code has names for: no id of a transfer, no name of a file or a peer is ever one. Read
with `Authorization: Bearer` and the metrics token, or as the admin. It is never open to an address alone: behind a
proxy everybody comes from this machine.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from growi_transfer.ledger.base import Role
from growi_transfer.ledger.jobs import JobKind, JobState
from growi_transfer.ledger.tally import Tally
from growi_transfer.protocol.machine import RUNNING, State
from growi_transfer.protocol.progress import Snapshot
from growi_transfer.web.auth import guard_of, services_of, trust
from growi_transfer.web.requests import api

_PREFIX = "growi_transfer_"
_LANES = ("volumes", "attachments")
_AGAIN = "what is done again is counted again"


class _Numbers(Collector):
    """The numbers of one moment."""

    def __init__(
        self,
        version: str,
        tally: Tally | None,
        snapshots: Iterable[Snapshot],
        jobs: Mapping[JobKind, Mapping[JobState, int]],
    ) -> None:
        self._version = version
        self._tally = tally
        self._snapshots = list(snapshots)
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(_PREFIX + "info", "The program that runs.", labels=["version"])
        info.add_metric([self._version], 1)
        yield info
        if self._tally is not None:
            yield from _counted(self._tally)
        yield from self._transfers()
        jobs = GaugeMetricFamily(_PREFIX + "jobs", "Exports and imports.", labels=["type", "state"])
        for kind in JobKind:
            for state in JobState:
                jobs.add_metric([kind, state], self._jobs.get(kind, {}).get(state, 0))
        yield jobs

    def _transfers(self) -> Iterator[Metric]:
        by_state = Counter((one.role, one.position.state) for one in self._snapshots)
        transfers = GaugeMetricFamily(_PREFIX + "transfers", "Transfers that are known.", labels=["role", "state"])
        for role in Role:
            for state in State:
                transfers.add_metric([role, state], by_state[role.value, state])
        yield transfers
        active = [one.activity for one in self._snapshots if one.activity and one.position.state in RUNNING]
        for name, text, field in (
            ("in_flight", "Requests under way to destinations.", "in_flight"),
            ("in_flight_limit", "How many requests may be under way.", "limit"),
            ("waiting", "Items that wait for a place.", "waiting"),
        ):
            family = GaugeMetricFamily(_PREFIX + name, text, labels=["lane"])
            for lane in _LANES:
                family.add_metric([lane], sum(getattr(getattr(one, lane), field) for one in active))
            yield family


def _counted(tally: Tally) -> Iterator[Metric]:
    for name, text, counter in (
        ("documents", f"Documents sent or stored; {_AGAIN}.", tally.documents),
        ("bytes", f"Bytes of documents and files sent or stored; {_AGAIN}.", tally.bytes),
        ("wire_bytes", "Bytes that went over the line.", tally.wire),
        ("files", f"Files sent or stored; {_AGAIN}.", tally.files),
    ):
        family = CounterMetricFamily(_PREFIX + name, text, labels=["role"])
        for role in Role:
            family.add_metric([role], counter[role])
        yield family
    failures = CounterMetricFamily(_PREFIX + "failures", "Items that failed.", labels=["role", "kind", "code"])
    for (role, kind, code), number in sorted(tally.failures.items()):
        failures.add_metric([role, kind, code], number)
    yield failures
    retries = CounterMetricFamily(_PREFIX + "retries", "Requests and readings tried again.", labels=["code"])
    for code, number in sorted(tally.retries.items()):
        retries.add_metric([code], number)
    yield retries
    seconds = CounterMetricFamily(_PREFIX + "phase_seconds", "Seconds spent, by state.", labels=["role", "phase"])
    for (role, state), spent in sorted(tally.seconds().items()):
        seconds.add_metric([role, state], spent)
    yield seconds


async def metrics(request: Request) -> Response:
    _admit(request)
    services = services_of(request)
    jobs = await services.jobs.counts() if services.jobs is not None else {}
    registry = CollectorRegistry()
    registry.register(_Numbers(services.version, services.tally, services.board.snapshots(), jobs))
    for kind in (ProcessCollector, PlatformCollector, GCCollector):
        kind(registry=registry)
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), headers={"content-type": content_type})


def _admit(request: Request) -> None:
    """Raises AdminRequired or RateLimited."""
    wanted = services_of(request).metrics_token
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token.strip().encode(errors="surrogateescape")
    if wanted is not None and scheme.lower() == "bearer" and hmac.compare_digest(given, wanted.encode()):
        trust(request)
        return
    guard_of(request).admin(request)


ROUTES = [api("GET", "/metrics", metrics, below="")]
