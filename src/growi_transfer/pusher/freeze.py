"""The freeze around a commit: the source's maintenance mode, set for the last pass and remembered until it is over.

The fact `freeze` of the transfer's row is the journal: it is written before the mode is set and says what stood there,
so that whoever finds it later can put that back.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from growi_transfer.ledger.life import Life
from growi_transfer.mongo.client import Database
from growi_transfer.mongo.maintenance import ON, read_mode, write_mode


class Freeze:
    """The maintenance mode of one source, on behalf of its transfers."""

    def __init__(self, database: Database, life: Life, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._life = life
        self._clock = clock

    async def begin(self, transfer_id: str) -> None:
        """Set the mode; no effect when this transfer has set it already."""
        if await self.is_on(transfer_id):
            return
        former = await read_mode(self._database)
        journaled = {"former": former, "began_at": self._clock().isoformat(), "ended_at": None, "seconds": None}
        await self._life.note(transfer_id, {"freeze": journaled})
        await write_mode(self._database, ON, self._clock())

    async def is_on(self, transfer_id: str) -> bool:
        """Whether this transfer has set the mode and not put back what was."""
        frozen = await self._frozen(transfer_id)
        return bool(frozen) and frozen["ended_at"] is None

    async def note_commit(self, transfer_id: str) -> None:
        """The commit is done: from here on the wiki is at the destination. How long the freeze took until then is
        noted, and the mode stays on, so that nobody goes on writing into the former wiki."""
        frozen = await self._frozen(transfer_id)
        if frozen and frozen["ended_at"] is None:
            seconds = (self._clock() - datetime.fromisoformat(frozen["began_at"])).total_seconds()
            await self._life.note(transfer_id, {"freeze": {**frozen, "seconds": round(seconds, 3)}})

    async def end(self, transfer_id: str) -> bool:
        """Put back what stood there before; tells whether there was anything to put back. A mode that somebody has
        ended meanwhile is left as it is."""
        frozen = await self._frozen(transfer_id)
        if not frozen or frozen["ended_at"] is not None:
            return False
        if await read_mode(self._database) == ON and frozen["former"] != ON:
            await write_mode(self._database, frozen["former"], self._clock())
        await self._life.note(transfer_id, {"freeze": {**frozen, "ended_at": self._clock().isoformat()}})
        return True

    async def _frozen(self, transfer_id: str) -> dict[str, Any]:
        return dict((await self._life.get(transfer_id)).facts.get("freeze") or {})
