"""Logins that are over: by their time, or because somebody logged out, here or at another server with our secrets.

A login is a signed cookie, so nothing is kept of it while it is valid. What is kept is that it was ended: in the
ledger, until it would have ended by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from growi_transfer.ledger.sessions import SessionLedger
from growi_transfer.protocol.errors import TransferError
from growi_transfer.web.ends import Ends


@dataclass(frozen=True, slots=True)
class Session:
    """One login."""

    id: str
    expires_at: datetime


class Sessions:
    """The logins of one server. `clock` gives aware UTC times. Those ended elsewhere are known after a second, while
    `ends` is running."""

    def __init__(self, ledger: SessionLedger, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._ended: dict[str, datetime] = {}
        self._unkept: set[Session] = set()
        self.ends = Ends(self._over)

    def is_over(self, session: Session) -> bool:
        return session.id in self._ended or self._clock() >= session.expires_at

    async def end(self, session: Session) -> None:
        """Log out: the cookie opens nothing any more, and what it has opened is closed. A ledger that is away does not
        keep anybody from that; it is told later."""
        self._ended[session.id] = session.expires_at
        self._unkept.add(session)
        self.ends.end(session)
        with suppress(TransferError):
            await self._keep()

    async def _keep(self) -> None:
        for session in list(self._unkept):
            await self._ledger.end_session(session.id, session.expires_at, self._clock())
            self._unkept.discard(session)

    async def _over(self, awaited: Collection[Session]) -> list[Session]:
        with suppress(TransferError):
            await self._keep()
        with suppress(TransferError):  # what is known stays known
            self._ended |= await self._ledger.ended_sessions()
        now = self._clock()
        self._ended = {one: expires_at for one, expires_at in self._ended.items() if expires_at > now}
        return [session for session in awaited if self.is_over(session)]
