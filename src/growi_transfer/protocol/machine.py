"""The life of a transfer: one table of states and events. Nothing else decides what may follow what.

Every rule about states stands in this file. It does not know which role it serves, does no work and keeps nothing:
`advance` takes a position and an event and gives the next position, or raises and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from growi_transfer.protocol.errors import StateConflict


class State(StrEnum):
    CREATED = "created"  # the set-up is stored
    CHECKED = "checked"  # the preflight passed; the plan may be reviewed
    COPYING = "copying"  # documents and attachments move into staging
    RECONCILING = "reconciling"  # the source is read again until one whole pass agrees
    INDEXING = "indexing"  # indexes are built in staging
    VERIFYING = "verifying"  # staging is read back and compared
    READY = "ready"  # proved equal; the destination still shows its old data
    COMMITTING = "committing"  # the journaled swap
    COMPLETED = "completed"  # the destination shows the new data; the former ones are kept for rollback
    ROLLED_BACK = "rolled_back"  # the former data are back
    PAUSED = "paused"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Event(StrEnum):
    CHECK_PASSED = "check_passed"
    COPY_STARTED = "copy_started"
    COPIED = "copied"
    RECONCILED = "reconciled"
    INDEXED = "indexed"
    VERIFIED = "verified"
    DIFFERENCE_FOUND = "difference_found"
    COMMIT_STARTED = "commit_started"
    COMMITTED = "committed"
    COMMIT_UNDONE = "commit_undone"
    ROLLED_BACK = "rolled_back"
    PAUSED = "paused"
    RESUMED = "resumed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Position:
    """A state, and for `paused` and `failed` the state they came from and go back to."""

    state: State = State.CREATED
    came_from: State | None = None


RUNNING = (State.COPYING, State.RECONCILING, State.INDEXING, State.VERIFYING)
BEFORE_COMMIT = (State.CREATED, State.CHECKED, *RUNNING, State.READY)
FINISHED = (State.COMPLETED, State.ROLLED_BACK, State.CANCELLED)

_FORWARD: dict[tuple[State, Event], State] = {
    (State.CREATED, Event.CHECK_PASSED): State.CHECKED,
    (State.CHECKED, Event.COPY_STARTED): State.COPYING,
    (State.COPYING, Event.COPIED): State.RECONCILING,
    (State.RECONCILING, Event.RECONCILED): State.INDEXING,
    (State.INDEXING, Event.INDEXED): State.VERIFYING,
    (State.VERIFYING, Event.VERIFIED): State.READY,
    (State.RECONCILING, Event.DIFFERENCE_FOUND): State.COPYING,
    (State.INDEXING, Event.DIFFERENCE_FOUND): State.COPYING,
    (State.VERIFYING, Event.DIFFERENCE_FOUND): State.COPYING,
    (State.READY, Event.DIFFERENCE_FOUND): State.COPYING,
    (State.READY, Event.COMMIT_STARTED): State.COMMITTING,
    (State.COMMITTING, Event.COMMITTED): State.COMPLETED,
    (State.COMMITTING, Event.COMMIT_UNDONE): State.READY,
    (State.COMPLETED, Event.ROLLED_BACK): State.ROLLED_BACK,
    **{(state, Event.CANCELLED): State.CANCELLED for state in (*BEFORE_COMMIT, State.PAUSED, State.FAILED)},
}
_ASIDE: dict[tuple[State, Event], State] = {
    **{(state, Event.PAUSED): State.PAUSED for state in RUNNING},
    **{(state, Event.FAILED): State.FAILED for state in BEFORE_COMMIT},
}

TABLE: dict[tuple[State, Event], State | None] = {
    **_FORWARD,
    **_ASIDE,
    # None: back to where it came from.
    (State.PAUSED, Event.RESUMED): None,
    (State.FAILED, Event.RESUMED): None,
    (State.PAUSED, Event.FAILED): State.FAILED,
}


_DONE = {
    Event.PAUSED: "paused",
    Event.RESUMED: "resumed",
    Event.CANCELLED: "cancelled",
    Event.COMMIT_STARTED: "committed",
    Event.COMMITTED: "committed",
    Event.ROLLED_BACK: "rolled back",
    Event.DIFFERENCE_FOUND: "verified",
}
"""What people asked for when an event is refused."""


def advance(position: Position, event: Event) -> Position:
    """The position after an event. Raises StateConflict, which names both, when the table has no such step."""
    if (position.state, event) not in TABLE:
        raise StateConflict(
            f"A transfer that is {position.state.replace('_', ' ')} cannot be {_DONE.get(event, f'made {event}')}.",
            state=position.state,
            event=event,
        )
    target = TABLE[position.state, event]
    if target is None:
        return Position(position.came_from or State.CREATED)
    if target in (State.PAUSED, State.FAILED):
        return Position(target, position.came_from or position.state)
    return Position(target)


def allows(position: Position, event: Event) -> bool:
    """Whether `advance` would take the step."""
    return (position.state, event) in TABLE


class GrowiStatus(StrEnum):
    """The five words GROWI's own page knows."""

    PENDING = "PENDING"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"
    SKIPPED = "SKIPPED"


def growi_statuses(
    position: Position, *, files_done: int, files_total: int, files_failed: int
) -> tuple[GrowiStatus, GrowiStatus]:
    """GROWI's two statuses (`mongo`, `attachments`), derived and never stored.

    `files_done` counts the skipped ones too. Attachments are never COMPLETED while a file is failed.
    """
    if position.state is State.CANCELLED:
        return GrowiStatus.ERROR, GrowiStatus.ERROR
    all_files = files_total > 0 and files_done >= files_total and not files_failed
    if position.state is State.FAILED:
        return GrowiStatus.ERROR, GrowiStatus.COMPLETED if all_files else GrowiStatus.ERROR
    effective = position.came_from or position.state
    if effective in (State.CREATED, State.CHECKED):
        return GrowiStatus.PENDING, GrowiStatus.PENDING
    if effective not in (State.COMPLETED, State.ROLLED_BACK):
        return GrowiStatus.IN_PROGRESS, GrowiStatus.COMPLETED if all_files else GrowiStatus.IN_PROGRESS
    if files_failed:
        return GrowiStatus.COMPLETED, GrowiStatus.ERROR
    # The machine completes only when every row is verified or skipped, so counts that lag behind do not matter.
    return GrowiStatus.COMPLETED, GrowiStatus.COMPLETED if files_total else GrowiStatus.SKIPPED
