"""How long what a commit replaced is kept."""

from __future__ import annotations

from datetime import datetime, timedelta

from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.protocol.machine import State


def kept_until(row: TransferRow, retention: timedelta) -> datetime:
    """When the retention of a finished transfer is over, so that what it keeps is purged."""
    ended = row.facts.get("rolled_back_at") or row.facts.get("committed_at")
    return (datetime.fromisoformat(ended) if ended else row.updated_at) + retention


def rollback_until(row: TransferRow, retention: timedelta) -> datetime | None:
    """Until when a transfer can be rolled back; None when it cannot. The source says what the destination told it."""
    if row.position.state is not State.COMPLETED or row.facts.get("purged_at"):
        return None
    if row.role is Role.RECEIVER:
        return kept_until(row, retention)
    told = row.facts.get("rollback_until")
    return datetime.fromisoformat(told) if told else None


def moment_text(value: object) -> str | None:
    """A time that the other side told, if it is one."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.isoformat() if moment is not None and moment.tzinfo is not None else None
