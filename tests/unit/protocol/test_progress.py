from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.machine import RUNNING, Position, State
from growi_transfer.protocol.progress import (
    FAILURES_SHOWN,
    Activity,
    ActivityMeasured,
    DocumentsStored,
    Failure,
    FileBytesStored,
    FilesSkipped,
    FilesStored,
    ItemFailed,
    ItemRecovered,
    Lane,
    Moved,
    Noted,
    Notice,
    Planned,
    ProgressEvent,
    RateMeasured,
    Recounted,
    Sending,
    Snapshot,
    WarningRaised,
    apply,
)
from growi_transfer.protocol.shape import eta_seconds, from_json, to_json

START = Snapshot("0" * 32, "pusher", position=Position(State.COPYING))
COUNTS = st.integers(0, 1 << 50)
CHANGES = st.integers(-(1 << 20), 1 << 50)
RATES = st.floats(0, 1e12)
TEXTS = st.text(max_size=10)
ITEMS = st.sampled_from(["a", "b", "c"])
KINDS = st.sampled_from(["file", "range"])
JSON = st.recursive(st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.dictionaries(TEXTS, inner))
POSITIONS = st.builds(Position, st.sampled_from(State))
FAILURES = st.builds(Failure, ITEMS, KINDS, TEXTS, TEXTS, st.integers(0, 9), st.booleans())
EVENTS: st.SearchStrategy[ProgressEvent] = st.one_of(
    st.builds(Moved, POSITIONS),
    st.builds(Planned, *[st.none() | COUNTS] * 3),
    st.builds(DocumentsStored, CHANGES, CHANGES, CHANGES),
    st.builds(FilesStored, CHANGES, CHANGES, CHANGES),
    st.builds(FileBytesStored, CHANGES, CHANGES),
    st.builds(FilesSkipped, st.integers(-3, 3), CHANGES),
    st.builds(Recounted, *[st.none() | COUNTS] * 3, st.none() | st.integers(0, 3), st.none() | st.integers(0, 3)),
    st.builds(ItemFailed, FAILURES),
    st.builds(ItemRecovered, ITEMS, KINDS),
    st.builds(WarningRaised, st.builds(Notice, TEXTS, TEXTS, st.dictionaries(TEXTS, JSON))),
    st.builds(RateMeasured, RATES, RATES, RATES),
)


def after(*events: ProgressEvent, start: Snapshot = START) -> Snapshot:
    for event in events:
        start = apply(start, event)
    return start


def failure(item: str, kind: str = "file", **fields: Any) -> Failure:
    given: dict[str, Any] = {"code": "x", "message": "", "tries": 1, "retryable": True, **fields}
    return Failure(item, kind, **given)


@given(st.lists(EVENTS, max_size=30))
def test_whatever_happens_the_shape_is_json_and_comes_back(events: list[ProgressEvent]) -> None:
    snapshot = after(*events)
    shape = to_json(snapshot)
    assert json.loads(json.dumps(shape, allow_nan=False)) == shape
    assert to_json(from_json(shape)) == shape
    back = from_json(shape, snapshot.position)
    rates = RateMeasured(back.bytes_per_second, back.files_per_second, back.documents_per_second)
    grown = {
        "documents_total": max(snapshot.documents_done, snapshot.documents_total),
        "bytes_total": max(snapshot.bytes_done, snapshot.bytes_total),
    }
    assert back == replace(apply(snapshot, rates), **grown)


def test_what_was_written_since_the_beginning_is_counted_too() -> None:
    grown = to_json(after(Planned(documents=2548, bytes=100), DocumentsStored(2549, 101, 50)))
    assert grown["documents"] == {"done": 2549, "total": 2549}
    assert grown["bytes"] == {"done": 101, "total": 101, "wire": 50}
    assert to_json(after(Planned(documents=3), DocumentsStored(1, 1, 1)))["documents"] == {"done": 1, "total": 3}


@given(st.lists(EVENTS, max_size=30))
def test_counts_are_never_below_zero_and_shown_files_never_more_than_failed_ones(events: list[ProgressEvent]) -> None:
    snapshot = START
    for event in events:
        snapshot = apply(snapshot, event)
        shape = to_json(snapshot)
        counts = [*shape["documents"].values(), *shape["bytes"].values(), *shape["files"].values()]
        assert min(counts) >= 0
        assert sum(one.kind == "file" for one in snapshot.failures) <= snapshot.files_failed
        assert len({(one.item, one.kind) for one in snapshot.failures}) == len(snapshot.failures) <= FAILURES_SHOWN
        assert eta_seconds(snapshot) is None or eta_seconds(snapshot) >= 0  # type: ignore[operator]


@given(st.lists(EVENTS, max_size=30))
def test_who_it_is_never_changes(events: list[ProgressEvent]) -> None:
    snapshot = after(*events)
    assert (snapshot.id, snapshot.role, snapshot.dialect) == (START.id, START.role, START.dialect)


