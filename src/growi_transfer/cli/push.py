"""`growi-transfer push`: send this wiki to the one that issued the key. The same key again goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from growi_transfer.cli.follow import Following
from growi_transfer.cli.inputs import KEY_ON_COMMAND_LINE, parse_size, read_key
from growi_transfer.cli.output import Output, count, size, table
from growi_transfer.cli.session import Pusher, Services, Session, session_of
from growi_transfer.protocol.errors import Blocked
from growi_transfer.protocol.machine import State
from growi_transfer.protocol.transfer_key import parse_key
from growi_transfer.pusher.options import PushOptions

__all__ = ["KEY_ON_COMMAND_LINE", "parse_size", "push"]
_DEFAULT = PushOptions()


def push(
    context: typer.Context,
    source: Annotated[
        list[str] | None,
        typer.Argument(metavar="-", hidden=True),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Go on under every warning, without asking.")] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option("--accept", metavar="CODE", help="Go on under this warning; may be repeated.", show_default=False),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what would move and what stands against it; send nothing.")
    ] = False,
    commit: Annotated[
        bool, typer.Option("--commit/--no-commit", help="Swap the data in when they are verified.")
    ] = True,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude-collection", metavar="NAME", help="Leave a collection out; may be repeated.", show_default=False
        ),
    ] = None,
    volumes: Annotated[
        int, typer.Option("--volumes", metavar="N", min=1, max=64, help="Database volumes in flight.")
    ] = _DEFAULT.volumes,
    attachments: Annotated[
        int, typer.Option("--attachments", metavar="N", min=1, max=64, help="Attachment requests in flight.")
    ] = _DEFAULT.attachments,
    bandwidth: Annotated[
        str | None,
        typer.Option(
            "--bandwidth", metavar="SIZE", help="At most so many bytes per second: 500K, 20M.", show_default=False
        ),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(
            "--patience",
            metavar="SECONDS",
            min=0,
            max=86400,
            help="How long either side may be away before the transfer stops; the same key goes on.",
        ),
    ] = _DEFAULT.patience,
    json: Annotated[bool, typer.Option("--json", help="One JSON value a line; the last one is the result.")] = False,
) -> None:
    """Send this wiki to the one that issued the transfer key.

    The key comes from standard input (`-`), from GROWI_TRANSFER_KEY, or is asked for; it is never taken from the
    command line. The same key again goes on with the same transfer.

    \b
    Examples:
      growi-transfer push                  ask for the key, then for consent
      growi-transfer push - < key.txt      read the key from a file
      growi-transfer push --plan           check and count, send nothing
      growi-transfer push --no-commit      stop when verified, before the swap
      growi-transfer push --yes --json     for scripts; the last line tells all
    """
    session = session_of(context)
    session.output.json = json
    options = PushOptions(
        volumes=volumes,
        attachments=attachments,
        bandwidth=parse_size(bandwidth) if bandwidth else None,
        exclude_collections=tuple(exclude or ()),
        accept_warnings=tuple(accept or ()),
        accept_all=yes,
        commit=commit,
        patience=patience,
    )
    settings = session.settings()
    given = settings.transfer_key.get_secret_value() if settings.transfer_key else None
    key = read_key(source or [], given)
    parse_key(key)
    session.with_services("pusher", lambda services: _Push(session, services, key, options).run(plan=plan), settings)


class _Push:
    def __init__(self, session: Session, services: Services, key: str, options: PushOptions) -> None:
        assert services.pusher is not None
        self._pusher: Pusher = services.pusher
        self._services = services
        self._output: Output = session.output
        self._key = key
        self._options = options

    async def run(self, *, plan: bool) -> None:
        report = await self._pusher.preflight(self._key, self._options)
        self._check(report, plan=plan)
        if plan:
            if self._output.json:
                self._output.last({"ok": True, "state": State.CHECKED, "plan": report})
            return
        transfer_id = await self._pusher.start(self._key, self._options)
        if not self._output.json:
            self._output.note(f"transfer {transfer_id}")
        following = Following(self._services, self._output, commit=self._options.commit)
        await following.to_the_end(transfer_id)

    def _check(self, report: Mapping[str, Any], *, plan: bool) -> None:
        """Show what the preflight found. Raises Blocked, for blockers and for warnings nobody accepts."""
        blockers, warnings = report.get("blockers", []), report.get("warnings", [])
        open_warnings = (
            []
            if self._options.accept_all
            else [warning for warning in warnings if warning["code"] not in self._options.accept_warnings]
        )
        if not self._output.json:
            for line in _told(report, plan=plan):
                self._output.note(line)
        found = {"blockers": blockers, "warnings": warnings}
        if blockers:
            raise Blocked("The transfer cannot be made: " + ", ".join(each["code"] for each in blockers), **found)
        if not open_warnings or plan:
            return
        codes = ", ".join(warning["code"] for warning in open_warnings)
        if self._output.json or not self._output.interactive:
            raise Blocked(f"Warnings need consent: {codes}. Accept with --accept CODE or --yes.", **found)
        if not typer.confirm("Go on under these warnings?", err=True):
            raise Blocked(f"Not accepted: {codes}", **found)
        accepted = (*self._options.accept_warnings, *(warning["code"] for warning in open_warnings))
        self._options = replace(self._options, accept_warnings=accepted)


def _told(report: Mapping[str, Any], *, plan: bool) -> Iterator[str]:
    """What a preflight found, for people."""
    counts: Mapping[str, int] = report.get("counts", {})
    if counts:
        collections = count(counts.get("collections", 0))
        yield f"documents    {_counted(counts, 'documents', 'document_bytes')}, in {collections} collections"
        yield f"attachments  {_counted(counts, 'attachments', 'attachment_bytes')}"
    if plan:
        rows = [[one["name"], count(one["documents"]), size(one["bytes"])] for one in report.get("collections", [])]
        yield from table(["COLLECTION", "DOCUMENTS", "SIZE"], rows) if rows else []
        for left in report.get("not_moving", []):
            yield f"stays: {left['name']} ({left['reason']})"
    for kind in ("blockers", "warnings"):
        for finding in report.get(kind, []):
            yield f"{kind[:-1]}: {finding['message']} ({finding['code']})"


def _counted(counts: Mapping[str, int], number: str, total: str) -> str:
    return f"{count(counts.get(number, 0))}, {size(counts.get(total, 0))}"
