"""What is offered: exactly what the machine and the facts allow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from growi_transfer.ledger.actions import actions_of, needs_process
from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.protocol.machine import Event, Position, State, allows

NOW = datetime(2026, 11, 21, tzinfo=UTC)
STEPS = {
    "pause": Event.PAUSED,
    "commit": Event.COMMIT_STARTED,
    "rollback": Event.ROLLED_BACK,
    "cancel": Event.CANCELLED,
    "verify": Event.DIFFERENCE_FOUND,
}
PROVED = {"verify": {"ok": True}}


def row(role: Role, state: State, setup: dict[str, Any] | None = None, **facts: Any) -> TransferRow:
    came_from = State.COPYING if state in (State.PAUSED, State.FAILED) else None
    return TransferRow(role, "0" * 32, Position(state, came_from), setup or {}, NOW, NOW, facts=facts)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("role", Role)
def test_nothing_is_offered_that_the_machine_refuses(role: Role, state: State) -> None:
    one = row(role, state, **PROVED)
    for action in actions_of(one):
        assert action not in STEPS or allows(one.position, STEPS[action]), action


@pytest.mark.parametrize(
    ("state", "facts", "offered"),
    [
        (State.COPYING, {}, ["cancel"]),
        (State.FAILED, {}, ["cancel"]),
        (State.READY, PROVED, ["commit", "receipt", "cancel"]),
        (State.READY, {"verify": {"ok": False}}, ["receipt", "cancel"]),
        (State.COMMITTING, PROVED, ["receipt"]),
        (State.COMPLETED, {}, ["release-maintenance", "rollback", "purge", "receipt"]),
        (State.COMPLETED, {"maintenance_released_at": "2026"}, ["rollback", "purge", "receipt"]),
        (State.COMPLETED, {"rolling_back": True}, ["rollback", "receipt"]),
        (State.COMPLETED, {"purged_at": "2026"}, ["release-maintenance", "receipt"]),
        (State.ROLLED_BACK, {}, ["purge", "receipt"]),
        (State.ROLLED_BACK, {"purged_at": "2026"}, ["receipt"]),
        (State.CANCELLED, {}, []),
    ],
)
def test_at_the_destination(state: State, facts: dict[str, Any], offered: list[str]) -> None:
    assert actions_of(row(Role.RECEIVER, state, **facts)) == offered


@pytest.mark.parametrize(
    ("state", "facts", "offered"),
    [
        (State.CHECKED, {}, ["resume", "cancel"]),
        (State.COPYING, {}, ["pause", "tune", "cancel"]),
        (State.COPYING, {"options": {"follow": True}}, ["pause", "commit", "tune", "cancel"]),
        (State.PAUSED, {}, ["resume", "tune", "cancel"]),
        (State.FAILED, {"progress": {"files": {"failed": 2}}}, ["resume", "retry", "tune", "cancel"]),
        (State.READY, {"progress": {"files": {"failed": 0}}}, ["verify", "commit", "receipt", "cancel"]),
        (State.COMPLETED, {}, ["rollback", "purge", "receipt"]),
        (
            State.COMPLETED,
            {"freeze": {"ended_at": None, "former": None}},
            ["release-maintenance", "rollback", "purge", "receipt"],
        ),
        (State.COMPLETED, {"freeze": {"ended_at": "2026"}, "purged_at": "2026"}, ["receipt"]),
        (State.CANCELLED, {}, ["purge"]),
    ],
)
def test_at_the_source(state: State, facts: dict[str, Any], offered: list[str]) -> None:
    assert actions_of(row(Role.PUSHER, state, **facts)) == offered


def test_a_growi_keeps_nothing_to_go_back_to() -> None:
    assert actions_of(row(Role.PUSHER, State.COMPLETED, {"dialect": "growi"})) == ["purge"]


@pytest.mark.parametrize(
    ("role", "state", "facts", "needed"),
    [
        (Role.PUSHER, State.CREATED, {}, True),
        (Role.PUSHER, State.VERIFYING, {}, True),
        (Role.PUSHER, State.COMMITTING, {}, True),
        (Role.PUSHER, State.READY, {"options": {"follow": True}}, True),
        (Role.PUSHER, State.READY, {}, False),
        (Role.PUSHER, State.PAUSED, {}, False),
        (Role.PUSHER, State.COMPLETED, {}, False),
        (Role.RECEIVER, State.COPYING, {}, False),
    ],
)
def test_what_no_process_has_can_be_resumed(role: Role, state: State, facts: dict[str, Any], needed: bool) -> None:
    one = row(role, state, **facts)
    assert needs_process(one) is needed
    if needed:
        assert "resume" in actions_of(one, interrupted=True)
        assert "pause" not in actions_of(one, interrupted=True)
