"""The rows of incoming transfers: who may touch one, and the one place that moves it through its states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from growi_transfer.ledger.base import Ledger, Role, TransferRow
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.protocol.errors import StateConflict, Superseded, TransferNotFound
from growi_transfer.protocol.machine import Event, Position, State, advance
from growi_transfer.protocol.progress import Moved

_ATTEMPTS = 5


class Transfers:
    """Incoming transfers in the ledger. Every change of state goes through `step`."""

    def __init__(self, ledger: Ledger, board: ProgressBoard, clock: Callable[[], datetime]) -> None:
        self.ledger = ledger
        self.board = board
        self.clock = clock

    async def get(self, transfer_id: str) -> TransferRow:
        """The row. Raises TransferNotFound."""
        row = await self.ledger.get_transfer(Role.RECEIVER, transfer_id)
        if row is None:
            raise TransferNotFound()
        return row

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

    async def step(self, transfer_id: str, *events: Event) -> Position:
        """Take steps in the table, one after the other. Raises StateConflict where the table has no such step."""
        position = Position()
        for event in events:
            position = await self._step(transfer_id, event)
        return position

    async def _step(self, transfer_id: str, event: Event) -> Position:
        for _ in range(_ATTEMPTS):
            row = await self.get(transfer_id)
            position = advance(row.position, event)
            if await self.ledger.move_transfer(Role.RECEIVER, transfer_id, row.position, position, self.clock()):
                self.board.apply(Role.RECEIVER, transfer_id, Moved(position))
                await self.board.flush()
                return position
        raise StateConflict("The transfer is changing its state too fast; try again.")

    async def note(self, transfer_id: str, facts: Mapping[str, Any]) -> None:
        """Keep facts that became known."""
        await self.ledger.set_facts(Role.RECEIVER, transfer_id, facts, self.clock())


def require(row: TransferRow, *states: State) -> None:
    """Raises StateConflict unless the transfer is in one of these states."""
    if row.position.state not in states:
        raise StateConflict(
            f"The transfer is {row.position.state}; this needs {' or '.join(states)}.",
            state=row.position.state.value,
        )
