"""`growi-transfer transfers <verb> ID`: what can be done with a transfer. Whoever has it does it; see `jobs.orders`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from growi_transfer.cli.follow import Following
from growi_transfer.cli.inputs import KEY_ON_COMMAND_LINE, parse_size, read_new_key
from growi_transfer.cli.output import size
from growi_transfer.cli.session import Pusher, Services, Session, UsageFault, find_transfer, session_of
from growi_transfer.cli.steps import act, at_destination, at_source, begin, begun, confirm, either, followed, tell
from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.protocol.errors import KeyNotKept

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the transfer, or its first digits.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one value a line.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def resume(
    context: typer.Context,
    transfer: Id,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="-", help="Read a new key from standard input.", show_default=False),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            "--accept",
            metavar="CODE",
            help="Leave files behind that failed by this code; may be repeated.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Go on with a transfer that is paused, failed or was interrupted.

    What is stored is not sent again. The kept key is used; when it has ended, ask the destination for a new one, and
    give it by `--key -` or in GROWI_TRANSFER_KEY. Shows progress to the end, like `push`.

    \b
    Examples:
      growi-transfer transfers resume 1f3a
      growi-transfer transfers resume 1f3a --key - < key.txt
      growi-transfer transfers resume 1f3a --accept file_not_found
      growi-transfer transfers resume 1f3a --json | tail -n 1
    """
    session = session_of(context)
    session.output.json = json
    if key not in (None, "-"):
        raise UsageFault(KEY_ON_COMMAND_LINE)
    given = read_new_key(session, asked=key is not None)

    async def work(services: Services, pusher: Pusher, row: TransferRow) -> None:
        new = given
        if accept:
            await pusher.leave_behind(row.id, accept)
        while True:
            try:
                if new is not None:
                    await pusher.take_key(row.id, new)
                await begin(session, services, pusher, row, "proceed")
            except KeyNotKept:
                if new is not None or not session.output.interactive:
                    raise
                new = read_new_key(session, asked=True)
            else:
                return

    followed(session, transfer, work)


def retry(context: typer.Context, transfer: Id, json: Json = False) -> None:
    """Send again only what failed, and look again at what was skipped.

    \b
    Examples:
      growi-transfer transfers retry 1f3a
    """
    begun(context, transfer, json, "retry")


def pause(context: typer.Context, transfer: Id, json: Json = False) -> None:
    """Stop sending. What arrived stays there; `resume` goes on.

    The transfer may run in the server or in another command: it is told, and that command ends with exit code 4.

    \b
    Examples:
      growi-transfer transfers pause 1f3a
    """
    act(context, transfer, json, at_source("pause"))


def cancel(context: typer.Context, transfer: Id, yes: Yes = False, json: Json = False) -> None:
    """End a transfer that is not committed. The destination stays as it was.

    \b
    Examples:
      growi-transfer transfers cancel 1f3a
    """
    confirm(context, yes, "Cancel this transfer? What was copied so far is thrown away.")
    act(context, transfer, json, either("cancel", epoch=None))


