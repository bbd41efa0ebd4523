"""How a transfer is shown: the one public shape, from the board while it moves, else from what the ledger keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import HTTPConnection

from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.protocol.errors import TransferNotFound
from growi_transfer.protocol.progress import Snapshot, to_json
from growi_transfer.web.auth import services_of
from growi_transfer.web.services import Services


async def row_of(request: HTTPConnection, transfer_id: str, role: Role | None = None) -> TransferRow:
    """The row of a transfer: of this role, or of whichever this server has. Raises TransferNotFound."""
    services = services_of(request)
    for each in (role,) if role is not None else (Role.PUSHER, Role.RECEIVER):
        row = await services.ledger.get_transfer(each, transfer_id)
        if row is not None:
            return row
    raise TransferNotFound()


def shape_of(services: Services, row: TransferRow) -> dict[str, Any]:
    """The public shape of a transfer."""
    snapshot = services.board.snapshot(row.role, row.id)
    if snapshot is not None:
        return to_json(replace(snapshot, position=row.position))
    kept = row.facts.get("progress")
    if not isinstance(kept, dict):
        return to_json(Snapshot(id=row.id, role=row.role.value, position=row.position))
    # The numbers are those of the last time it was saved; the state is the row's own.
    return {**kept, "state": row.position.state.value}
