"""How a transfer is shown: the one public shape, from the board while it moves, else from what the ledger keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import HTTPConnection

from growi_transfer.ledger.actions import actions_of, needs_process
from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.ledger.board import snapshot_of
from growi_transfer.ledger.retention import rollback_until
from growi_transfer.protocol.errors import TransferNotFound
from growi_transfer.protocol.progress import Snapshot
from growi_transfer.protocol.shape import to_json
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


def snapshot_of_row(services: Services, row: TransferRow) -> Snapshot:
    """What a transfer is doing now."""
    held = services.board.snapshot(row.role, row.id)
    # Another process of this wiki may have moved it since the board last looked.
    return snapshot_of(row) if held is None else replace(held, position=row.position)


async def shape_of(services: Services, row: TransferRow) -> dict[str, Any]:
    """The public shape of a transfer, and what the ledger alone knows of it. `interrupted`: it should be at work and no
    process has it."""
    snapshot = snapshot_of_row(services, row)
    interrupted = needs_process(row) and not await services.is_owned(row.role, row.id)
    until = rollback_until(row, services.retention)
    return {
        **to_json(snapshot),
        "created_at": row.created_at.isoformat(),
        "rollback_until": until.isoformat() if until else None,
        "actions": actions_of(row, interrupted=interrupted),
        "interrupted": interrupted,
    }
