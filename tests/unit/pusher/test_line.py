"""The sample of the line: how much is sent, what is made of it, and that it never stops a preflight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from growi_transfer.protocol.errors import PeerRefused, PeerUnavailable, TransferError
from growi_transfer.protocol.wire import PROBE_LIMIT
from growi_transfer.pusher.line import Line, measure_line


class Wire:
    """Takes so many bytes per second, and refuses bodies over a limit. Has the time, too."""

    def __init__(self, rate: float, limit: int = 1 << 40, error: TransferError | None = None) -> None:
        self.rate, self.limit, self.error = rate, limit, error
        self.now = 0.0
        self.sent: list[int] = []

    def clock(self) -> float:
        return self.now

    async def probe(self, parts: Sequence[bytes]) -> dict[str, Any]:
        size = sum(map(len, parts))
        self.sent.append(size)
        if self.error is not None:
            raise self.error
        if size > self.limit:
            raise PeerRefused("Too large.", code="body_too_large", status=413)
        self.now += size / self.rate
        return {"bytes": size}


@pytest.mark.parametrize("rate", [100.0, 10_000.0, 1e6, 1e7, 1e9])
async def test_the_rate_is_found_within_a_little_time(rate: float) -> None:
    wire = Wire(rate)
    line = await measure_line(wire, wire.clock)
    assert line.bytes_per_second == pytest.approx(rate, rel=0.01)
    assert line.refused_bytes is None
    assert max(wire.sent) <= PROBE_LIMIT
    assert wire.now <= max(1.5, 1.1 * (64 << 10) / rate)


async def test_a_refusal_for_size_is_told_with_the_rate_before_it() -> None:
    wire = Wire(1e9, limit=1 << 20)
    assert await measure_line(wire, wire.clock) == Line(pytest.approx(1e9, rel=0.01), PROBE_LIMIT)


@pytest.mark.parametrize(
    "error", [PeerUnavailable("Gone."), PeerRefused("No such route.", code="not_found", status=404)]
)
async def test_a_line_that_cannot_be_measured_stops_nothing(error: TransferError) -> None:
    assert await measure_line(Wire(1.0, error=error), lambda: 0.0) == Line()
