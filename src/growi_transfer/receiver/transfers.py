"""The rows of incoming transfers, and which requests may touch one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from growi_transfer.ledger.base import Ledger, Role, TransferRow
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.life import Life
from growi_transfer.protocol.errors import Superseded

GROWI_KEY = "growi_key"
"""Fact of what an unmodified GROWI sent: the id of its key."""


class Transfers(Life):
    """Incoming transfers in the ledger."""

    def __init__(self, ledger: Ledger, board: ProgressBoard, clock: Callable[[], datetime]) -> None:
        super().__init__(Role.RECEIVER, ledger, board, clock)

    async def admit(self, transfer_id: str, epoch: int | None) -> TransferRow:
        """The row, for a request that carries this epoch (None: the destination's own admin).

        A newer epoch is taken over; an older one raises Superseded: its process no longer owns the transfer.
        """
        row = await self.get(transfer_id)
        if epoch is None or epoch == row.epoch:
            return row
        if epoch < row.epoch or not await self.ledger.set_epoch(Role.RECEIVER, transfer_id, epoch):
            raise Superseded(epoch=row.epoch)
        return await self.get(transfer_id)