@given(st.lists(st.builds(DocumentsStored, COUNTS, COUNTS, COUNTS) | st.builds(FilesStored, COUNTS, COUNTS, COUNTS)))
def test_additions_add_up_in_any_order(events: list[DocumentsStored | FilesStored]) -> None:
    snapshot = after(*events)
    assert snapshot.bytes_done == sum(event.bytes for event in events)
    assert snapshot.bytes_wire == sum(event.wire for event in events)
    assert snapshot == after(*reversed(events))


def test_a_range_that_is_sent_again_counts_with_its_difference() -> None:
    snapshot = after(DocumentsStored(100, 8000, 900), DocumentsStored(101 - 100, 7900 - 8000, 800))
    assert (snapshot.documents_done, snapshot.bytes_done, snapshot.bytes_wire) == (101, 7900, 1700)


def test_a_large_file_counts_its_bytes_once() -> None:
    snapshot = after(
        FileBytesStored(600, 610), FileBytesStored(-600, 0), FileBytesStored(1000, 1010), FilesStored(1, 0, 0)
    )
    assert (snapshot.files_done, snapshot.bytes_done, snapshot.bytes_wire) == (1, 1000, 1620)


def test_a_recount_takes_the_place_of_what_was_counted() -> None:
    before = after(DocumentsStored(5, 500, 50), FilesStored(3, 300, 30), ItemFailed(failure("a")))
    assert after(Recounted(), start=before) == before
    snapshot = after(Recounted(documents=4, bytes=700, files=2, files_failed=0, files_skipped=1), start=before)
    assert (snapshot.documents_done, snapshot.bytes_done, snapshot.files_done) == (4, 700, 2)
    assert (snapshot.files_failed, snapshot.files_skipped, snapshot.failures) == (0, 1, ())
    assert snapshot.bytes_wire == 80


def test_skipped_files_are_no_longer_expected() -> None:
    snapshot = after(Planned(bytes=1000, files=5), FilesSkipped(2, 300))
    assert (snapshot.files_skipped, snapshot.bytes_total, snapshot.files_total) == (2, 700, 5)


def test_a_plan_leaves_alone_what_it_does_not_name() -> None:
    snapshot = after(Planned(1, 2, 3), Planned(bytes=0))
    assert (snapshot.documents_total, snapshot.bytes_total, snapshot.files_total) == (1, 0, 3)


# failures


def test_more_failures_than_are_shown_are_all_counted() -> None:
    snapshot = after(*(ItemFailed(failure(f"f{number}")) for number in range(FAILURES_SHOWN + 50)))
    assert snapshot.files_failed == FAILURES_SHOWN + 50
    assert [one.item for one in snapshot.failures] == [f"f{number}" for number in range(50, FAILURES_SHOWN + 50)]


def test_one_that_fails_again_is_counted_once_and_shown_as_it_is_now() -> None:
    snapshot = after(ItemFailed(failure("a")), ItemFailed(failure("b")), ItemFailed(failure("a", tries=2)))
    assert snapshot.files_failed == 2
    assert snapshot.failures == (failure("b"), failure("a", tries=2))


def test_failed_ranges_are_shown_and_not_counted_as_files() -> None:
    snapshot = after(ItemFailed(failure("a", "range")), ItemFailed(failure("a", "file")), ItemRecovered("a", "range"))
    assert (snapshot.files_failed, snapshot.failures) == (1, (failure("a", "file"),))


def test_every_failure_can_recover_also_one_that_is_no_longer_shown() -> None:
    names = [f"f{number}" for number in range(FAILURES_SHOWN + 50)]
    snapshot = after(*(ItemFailed(failure(name)) for name in names), *(ItemRecovered(name, "file") for name in names))
    assert (snapshot.files_failed, snapshot.failures) == (0, ())


def test_one_that_had_not_failed_does_not_recover() -> None:
    snapshot = after(ItemFailed(failure("a")), ItemRecovered("b", "file"), ItemRecovered("a", "range"))
    assert (snapshot.files_failed, snapshot.failures) == (1, (failure("a"),))


def test_a_warning_is_shown_once_as_it_is_now() -> None:
    snapshot = after(WarningRaised(Notice("a", "1")), WarningRaised(Notice("b", "2")), WarningRaised(Notice("a", "3")))
    assert [(one.code, one.message) for one in snapshot.warnings] == [("b", "2"), ("a", "3")]


# rates and the time that is left


