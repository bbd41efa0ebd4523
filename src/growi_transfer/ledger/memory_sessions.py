"""Ended logins of the ledger that forgets."""

from __future__ import annotations

from datetime import datetime

from growi_transfer.ledger.values import milliseconds


class MemorySessions:
    """`SessionLedger` in a dictionary."""

    def __init__(self) -> None:
        self._sessions: dict[str, datetime] = {}

    async def end_session(self, session_id: str, expires_at: datetime, now: datetime) -> None:
        self._sessions[session_id] = milliseconds(expires_at)
        self._sessions = {one: ends for one, ends in self._sessions.items() if ends > milliseconds(now)}

    async def ended_sessions(self) -> dict[str, datetime]:
        return dict(self._sessions)
