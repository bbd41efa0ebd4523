from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.errors import StateConflict
from growi_transfer.protocol.machine import (
    BEFORE_COMMIT,
    FINISHED,
    RUNNING,
    TABLE,
    Event,
    GrowiStatus,
    Position,
    State,
    advance,
    allows,
    growi_statuses,
)

ASIDE = (State.PAUSED, State.FAILED)
EVENTS = st.lists(st.sampled_from(Event), max_size=60)
HAPPY = (
    Event.CHECK_PASSED,
    Event.COPY_STARTED,
    Event.COPIED,
    Event.RECONCILED,
    Event.INDEXED,
    Event.VERIFIED,
    Event.COMMIT_STARTED,
    Event.COMMITTED,
    Event.ROLLED_BACK,
)


def all_positions() -> list[Position]:
    """Every position that events can lead to."""
    known = [Position()]
    for position in known:
        known += [
            after for event in Event if allows(position, event) and (after := advance(position, event)) not in known
        ]
    return known


POSITIONS = all_positions()


def walk(events: list[Event]) -> list[Position]:
    positions = [Position()]
    for event in events:
        if allows(positions[-1], event):
            positions.append(advance(positions[-1], event))
    return positions


def test_every_state_is_reached() -> None:
    assert {position.state for position in POSITIONS} == set(State)


def test_the_way_of_a_transfer_without_trouble() -> None:
    assert [position.state for position in walk(list(HAPPY))] == [
        State.CREATED,
        State.CHECKED,
        State.COPYING,
        State.RECONCILING,
        State.INDEXING,
        State.VERIFYING,
        State.READY,
        State.COMMITTING,
        State.COMPLETED,
        State.ROLLED_BACK,
    ]


@given(EVENTS)
def test_random_events_never_leave_the_table(events: list[Event]) -> None:
    for position in walk(events):
        assert position in POSITIONS
        if position.state in ASIDE:
            assert position.came_from in BEFORE_COMMIT
        else:
            assert position.came_from is None


@given(EVENTS, st.sampled_from(Event))
def test_an_illegal_event_raises_and_names_both(events: list[Event], event: Event) -> None:
    position = walk(events)[-1]
    before = Position(position.state, position.came_from)
    if allows(position, event):
        advance(position, event)
    else:
        with pytest.raises(StateConflict) as caught:
            advance(position, event)
        assert caught.value.details == {"state": position.state, "event": event}
    assert position == before


@pytest.mark.parametrize("start", [position for position in POSITIONS if position.state not in FINISHED])
def test_from_every_state_there_is_a_way_to_the_end(start: Position) -> None:
    reached = [start]
    for position in reached:
        reached += [
            after for event in Event if allows(position, event) and (after := advance(position, event)) not in reached
        ]
    assert State.COMPLETED in {position.state for position in reached}


@pytest.mark.parametrize("position", [one for one in POSITIONS if one.state in ASIDE])
def test_what_stopped_goes_back_to_where_it_came_from(position: Position) -> None:
    assert advance(position, Event.RESUMED) == Position(position.came_from)  # type: ignore[arg-type]


@given(EVENTS)
def test_resuming_leads_to_the_last_state_that_was_not_aside(events: list[Event]) -> None:
    positions = walk(events)
    if positions[-1].state in ASIDE:
        last = next(position for position in reversed(positions) if position.state not in ASIDE)
        assert advance(positions[-1], Event.RESUMED) == last


@pytest.mark.parametrize("state", RUNNING)
def test_failing_while_paused_keeps_the_state_before(state: State) -> None:
    paused = advance(Position(state), Event.PAUSED)
    assert advance(paused, Event.FAILED) == Position(State.FAILED, state)


def test_a_commit_ends_as_completed_or_ready_and_in_no_other_way() -> None:
    assert {target for (state, _), target in TABLE.items() if state is State.COMMITTING} == {
        State.COMPLETED,
        State.READY,
    }


def test_what_is_finished_does_not_begin_again() -> None:
    assert [(state, event) for state, event in TABLE if state in FINISHED] == [(State.COMPLETED, Event.ROLLED_BACK)]


def test_only_what_was_proved_is_committed() -> None:
    assert [state for (state, event) in TABLE if event is Event.COMMIT_STARTED] == [State.READY]
    assert [state for (state, _), target in TABLE.items() if target is State.READY] == [
        State.VERIFYING,
        State.COMMITTING,
    ]


def test_everything_before_the_commit_can_be_cancelled_and_nothing_after() -> None:
    cancellable = {state for (state, event) in TABLE if event is Event.CANCELLED}
    assert cancellable == {*BEFORE_COMMIT, *ASIDE}


COUNTS = st.integers(min_value=0, max_value=3)


@given(st.sampled_from(POSITIONS), COUNTS, COUNTS, COUNTS)
def test_growi_is_never_told_completed_with_a_failed_file(
    position: Position, done: int, total: int, failed: int
) -> None:
    mongo, attachments = growi_statuses(position, files_done=done, files_total=total, files_failed=failed)
    if failed:
        assert attachments not in (GrowiStatus.COMPLETED, GrowiStatus.SKIPPED)
    if position.state in (State.FAILED, State.CANCELLED):
        assert mongo is GrowiStatus.ERROR
    if mongo is GrowiStatus.COMPLETED:
        assert position.state in (State.COMPLETED, State.ROLLED_BACK)
        assert attachments not in (GrowiStatus.IN_PROGRESS, GrowiStatus.PENDING)


@pytest.mark.parametrize(
    ("position", "done", "total", "failed", "expected"),
    [
        (Position(), 0, 0, 0, "PENDING PENDING"),
        (Position(State.CHECKED), 0, 3, 0, "PENDING PENDING"),
        (Position(State.COPYING), 1, 3, 0, "IN_PROGRESS IN_PROGRESS"),
        (Position(State.COPYING), 3, 3, 0, "IN_PROGRESS COMPLETED"),
        (Position(State.COPYING), 3, 3, 1, "IN_PROGRESS IN_PROGRESS"),
        (Position(State.PAUSED, State.VERIFYING), 1, 3, 0, "IN_PROGRESS IN_PROGRESS"),
        (Position(State.READY), 3, 3, 0, "IN_PROGRESS COMPLETED"),
        (Position(State.FAILED, State.COPYING), 3, 3, 0, "ERROR COMPLETED"),
        (Position(State.FAILED, State.COPYING), 2, 3, 0, "ERROR ERROR"),
        (Position(State.FAILED, State.CREATED), 0, 0, 0, "ERROR ERROR"),
        (Position(State.CANCELLED), 3, 3, 0, "ERROR ERROR"),
        (Position(State.COMPLETED), 0, 0, 0, "COMPLETED SKIPPED"),
        (Position(State.COMPLETED), 3, 3, 0, "COMPLETED COMPLETED"),
        (Position(State.COMPLETED), 3, 3, 1, "COMPLETED ERROR"),
        (Position(State.ROLLED_BACK), 3, 3, 0, "COMPLETED COMPLETED"),
    ],
)
def test_what_growi_is_told(position: Position, done: int, total: int, failed: int, expected: str) -> None:
    statuses = growi_statuses(position, files_done=done, files_total=total, files_failed=failed)
    assert " ".join(statuses) == expected


def test_a_refusal_is_told_in_words() -> None:
    with pytest.raises(StateConflict, match=r"^A transfer that is rolled back cannot be paused.$"):
        advance(Position(State.ROLLED_BACK), Event.PAUSED)