@pytest.mark.parametrize("state", State)
def test_what_does_not_run_has_no_rate(state: State) -> None:
    snapshot = after(RateMeasured(5.0, 5.0, 5.0), Moved(Position(state)))
    moving = (snapshot.bytes_per_second, snapshot.files_per_second, snapshot.documents_per_second)
    assert moving == ((5.0, 5.0, 5.0) if state in RUNNING else (0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("total", "done", "rate", "expected"),
    [
        (1000, 0, 100.0, 10),
        (1000, 1000, 100.0, 0),
        (1000, 1001, 100.0, None),
        (1000, 0, 0.0, None),
        (1000, 0, 0.04, None),
        (1 << 62, 0, 0.1, None),
        (1 << 62, 0, 5e-324, None),
    ],
)
def test_the_time_that_is_left(total: int, done: int, rate: float, expected: int | None) -> None:
    assert eta_seconds(replace(START, bytes_total=total, bytes_done=done, bytes_per_second=rate)) == expected


@pytest.mark.parametrize("state", [State.READY, State.COMMITTING, State.COMPLETED, State.ROLLED_BACK])
def test_nothing_is_left_when_all_is_moved(state: State) -> None:
    assert eta_seconds(replace(START, position=Position(state), bytes_total=10)) == 0


# the shape


def test_the_shape_is_the_public_one() -> None:
    snapshot = after(
        Planned(10, 1000, 2),
        DocumentsStored(5, 500, 100),
        RateMeasured(100.04, 1.26, 2.0),
        ItemFailed(failure("attachment/x", message="gone")),
        WarningRaised(Notice("w", "careful", {"n": 1})),
        WarningRaised(Notice("v", "plain")),
    )
    assert to_json(snapshot) == {
        "id": "0" * 32,
        "role": "pusher",
        "dialect": "native",
        "state": "copying",
        "mongo": "IN_PROGRESS",
        "attachments": "IN_PROGRESS",
        "documents": {"done": 5, "total": 10},
        "bytes": {"done": 500, "total": 1000, "wire": 100},
        "files": {"done": 0, "total": 2, "failed": 1, "skipped": 0},
        "rate": {"bytes_per_second": 100.0, "files_per_second": 1.3, "documents_per_second": 2.0},
        "eta_seconds": 5,
        "failures": [
            {"item": "attachment/x", "kind": "file", "code": "x", "message": "gone", "tries": 1, "retryable": True}
        ],
        "warnings": [{"code": "w", "message": "careful", "details": {"n": 1}}, {"code": "v", "message": "plain"}],
        "activity": None,
        "lag": None,
    }


ACTIVITY = Activity(
    Lane(2, 3, 1), Lane(4, 4), {"peer_unavailable": 7}, (Sending("file", "attachment/a.mp4", 1, 900, 300),)
)


def test_what_the_sender_is_at_is_part_of_the_shape() -> None:
    snapshot = after(ActivityMeasured(ACTIVITY))
    shape = to_json(snapshot)
    assert shape["activity"] == {
        "volumes": {"in_flight": 2, "limit": 3, "waiting": 1},
        "attachments": {"in_flight": 4, "limit": 4, "waiting": 0},
        "retries": {"peer_unavailable": 7},
        "sending": [{"kind": "file", "item": "attachment/a.mp4", "count": 1, "bytes": 900, "done": 300}],
    }
    assert from_json(shape) == snapshot


def test_nothing_is_in_flight_once_it_rests_and_retries_stay_counted() -> None:
    paused = after(ActivityMeasured(ACTIVITY), Moved(Position(State.PAUSED, State.COPYING)))
    assert paused.activity == Activity(Lane(0, 3, 0), Lane(0, 4, 0), {"peer_unavailable": 7})


def test_what_is_only_noted_changes_nothing() -> None:
    assert apply(START, Noted("pass_begun", "A pass.")) is START


def test_skipped_files_are_done_for_growi() -> None:
    done = after(Planned(files=2), FilesStored(1, 1, 1), FilesSkipped(1))
    assert to_json(done)["attachments"] == "COMPLETED"
    assert to_json(after(ItemFailed(failure("a")), start=done))["attachments"] == "IN_PROGRESS"


def test_fields_of_later_versions_are_ignored() -> None:
    shape = to_json(after(ItemFailed(failure("a"))))
    shape["new"] = shape["files"]["new"] = shape["failures"][0]["new"] = 1
    assert from_json(shape) == after(ItemFailed(failure("a")))


def test_a_position_from_the_ledger_brings_back_where_it_came_from() -> None:
    position = Position(State.PAUSED, State.VERIFYING)
    shape = to_json(replace(START, position=position))
    assert from_json(shape).position == Position(State.PAUSED)
    assert from_json(shape, position).position == position


def test_applying_an_event_leaves_the_snapshot_before_as_it_was() -> None:
    before = after(ItemFailed(failure("a")))
    copy = replace(before)
    for event in (ItemFailed(failure("b")), DocumentsStored(1, 1, 1), WarningRaised(Notice("a", ""))):
        assert apply(before, event) != before
    assert before == copy


def test_rates_of_any_size_are_told() -> None:
    for rate, done in itertools.product((1e300, math.nextafter(0, 1)), (0, 1 << 62)):
        to_json(replace(START, bytes_per_second=rate, bytes_done=done, bytes_total=1 << 62))
