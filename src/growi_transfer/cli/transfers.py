"""`growi-transfer transfers`: what was begun here, on either side, and what can be done with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Annotated, Any

import typer

from growi_transfer.cli.output import table
from growi_transfer.cli.render import details, of, reporter
from growi_transfer.cli.result import failure_of
from growi_transfer.cli.session import Services, UsageFault, find_transfer, session_of
from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.ledger.board import snapshot_of
from growi_transfer.protocol.machine import FINISHED, State
from growi_transfer.protocol.progress import Snapshot, to_json

app = typer.Typer(
    no_args_is_help=True,
    help="See and steer this wiki's transfers, on either side.",
)
LOOK_SECONDS = 0.5
"""Between two looks at a transfer that another process runs; the ledger is not written more often."""
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the transfer, or its first digits.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one value a line.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list")
def list_transfers(context: typer.Context, json: Json = False) -> None:
    """List transfers, newest first.

    \b
    Examples:
      growi-transfer transfers list
      growi-transfer transfers list --json
    """
    session = session_of(context)
    session.output.json = json

    async def work(services: Services) -> list[tuple[TransferRow, dict[str, Any]]]:
        rows = await services.ledger.list_transfers()
        return [(row, shape_of(services, row)) for row in rows]

    found = session.with_services("both", work)
    if json:
        session.output.last({"transfers": [shape for _, shape in found]})
        return
    cells = [
        [
            row.id[:12],
            row.role.value,
            shape["state"],
            of(shape["documents"]["done"], shape["documents"]["total"]),
            of(shape["files"]["done"], shape["files"]["total"]),
            row.created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M"),
        ]
        for row, shape in found
    ]
    head = ["ID", "ROLE", "STATE", "DOCUMENTS", "ATTACHMENTS", "BEGUN (UTC)"]
    for line in table(head, cells) if cells else ["There are no transfers."]:
        session.output.result(line)


@app.command()
def show(context: typer.Context, transfer: Id, json: Json = False) -> None:
    """Show one transfer: state, counts, warnings and failures.

    \b
    Examples:
      growi-transfer transfers show 1f3a
    """
    session = session_of(context)
    session.output.json = json

    async def work(services: Services) -> tuple[TransferRow, dict[str, Any]]:
        row = await find_transfer(services.ledger, transfer)
        return row, shape_of(services, row)

    row, shape = session.with_services("both", work)
    if json:
        session.output.last({"transfer": shape})
        return
    for line in details(shape, row.facts):
        session.output.result(line)


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
                snapshot = snapshot_of(row)
                if snapshot != last:
                    shown.show(snapshot)
                    last = snapshot
                if row.position.state in (*FINISHED, State.FAILED, State.PAUSED):
                    return row.position.state
                await asyncio.sleep(LOOK_SECONDS)
                row = await services.ledger.get_transfer(row.role, row.id) or row
        finally:
            shown.close()

    state = session.with_services("both", work)
    if not json:
        session.output.result(state.value)


@app.command()
def cancel(context: typer.Context, transfer: Id, yes: Yes = False, json: Json = False) -> None:
    """End a transfer that is not committed. The destination stays as it was.

    \b
    Examples:
      growi-transfer transfers cancel 1f3a
    """
    _confirm(context, yes, "Cancel this transfer? What was copied so far is thrown away.")
    _act(context, transfer, json, _cancel)


@app.command()
def commit(context: typer.Context, transfer: Id, json: Json = False) -> None:
    """Swap in what was verified. The former data are kept for a rollback.

    \b
    Examples:
      growi-transfer transfers commit 1f3a
    """
    _act(context, transfer, json, _commit)


@app.command()
def rollback(context: typer.Context, transfer: Id, yes: Yes = False, json: Json = False) -> None:
    """Bring back what a commit replaced. What was written since then is lost.

    \b
    Examples:
      growi-transfer transfers rollback 1f3a
    """
    _confirm(context, yes, "Bring back the former data? What was written since the commit is lost.")
    _act(context, transfer, json, _rollback)


@app.command()
def release(context: typer.Context, transfer: Id, json: Json = False) -> None:
    """At the destination: end the maintenance mode that a commit leaves on.

    \b
    Examples:
      growi-transfer transfers release 1f3a
    """
    _act(context, transfer, json, _release)


def shape_of(services: Services, row: TransferRow) -> dict[str, Any]:
    """The public shape of a transfer, as of now or as it was last saved."""
    return to_json(services.board.snapshot(row.role, row.id) or snapshot_of(row))


def _confirm(context: typer.Context, yes: bool, question: str) -> None:
    session = session_of(context)
    if yes:
        return
    if not session.output.interactive:
        raise UsageFault("This needs --yes where nobody can be asked.")
    typer.confirm(question, abort=True, err=True)


Action = Callable[[Services, TransferRow], Awaitable[dict[str, Any]]]


def _act(context: typer.Context, transfer: str, json: bool, action: Action) -> None:
    session = session_of(context)
    session.output.json = json

    async def work(services: Services) -> tuple[TransferRow, dict[str, Any]]:
        row = await find_transfer(services.ledger, transfer)
        return row, await action(services, row)

    row, answer = session.with_services("both", work)
    if json:
        session.output.last(answer)
    else:
        session.output.result(f"{row.id[:12]} is {answer['transfer']['state']}.")


async def _cancel(services: Services, row: TransferRow) -> dict[str, Any]:
    if row.role is Role.RECEIVER and services.receiver is not None:
        return await services.receiver.cancel(row.id, epoch=None)
    assert services.pusher is not None
    return await services.pusher.cancel(row.id)


async def _commit(services: Services, row: TransferRow) -> dict[str, Any]:
    if row.role is Role.RECEIVER and services.receiver is not None:
        return await services.receiver.commit(row.id, epoch=None)
    assert services.pusher is not None
    await services.pusher.commit(row.id)
    # The commit runs in this process, and must not end with the command.
    await services.pusher.runner.wait(row.id)
    done = await find_transfer(services.ledger, row.id)
    if done.position.state is not State.COMPLETED:
        raise failure_of(done.position.state, done.facts)
    return {"transfer": shape_of(services, done)}


async def _rollback(services: Services, row: TransferRow) -> dict[str, Any]:
    if row.role is Role.RECEIVER and services.receiver is not None:
        return await services.receiver.rollback(row.id, epoch=None)
    assert services.pusher is not None
    return await services.pusher.rollback(row.id)


async def _release(services: Services, row: TransferRow) -> dict[str, Any]:
    assert services.receiver is not None
    return await services.receiver.release_maintenance(row.id)
