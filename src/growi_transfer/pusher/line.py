"""A sample of the line to a destination: how fast it is, and whether it lets large bodies through."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from growi_transfer.protocol.errors import PeerRefused, PeerUnavailable, code_of
from growi_transfer.protocol.wire import PROBE_LIMIT

_log = structlog.get_logger(__name__)
_FIRST = 64 << 10
_SECONDS = 0.7
"""What the second, larger body may take."""
_REFUSED = 413


@dataclass(frozen=True, slots=True)
class Line:
    """None: not measured, because the destination has no such route or did not answer."""

    bytes_per_second: float | None = None
    refused_bytes: int | None = None
    """Size of a body that was refused for its size: by a proxy, since an instance takes it."""


class Prober(Protocol):
    async def probe(self, parts: Sequence[bytes]) -> dict[str, Any]:
        """Send bytes that the other side counts and throws away."""


async def measure_line(peer: Prober, clock: Callable[[], float] = time.perf_counter) -> Line:
    """Send a small body, and one as large as a volume if the line takes it in about a second. Raises nothing that a
    transfer would not meet again: a preflight goes on without a sample."""
    piece = os.urandom(_FIRST)
    size, rate = _FIRST, None
    try:
        for _ in range(2):
            started = clock()
            await peer.probe([piece] * (size // _FIRST))
            rate = size / max(clock() - started, 1e-6)
            size = min(PROBE_LIMIT, int(rate * _SECONDS) // _FIRST * _FIRST)
            if size <= _FIRST:
                break
    except PeerRefused as error:
        if error.status == _REFUSED:
            return Line(rate, size)
        _log.info("line_not_measured", code=code_of(error))
    except PeerUnavailable as error:
        _log.info("line_not_measured", code=code_of(error))
    return Line(rate)
