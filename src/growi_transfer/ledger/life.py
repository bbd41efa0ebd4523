"""The rows of one role's transfers, and the one place that moves them through their states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from growi_transfer.ledger.base import ItemState, Ledger, Role, TransferRow
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.protocol.errors import StateConflict, TransferNotFound
from growi_transfer.protocol.machine import FINISHED, Event, Position, State, advance
from growi_transfer.protocol.progress import Moved, Recounted

_ATTEMPTS = 5


class Life:
    """Transfers of one role in the ledger. Every change of state goes through `step`."""

    def __init__(self, role: Role, ledger: Ledger, board: ProgressBoard, clock: Callable[[], datetime]) -> None:
        self.role = role
        self.ledger = ledger
        self.board = board
        self.clock = clock

    async def get(self, transfer_id: str) -> TransferRow:
        """The row. Raises TransferNotFound."""
        row = await self.ledger.get_transfer(self.role, transfer_id)
        if row is None:
            raise TransferNotFound()
        held = self.board.snapshot(self.role, transfer_id)
        if row.position.state in FINISHED and held is not None and held.position != row.position:
            # The last step was another process's, or its answer was lost: nobody comes back to show it.
            self.board.start(row)
        return row

    async def state(self, transfer_id: str) -> State:
        """The present state. Raises TransferNotFound."""
        return (await self.get(transfer_id)).position.state

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
            if await self.ledger.move_transfer(self.role, transfer_id, row.position, position, self.clock()):
                self.board.apply(self.role, transfer_id, Moved(position))
                await self.board.flush()
                return position
        raise StateConflict("The transfer is changing its state too fast; try again.")

    async def recount(self, transfer_id: str) -> None:
        """Show what the ledger says is done: a saved snapshot may be older than the rows."""
        ranges = await self.ledger.range_totals(self.role, transfer_id)
        files = await self.ledger.file_totals(self.role, transfer_id)
        done = (ItemState.STORED, ItemState.VERIFIED)
        self.board.apply(
            self.role,
            transfer_id,
            Recounted(
                documents=sum(ranges[state].documents for state in done),
                bytes=sum(ranges[state].bytes + files[state].bytes for state in done),
                files=sum(files[state].rows for state in done),
                files_failed=files[ItemState.FAILED].rows,
                files_skipped=files[ItemState.SKIPPED].rows,
            ),
        )

    async def note(self, transfer_id: str, facts: Mapping[str, Any]) -> None:
        """Keep facts that became known. None removes one."""
        await self.ledger.set_facts(self.role, transfer_id, facts, self.clock())


def require(row: TransferRow, *states: State) -> None:
    """Raises StateConflict unless the transfer is in one of these states."""
    if row.position.state not in states:
        raise StateConflict(
            f"The transfer is {row.position.state}; this needs {' or '.join(states)}.",
            state=row.position.state.value,
        )
