"""Logins that are over before their time, and the contract of every ledger of them."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class SessionLedger(Protocol):
    async def end_session(self, session_id: str, expires_at: datetime, now: datetime) -> None:
        """Remember that a login is over, until the time at which it would have ended by itself. Those whose time is
        over by `now` are forgotten."""

    async def ended_sessions(self) -> dict[str, datetime]:
        """Every login that is over, and until when it is remembered."""
