"""Ended logins of the ledger in the wiki's own database."""

from __future__ import annotations

from datetime import datetime

from growi_transfer.ledger.mongo_store import Store
from growi_transfer.ledger.values import milliseconds
from growi_transfer.protocol.names import OWN_PREFIX

SESSIONS = OWN_PREFIX + "ended_sessions"


class MongoSessions:
    """`SessionLedger` over database commands. There are as many rows as people logged out within half a day."""

    _store: Store

    async def end_session(self, session_id: str, expires_at: datetime, now: datetime) -> None:
        await self._store.put(SESSIONS, iter([{"_id": session_id, "expires_at": milliseconds(expires_at)}]))
        await self._store.delete(SESSIONS, {"expires_at": {"$lte": milliseconds(now)}})

    async def ended_sessions(self) -> dict[str, datetime]:
        found = await self._store.aggregate(SESSIONS, [])
        return {one["_id"]: milliseconds(one["expires_at"]) for one in found}
