"""`growi-transfer push`: send this wiki to the one that issued the key. The same key again goes on where it stopped."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from growi_transfer.cli.commit_order import how, orders_taken
from growi_transfer.cli.follow import Following, error_shape
from growi_transfer.cli.inputs import KEY_ON_COMMAND_LINE, parse_paths, parse_size, read_key
from growi_transfer.cli.merge_options import merge_rules
from growi_transfer.cli.output import Output
from growi_transfer.cli.plan import render
from growi_transfer.cli.plan_file import (
    check_destination,
    check_new_file,
    options_from,
    read_plan_file,
    save_plan,
    write_plan,
)
from growi_transfer.cli.session import Pusher, Services, Session, UsageFault, session_of
from growi_transfer.protocol.errors import Blocked
from growi_transfer.protocol.machine import State
from growi_transfer.protocol.transfer_key import parse_key
from growi_transfer.pusher.options import PushOptions

__all__ = ["KEY_ON_COMMAND_LINE", "parse_size", "push"]
_USUAL = PushOptions()


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
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="With --plan: write the plan to a new file.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Push by this plan.", show_default=False)
    ] = None,
    commit: Annotated[
        bool | None,
        typer.Option("--commit/--no-commit", help="Swap the data in when they are verified.  [default: commit]"),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on catching up with the source until a commit is ordered.")
    ] = False,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Set this wiki's maintenance mode for the last pass and the commit.")
    ] = False,
    attachments_first: Annotated[
        bool, typer.Option("--attachments-first", help="Send the files before the documents, not at the same time.")
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude-collection", metavar="NAME", help="Leave a collection out; may be repeated.", show_default=False
        ),
    ] = None,
    exclude_path: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude-path",
            metavar="PATTERN",
            help="Leave the attachments of these pages out; may be repeated.",
            show_default=False,
        ),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Put this wiki beside what the destination has, instead of replacing it.")
    ] = False,
    on_conflict: Annotated[
        list[str] | None,
        typer.Option(
            "--on-conflict",
            metavar="KIND=WAY",
            help="How a merge resolves conflicts of a kind, such as pages=rename; may be repeated.",
            show_default=False,
        ),
    ] = None,
    substitute: Annotated[
        str | None,
        typer.Option(
            "--substitute", metavar="NAME", help="Who takes the place of users that are skipped.", show_default=False
        ),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Have every stored file read again and hashed before it counts as verified.")
    ] = False,
    volumes: Annotated[
        int | None,
        typer.Option(
            "--volumes",
            metavar="N",
            min=1,
            max=32,
            help="Database volumes in flight; left out, the number adapts.",
            show_default=False,
        ),
    ] = None,
    attachments: Annotated[
        int | None,
        typer.Option(
            "--attachments",
            metavar="N",
            min=1,
            max=64,
            help="Attachment requests in flight; left out, the number adapts.",
            show_default=False,
        ),
    ] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option(
            "--bandwidth", metavar="SIZE", help="At most so many bytes per second: 500K, 20M.", show_default=False
        ),
    ] = None,
    patience: Annotated[
        float | None,
        typer.Option(
            "--patience",
            metavar="SECONDS",
            min=0,
            max=86400,
            help="How long either side may be away before the transfer stops; the same key goes on."
            f"  [default: {_USUAL.patience:g}]",
            show_default=False,
        ),
    ] = None,
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
      growi-transfer push --plan --save plan.toml
      growi-transfer push --config plan.toml
      growi-transfer push --exclude-path /trash --exclude-path '/user/*/drafts'
      growi-transfer push --no-commit      stop when verified, before the swap
      growi-transfer push --merge --plan   what a merge would have to resolve
      growi-transfer push --follow --freeze    catch up until told to commit
      growi-transfer push --yes --json     for scripts; the last line tells all
    """
    session = session_of(context)
    session.output.json = json
    if save is not None:
        check_new_file(save, plan=plan)
    planned = read_plan_file(config) if config is not None else None
    options = options_from(
        {
            "volumes": volumes,
            "attachments": attachments,
            "bandwidth": parse_size(bandwidth) if bandwidth is not None else None,
            "exclude_collections": tuple(exclude) if exclude else None,
            "exclude_paths": parse_paths(exclude_path) if exclude_path else None,
            "accept_warnings": tuple(accept) if accept else None,
            "accept_all": yes or None,
            "deep": deep or None,
            "commit": commit,
            "follow": follow or None,
            "freeze": freeze or None,
            "attachments_first": attachments_first or None,
            "patience": patience,
            "merge": merge_rules(merge, on_conflict or (), substitute, planned.merge if planned is not None else None),
        },
        planned,
    )
    if options.follow and not options.commit:
        raise UsageFault("--follow ends with a commit that is ordered; --no-commit does not go with it.")
    settings = session.settings()
    given = settings.transfer_key.get_secret_value() if settings.transfer_key else None
    key = read_key(source or [], given)
    check_destination(parse_key(key).origin, planned)
    session.with_services(
        "pusher", lambda services: _Push(session, services, key, options).run(plan=plan, save=save), settings
    )


class _Push:
    def __init__(self, session: Session, services: Services, key: str, options: PushOptions) -> None:
        assert services.pusher is not None
        self._pusher: Pusher = services.pusher
        self._services = services
        self._output: Output = session.output
        self._key = key
        self._options = options

    async def run(self, *, plan: bool, save: Path | None) -> None:
        report = await self._pusher.preflight(self._key, self._options)
        if save is not None:
            save_plan(save, write_plan(report, self._options, parse_key(self._key).origin))
        self._check(report, plan=plan)
        if plan:
            if self._output.json:
                self._output.last({"ok": True, "state": State.CHECKED, "plan": report})
            elif save is not None:
                self._output.note(f"saved in {save}; run it with: growi-transfer push --config {save}")
            return
        transfer_id = await self._pusher.start(self._key, self._options)
        if not self._output.json:
            self._output.note(f"transfer {transfer_id}")
        following = Following(self._services, self._output, commit=self._options.commit)
        if not self._options.follow:
            await following.to_the_end(transfer_id)
            return
        if not self._output.json:
            for line in how(transfer_id):
                self._output.note(line)
        with orders_taken(self._output, lambda: self._pusher.commit(transfer_id)):
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
            agreed = [one["code"] for one in warnings if one not in open_warnings]
            stream = sys.stdout if plan else sys.stderr
            shown = render(report, accepted=agreed, whole=plan, colour=stream.isatty())
            if shown:
                self._output.shown(shown, result=plan)
        found = {"blockers": blockers, "warnings": warnings}
        if blockers:
            problem = Blocked("The transfer cannot be made: " + ", ".join(each["code"] for each in blockers), **found)
            if plan and self._output.json:
                error = {**error_shape(problem), "details": found}
                self._output.last({"ok": False, "state": State.CHECKED, "plan": report, "error": error})
            raise problem
        if not open_warnings or plan:
            return
        codes = ", ".join(warning["code"] for warning in open_warnings)
        if self._output.json or not self._output.interactive:
            raise Blocked(f"Warnings need consent: {codes}. Accept with --accept CODE or --yes.", **found)
        if not typer.confirm("Go on under these warnings?", err=True):
            raise Blocked(f"Not accepted: {codes}", **found)
        accepted = (*self._options.accept_warnings, *(warning["code"] for warning in open_warnings))
        self._options = replace(self._options, accept_warnings=accepted)
