from __future__ import annotations

import pytest

from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import (
    DocumentsStored,
    FileBytesStored,
    FilesStored,
    Moved,
    ProgressEvent,
    RateMeasured,
)
from growi_transfer.protocol.rates import WINDOW, RateMeter


def run(meter: RateMeter, start: float, seconds: float, event: ProgressEvent | None, step: float = 0.1) -> RateMeasured:
    """Report an event every `step` seconds and give the last rate."""
    told = RateMeasured(0, 0, 0)
    for number in range(1, round(seconds / step) + 1):
        now = start + number * step
        if event is not None:
            meter.note(now, event)
        told = meter.measure(now) or told
    return told


def test_a_steady_flow_has_its_rate() -> None:
    told = run(RateMeter(), 0, 10, DocumentsStored(10, 1000, 1))
    assert told.bytes_per_second == pytest.approx(10_000, rel=0.05)
    assert told.documents_per_second == pytest.approx(100, rel=0.05)
    assert told.files_per_second == 0


def test_files_and_parts_of_files_count() -> None:
    meter = RateMeter()
    meter.note(0.0, FilesStored(0, 0, 0))
    meter.note(0.5, FilesStored(4, 400, 1))
    meter.note(0.5, FileBytesStored(600, 1))
    assert meter.measure(1.0) == RateMeasured(1000.0, 4.0, 0.0)


def test_only_the_last_seconds_count() -> None:
    meter = RateMeter()
    run(meter, 0, 20, DocumentsStored(1, 1000, 1))
    told = run(meter, 20, WINDOW + 1, DocumentsStored(1, 10, 1))
    assert told.bytes_per_second == pytest.approx(100, rel=0.1)


def test_when_nothing_moves_the_rate_falls_to_zero_and_is_told_once() -> None:
    meter = RateMeter()
    run(meter, 0, 5, DocumentsStored(1, 1000, 1))
    assert run(meter, 5, WINDOW + 1, None) == RateMeasured(0, 0, 0)
    assert meter.measure(100.0) is None


def test_corrections_are_no_movement() -> None:
    meter = RateMeter()
    meter.note(0.0, DocumentsStored(1, 100, 1))
    meter.note(0.5, DocumentsStored(-5, -500, 0))
    meter.note(0.5, FileBytesStored(-500, 0))
    told = meter.measure(1.0)
    assert told == RateMeasured(100.0, 0.0, 1.0)


def test_rates_are_not_told_too_often() -> None:
    meter = RateMeter()
    meter.note(0.0, DocumentsStored(1, 1, 1))
    assert meter.measure(0.0) is None
    assert meter.measure(0.2) is None
    assert meter.measure(0.3) is not None
    assert meter.measure(0.3) is None
    assert meter.measure(0.4) is None


def test_before_anything_moved_there_is_nothing_to_tell() -> None:
    meter = RateMeter()
    meter.note(0.0, Moved(Position(State.COPYING)))
    assert meter.measure(10.0) is None


def test_after_a_pause_the_rate_begins_anew() -> None:
    meter = RateMeter()
    run(meter, 0, 5, DocumentsStored(1, 1000, 1))
    meter.reset()
    assert meter.measure(100.0) is None
    told = run(meter, 100, 2, DocumentsStored(1, 10, 1))
    assert told.bytes_per_second == pytest.approx(100, rel=0.15)
