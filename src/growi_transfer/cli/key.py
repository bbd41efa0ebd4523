"""`growi-transfer key`: transfer keys of this wiki, the destination."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from growi_transfer.cli.output import table
from growi_transfer.cli.session import Services, session_of
from growi_transfer.ledger.base import KeyRow

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke the transfer keys of this wiki.")


@app.command()
def issue(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON value.")] = False,
) -> None:
    """Make a transfer key for this wiki. It is printed once, alone on standard output.

    Whoever has it can replace everything in this wiki: hand it over like a password. It ends after 30 minutes without
    use, and serves one transfer.

    \b
    Examples:
      growi-transfer key issue
      growi-transfer key issue > key.txt
    """
    session = session_of(context)
    session.output.json = json
    issued = session.with_services("receiver", lambda services: services.keys.issue())
    if json:
        session.output.last({"transferKey": issued.key_string, **_shape(issued.row)})
    else:
        session.output.result(issued.key_string)
        session.output.note(f"Key {issued.row.id}. It ends at {_time(issued.row.expires_at)} unless it is used.")


@app.command("list")
def list_keys(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON value.")] = False,
) -> None:
    """List the transfer keys of this wiki, newest first. The keys themselves are not stored and cannot be shown.

    \b
    Examples:
      growi-transfer key list
    """
    session = session_of(context)
    session.output.json = json
    rows = session.with_services("receiver", lambda services: services.keys.list())
    if json:
        session.output.last({"keys": [_shape(row) for row in rows]})
        return
    cells = [
        [row.id, _state(row), _time(row.issued_at), _time(row.expires_at), (row.claimed_by or "")[:8]] for row in rows
    ]
    for line in table(["ID", "STATE", "ISSUED", "ENDS", "TRANSFER"], cells) if cells else ["There are no keys."]:
        session.output.result(line)


@app.command()
def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `key list` shows it.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON value.")] = False,
) -> None:
    """End a transfer key now. A transfer that uses it stops.

    \b
    Examples:
      growi-transfer key revoke 4f9a12c07be35d68
    """
    session = session_of(context)
    session.output.json = json

    async def work(services: Services) -> None:
        await services.keys.revoke(key_id)

    session.with_services("receiver", work)
    if json:
        session.output.last({"id": key_id, "revoked": True})
    else:
        session.output.result(f"Revoked {key_id}.")


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return "revoked"
    if datetime.now(UTC) >= min(row.expires_at, row.ceiling_at):
        return "ended"
    return "in use" if row.claimed_by else "waiting"


def _shape(row: KeyRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "state": _state(row),
        "issued_at": row.issued_at.isoformat(),
        "expires_at": row.expires_at.isoformat(),
        "ceiling_at": row.ceiling_at.isoformat(),
        "last_used_at": row.last_used_at.isoformat() if row.last_used_at else None,
        "revoked_at": row.revoked_at.isoformat() if row.revoked_at else None,
        "transfer_id": row.claimed_by,
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
