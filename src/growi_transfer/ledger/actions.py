"""What an admin may do with a transfer as it is now: the buttons that a page shows.

The words are those of the routes. Each is refused by the machine too when it comes too late; here nothing is decided,
it is told beforehand.
"""

from __future__ import annotations

from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.protocol.machine import RUNNING, Event, State, allows

_PROVED = (State.READY, State.COMMITTING, State.COMPLETED, State.ROLLED_BACK)
_NEEDS_A_PROCESS = (State.CREATED, State.CHECKED, *RUNNING, State.COMMITTING)
"""States in which a process of the source is at work."""


def needs_process(row: TransferRow) -> bool:
    """Whether some process of this side has to be at work at a transfer. One that needs it and that nobody has was
    interrupted: it waits to be resumed. What comes in is up to the source."""
    if row.role is not Role.PUSHER:
        return False
    state = row.position.state
    return state in _NEEDS_A_PROCESS or (state is State.READY and _follows(row))


def actions_of(row: TransferRow, *, interrupted: bool = False) -> list[str]:
    """Names of the steps that can be ordered, in the order in which a person comes to them. `interrupted`: a process
    should be at work and none is."""
    return _at_source(row, interrupted) if row.role is Role.PUSHER else _at_destination(row)


def _follows(row: TransferRow) -> bool:
    return bool((row.facts.get("options") or {}).get("follow"))


def _at_destination(row: TransferRow) -> list[str]:
    state = row.position.state
    completed = state is State.COMPLETED
    going_back = bool(row.facts.get("rolling_back"))
    gone = bool(row.facts.get("purged_at") or row.facts.get("purging"))
    keeps = completed or state is State.ROLLED_BACK
    verified = bool((row.facts.get("verify") or {}).get("ok"))
    possible = {
        "commit": state is State.READY and verified,
        "release-maintenance": completed and not going_back and not row.facts.get("maintenance_released_at"),
        # One that a crash interrupted can only be asked for again.
        "rollback": completed and not gone,
        "purge": keeps and not gone and not (completed and going_back),
        "receipt": state in _PROVED,
        "cancel": allows(row.position, Event.CANCELLED),
    }
    return [name for name, can in possible.items() if can]


def _at_source(row: TransferRow, interrupted: bool) -> list[str]:
    state = row.position.state
    completed = state is State.COMPLETED
    follows = _follows(row)
    growi = row.setup.get("dialect") == "growi"
    frozen = row.facts.get("freeze") or {}
    failed = ((row.facts.get("progress") or {}).get("files") or {}).get("failed", 0)
    purged = bool(row.facts.get("purged_at"))
    possible = {
        "pause": not interrupted and (state in RUNNING or (state is State.READY and follows)),
        "resume": interrupted or state in (State.PAUSED, State.FAILED, State.CHECKED),
        "retry": failed > 0 and state in (State.PAUSED, State.FAILED, State.READY),
        "verify": state is State.READY,
        "commit": state is State.READY or (follows and state in RUNNING),
        "tune": state in (*RUNNING, State.PAUSED, State.FAILED),
        "release-maintenance": completed and bool(frozen) and frozen.get("ended_at") is None,
        "rollback": completed and not growi and not purged,
        "purge": (completed or state in (State.ROLLED_BACK, State.CANCELLED)) and not purged,
        "receipt": state in _PROVED and not growi,
        "cancel": allows(row.position, Event.CANCELLED),
    }
    return [name for name, can in possible.items() if can]
