"""`growi-transfer transfers`: what was begun here, on either side. What can be done with it stands in `cli.steer`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import typer

from growi_transfer.cli import steer
from growi_transfer.cli.follow import ENDS
from growi_transfer.cli.output import table
from growi_transfer.cli.receipt import receipt
from growi_transfer.cli.render import details, log_line, of, reporter
from growi_transfer.cli.session import Services, find_transfer, session_of
from growi_transfer.cli.steer import Id, Json
from growi_transfer.ledger.actions import needs_process
from growi_transfer.ledger.base import LogRow, Role, TransferRow
from growi_transfer.ledger.board import snapshot_of
from growi_transfer.ledger.log import KEPT, levels_from, line_json
from growi_transfer.ledger.retention import rollback_until
from growi_transfer.protocol.machine import State
from growi_transfer.protocol.progress import Snapshot
from growi_transfer.protocol.shape import to_json

app = typer.Typer(
    no_args_is_help=True,
    help="See and steer this wiki's transfers, on either side.",
)
LOOK_SECONDS = 0.5
"""Between two looks at a transfer that another process runs; the ledger is not written more often."""
_LATE_MICROSECONDS = 3_000_000
_SETTLE_SECONDS = 1.5
"""After this the last lines of a process that has ended its transfer are in the ledger."""


@app.command("list")
def list_transfers(context: typer.Context, json: Json = False) -> None:
    """List transfers, newest first. KEPT UNTIL: as long as a rollback is possible.

    \b
    Examples:
      growi-transfer transfers list
      growi-transfer transfers list --json
    """
    session = session_of(context)
    session.output.json = json
    retention = timedelta(days=session.settings().retention_days)

    async def work(services: Services) -> list[tuple[TransferRow, dict[str, Any]]]:
        rows = await services.ledger.list_transfers()
        return [(row, await shape_of(services, row, retention)) for row in rows]

    found = session.with_services("both", work)
    if json:
        session.output.last({"transfers": [shape for _, shape in found]})
        return
    cells = [
        [
            row.id[:8],
            row.role.value,
            "interrupted" if shape["interrupted"] else shape["state"].replace("_", " "),
            of(shape["documents"]["done"], shape["documents"]["total"]),
            of(shape["files"]["done"] + shape["files"]["skipped"], shape["files"]["total"]),
            _day(row.created_at),
            _day(rollback_until(row, retention)),
        ]
        for row, shape in found
    ]
    head = ["ID", "ROLE", "STATE", "DOCUMENTS", "FILES", "BEGUN", "KEPT UNTIL"]
    for line in table(head, cells) if cells else ["There are no transfers."]:
        session.output.result(line)


@app.command()
def show(context: typer.Context, transfer: Id, json: Json = False) -> None:
    """Show one transfer: state, counts, its plan, what is in flight, warnings and failures.

    \b
    Examples:
      growi-transfer transfers show 1f3a
      growi-transfer transfers show 1f3a --json
    """
    session = session_of(context)
    session.output.json = json
    retention = timedelta(days=session.settings().retention_days)

    async def work(services: Services) -> tuple[TransferRow, dict[str, Any]]:
        row = await find_transfer(services.ledger, transfer)
        return row, await shape_of(services, row, retention)

    row, shape = session.with_services("both", work)
    if json:
        kept = {name: row.facts[name] for name in ("plan", "accepted_warnings") if name in row.facts}
        session.output.last({"transfer": shape, **kept})
        return
    for line in details(shape, row.facts):
        session.output.fact(line)


@app.command()
def watch(context: typer.Context, transfer: Id, json: Json = False) -> None:
    """Watch one transfer until it ends, fails or pauses.

    \b
    Examples:
      growi-transfer transfers watch 1f3a
      growi-transfer transfers watch 1f3a --json
    """
    session = session_of(context)
    session.output.json = json

    async def work(services: Services) -> State:
        row = await find_transfer(services.ledger, transfer)
        shown = reporter(session.output)
        last: Snapshot | None = None
        try:
            while True:
                # The process that runs the transfer may be another one: what it knows, the ledger knows a second later.
                snapshot = snapshot_of(row, moving=True)
                if snapshot != last:
                    shown.show(snapshot)
                    last = snapshot
                if row.position.state in ENDS:
                    return row.position.state
                await asyncio.sleep(LOOK_SECONDS)
                row = await services.ledger.get_transfer(row.role, row.id) or row
        finally:
            shown.close()

    state = session.with_services("both", work)
    if not json:
        session.output.result(state.value.replace("_", " "))


@app.command()
def logs(
    context: typer.Context,
    transfer: Id,
    level: Annotated[
        Literal["info", "warning", "error"],
        typer.Option("--level", metavar="LEVEL", help="The least urgent lines to show: info, warning or error."),
    ] = "info",
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=KEPT, help="At most so many, the newest.")
    ] = 200,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends, fails or pauses.")] = False,
    json: Json = False,
) -> None:
    """Show what happened to a transfer: states, passes, retries, failures, orders.

    Each side has its own log; the newest 2,000 lines are kept.

    \b
    Examples:
      growi-transfer transfers logs 1f3a
      growi-transfer transfers logs 1f3a --level warning
      growi-transfer transfers logs 1f3a --follow --json
    """
    session = session_of(context)
    session.output.json = json
    levels = levels_from(level)

    def show_lines(rows: Sequence[LogRow]) -> None:
        for row in rows:
            if json:
                session.output.value(line_json(row))
            else:
                session.output.result(log_line(row))

    async def work(services: Services) -> None:
        row = await find_transfer(services.ledger, transfer)
        rows = await services.ledger.log(row.role, row.id, levels=levels, limit=limit)
        show_lines(rows)
        floor, shown = rows[0].stamp if rows else "", [one.stamp for one in rows]
        while follow:
            at_rest = row.position.state in ENDS
            await asyncio.sleep(_SETTLE_SECONDS if at_rest else LOOK_SECONDS)
            # Another process may write its lines up to a second late, and then between those that were shown.
            after = max(floor, _earlier(shown[-1])) if shown else ""
            rows = await services.ledger.log(row.role, row.id, levels=levels, limit=KEPT, after=after)
            fresh = [one for one in rows if one.stamp not in shown]
            show_lines(fresh)
            shown = sorted([*shown, *(one.stamp for one in fresh)])[-KEPT:]
            if at_rest:
                return
            row = await services.ledger.get_transfer(row.role, row.id) or row

    session.with_services("both", work)


for _command in (*steer.COMMANDS, receipt):
    app.command()(_command)


async def shape_of(services: Services, row: TransferRow, retention: timedelta) -> dict[str, Any]:
    """The public shape of a transfer, and when it was begun and until when it can be rolled back."""
    owned = row.role is Role.RECEIVER or await services.orders.is_owned(row.role, row.id)
    until = rollback_until(row, retention)
    return {
        **to_json(snapshot_of(row, moving=owned)),
        "interrupted": not owned and needs_process(row),
        "created_at": row.created_at.isoformat(),
        "rollback_until": until.isoformat() if until else None,
    }


def _earlier(stamp: str) -> str:
    """A stamp some seconds before another one."""
    return f"{max(0, int(stamp[:16]) - _LATE_MICROSECONDS):016d}"


def _day(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d") if moment else ""