def tune(
    context: typer.Context,
    transfer: Id,
    volumes: Annotated[
        str | None,
        typer.Option("--volumes", metavar="N", help="Database volumes in flight; or auto.", show_default=False),
    ] = None,
    attachments: Annotated[
        str | None,
        typer.Option("--attachments", metavar="N", help="Attachment requests in flight; or auto.", show_default=False),
    ] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option("--bandwidth", metavar="SIZE", help="Bytes per second: 500K, 20M; or none.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Change how fast a transfer goes, while it runs too.

    \b
    Examples:
      growi-transfer transfers tune 1f3a --volumes 6
      growi-transfer transfers tune 1f3a --volumes auto    adapt it to the line
      growi-transfer transfers tune 1f3a --bandwidth 5M
      growi-transfer transfers tune 1f3a --bandwidth none
    """
    changes: dict[str, Any] = {}
    if volumes is not None:
        changes["volumes"] = _number("--volumes", volumes, 32)
    if attachments is not None:
        changes["attachments"] = _number("--attachments", attachments, 64)
    if bandwidth is not None:
        changes["bandwidth"] = None if bandwidth.lower() == "none" else parse_size(bandwidth)
    if not changes:
        raise UsageFault("Say what to change: --volumes, --attachments or --bandwidth.")

    def told(row: TransferRow, _: dict[str, Any]) -> str:
        rate = changes.get("bandwidth")
        shown = {**changes, **({"bandwidth": f"{size(rate)}/s" if rate else "none"} if "bandwidth" in changes else {})}
        words = (f"{name} {'auto' if value is None else value}" for name, value in shown.items())
        return f"{row.id[:12]}: {', '.join(words)}."

    act(context, transfer, json, at_source("tune", **changes), told)


def _number(option: str, text: str, most: int) -> int | None:
    """How many requests in flight; None adapts. Raises UsageFault."""
    if text.lower() == "auto":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= most):
        raise UsageFault(f"{option} is a number from 1 to {most}, or auto.")
    return int(text)


def verify(
    context: typer.Context,
    transfer: Id,
    deep: Annotated[bool, typer.Option("--deep", help="Read every stored file again there, and hash it.")] = False,
    json: Json = False,
) -> None:
    """Read the source again, send what differs, and prove a ready transfer once more. Does not commit.

    \b
    Examples:
      growi-transfer transfers verify 1f3a
      growi-transfer transfers verify 1f3a --deep
    """
    begun(context, transfer, json, "verify", commit=False, **({"deep": True} if deep else {}))


def commit(context: typer.Context, transfer: Id, json: Json = False) -> None:
    """Swap in what was verified. The former data are kept for a rollback.

    One that follows its source (`push --follow`) makes a last pass first.

    \b
    Examples:
      growi-transfer transfers commit 1f3a
    """
    session = session_of(context)
    session.output.json = json

    async def work(services: Services) -> tuple[TransferRow, dict[str, Any] | None]:
        row = await find_transfer(services.ledger, transfer)
        if row.role is Role.RECEIVER:
            return row, await at_destination(session, services, row, "commit", {"epoch": None})
        assert services.pusher is not None
        following = Following(services, session.output, commit=True)
        await begin(session, services, services.pusher, row, "commit")
        await following.to_the_end(row.id)
        return row, None

    row, answer = session.with_services("both", work)
    if answer is not None:
        tell(session, row, answer)


def rollback(context: typer.Context, transfer: Id, yes: Yes = False, json: Json = False) -> None:
    """Bring back what a commit replaced. What was written since then is lost.

    \b
    Examples:
      growi-transfer transfers rollback 1f3a
    """
    confirm(context, yes, "Bring back the former data? What was written since the commit is lost.")
    act(context, transfer, json, either("rollback", epoch=None))


def release(context: typer.Context, transfer: Id, json: Json = False) -> None:
    """End the maintenance mode that a commit leaves on.

    At the destination always; at the source when it was pushed with `--freeze`.

    \b
    Examples:
      growi-transfer transfers release 1f3a
    """

    async def action(session: Session, services: Services, row: TransferRow) -> dict[str, Any]:
        if row.role is not Role.RECEIVER:
            assert services.pusher is not None
            return await services.pusher.release(row.id)
        return await at_destination(session, services, row, "release_maintenance", {})

    act(context, transfer, json, action, lambda row, _: f"The maintenance mode of {row.id[:12]} has ended.")


def purge(
    context: typer.Context,
    transfer: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Id of the transfer, or its first digits.", show_default=False),
    ] = None,
    expired: Annotated[bool, typer.Option("--all-expired", help="Every transfer whose retention is over.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Remove what a finished transfer keeps. After this there is no way back.

    At the destination these are the former collections and files; on both sides the rows of ranges and files. The
    server does it by itself when the retention is over (GROWI_TRANSFER_RETENTION_DAYS).

    \b
    Examples:
      growi-transfer transfers purge 1f3a
      growi-transfer transfers purge --all-expired
    """
    if (transfer is None) is not expired:
        raise UsageFault("Give the ID of one transfer, or --all-expired.")
    if transfer is not None:
        confirm(context, yes, "Remove what is kept of this transfer? It cannot be rolled back afterwards.")
        act(context, transfer, json, either("purge"), lambda row, _: f"{row.id[:12]} is purged.")
        return
    session = session_of(context)
    session.output.json = json
    retention = timedelta(days=session.settings().retention_days)

    async def work(services: Services) -> list[str]:
        assert services.receiver is not None
        assert services.pusher is not None
        return [
            *await services.receiver.purge_expired(retention),
            *await services.pusher.purge_expired(retention),
        ]

    purged = session.with_services("both", work)
    if json:
        session.output.last({"purged": purged})
    else:
        session.output.result("\n".join(f"{one[:12]} is purged." for one in purged) or "Nothing has expired.")


COMMANDS = (resume, retry, pause, cancel, tune, verify, commit, rollback, release, purge)
