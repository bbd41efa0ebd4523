"""How far the destination is behind the source: measured here, shown by the board, kept in the transfer's row."""

from __future__ import annotations

from contextlib import suppress

from bson.timestamp import Timestamp

from growi_transfer.ledger.base import Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.life import Life
from growi_transfer.protocol.errors import TransferError
from growi_transfer.protocol.lag import Lag
from growi_transfer.protocol.progress import LagMeasured, Notice, WarningRaised
from growi_transfer.pusher.exporter import Exporter
from growi_transfer.pusher.settling import Settling

WRITTEN_AFTER = "source_written_after"


class LagTeller:
    """Tells of one transfer. The fact `as_of` is the moment [seconds, increment] that staging equals."""

    def __init__(
        self, exporter: Exporter, settling: Settling, life: Life, board: ProgressBoard, transfer_id: str
    ) -> None:
        self._exporter = exporter
        self._settling = settling
        self._life = life
        self._board = board
        self._id = transfer_id

    async def tell(self, documents: int = 0, size: int = 0, *, following: bool) -> None:
        """What differed in the last pass."""
        moment, now = self._settling.since, await self._exporter.now()
        as_of, seconds = None, 0
        if moment is not None and now is not None:
            as_of, seconds = moment.as_datetime().isoformat(), max(0, now.time - moment.time)
            await self._life.note(self._id, {"as_of": [moment.time, moment.inc]})
        lag = Lag(as_of, seconds, documents, size, following)
        self._board.apply(Role.PUSHER, self._id, LagMeasured(lag))

    async def recall(self) -> None:
        """After a restart of a transfer that is `ready`: what it equals stands in its row."""
        kept = (await self._life.get(self._id)).facts.get("as_of")
        if self._settling.since is None and kept:
            self._settling.since = Timestamp(*kept)

    async def look(self) -> bool | None:
        """Whether anything was written since the last reading; None when it cannot be told."""
        changes = await self._settling.changed_since()
        if changes is None or changes.ids:
            return None if changes is None else True
        await self.tell(following=True)
        return False

    async def tell_after_commit(self) -> None:
        """What was written at the source after the moment that was moved is not at the destination: tell how much."""
        with suppress(TransferError):
            changes = await self._exporter.changes(self._settling.since, await self._exporter.now())
            documents = changes.documents if changes is not None else 0
            await self.tell(documents, following=False)
            if changes is not None and changes.ids:
                message = f"{documents} documents were written at the source after what was moved was read."
                notice = Notice(WRITTEN_AFTER, message, {"documents": documents})
                self._board.apply(Role.PUSHER, self._id, WarningRaised(notice))
