"""A preflight's report for people: what moves, what stays behind and why, what stands against it, how long it takes.

Fits into 80 columns. Names come from a wiki, so nothing in them is taken for markup or for a terminal's commands.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from growi_transfer.cli.merge_options import conflict_lines
from growi_transfer.cli.output import clean, count, duration, size

_WIDTH = 100
"""Columns; wider lines are hard to read."""
_REASONS = {
    "operating_state": "state of the running server",
    "excluded": "excluded",
    "attachment_file_missing": "the source has no file",
    "name_illegal": "a name GROWI does not make",
    "file_without_attachment": "belongs to no attachment",
}
_FILES = {
    "excluded": "attachments below {paths}",
    "attachment_file_missing": "attachments without a file",
    "name_illegal": "attachments with odd names",
    "file_without_attachment": "files without an attachment",
}


def render(report: Mapping[str, Any], *, accepted: Collection[str], whole: bool, colour: bool) -> str:
    """The report as lines. `whole` shows the tables too; `accepted` are codes of warnings that need no consent."""
    width = min(_WIDTH, shutil.get_terminal_size().columns)
    # Tests, logs and pipes get the same lines as a terminal, without its colours.
    console = Console(file=io.StringIO(), width=width, force_terminal=colour, highlight=False, emoji=False)
    if whole:
        console.print(_moving(report))
        if report.get("not_moving") or report.get("files_not_moving"):
            console.print(_heading("stays behind"), _left(report), sep="\n")
        if report.get("merge_conflicts"):
            console.print(
                _heading("in each other's way"), *map(Text, conflict_lines(report["merge_conflicts"])), sep="\n"
            )
        console.print()
    for part in (*_totals(report), *_findings(report, accepted)):
        console.print(part)
    shown = console.file
    assert isinstance(shown, io.StringIO)
    return "\n".join(line.rstrip() for line in shown.getvalue().rstrip("\n").split("\n"))


def summary(facts: Mapping[str, Any]) -> Iterator[str]:
    """The plan and the consent that are kept with a transfer, as lines of `transfers show`."""
    plan: Mapping[str, Any] = facts.get("plan") or {}
    counts: Mapping[str, int] = plan.get("counts", {})
    if counts:
        documents = f"{count(counts['documents'])} documents ({size(counts['document_bytes'])})"
        files = f"{count(counts['attachments_moving'])} attachments ({size(counts['attachment_bytes'])})"
        seconds = plan.get("expected_seconds")
        about = "" if seconds is None else f", about {duration(seconds)}"
        yield f"{'planned':<13}{documents}, {files}{about}"
    for one in plan.get("not_moving", []):
        if one["reason"] == "excluded":
            yield f"{'stays':<13}{clean(one['name'])}: {count(one['documents'])} documents (excluded)"
    for one in plan.get("files_not_moving", []):
        why = _REASONS.get(one["reason"], one["reason"])
        yield f"{'stays':<13}{_what(one, plan)}: {count(one['files'])}, {size(one['bytes'])} ({why})"
    accepted = ", ".join(clean(one["code"]) for one in facts.get("accepted_warnings") or [])
    if accepted:
        yield f"{'accepted':<13}{accepted}"


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for name in columns:
        is_number = name in ("documents", "number", "size")
        table.add_column(name, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    return table


def _moving(report: Mapping[str, Any]) -> Table:
    table = _table("collection", "documents", "size", "kind")
    for one in report.get("collections", []):
        kind = "" if one.get("kind") == "collection" else one.get("kind", "")
        table.add_row(Text(clean(one["name"])), count(one["documents"]), size(one["bytes"]), kind)
    return table


def _left(report: Mapping[str, Any]) -> Table:
    table = _table("what", "number", "size", "why")
    for one in report.get("not_moving", []):
        number, bytes_ = one.get("documents", 0), one.get("bytes", 0)
        table.add_row(Text(clean(one["name"])), count(number), size(bytes_), _REASONS.get(one["reason"], one["reason"]))
    for one in report.get("files_not_moving", []):
        why = _REASONS.get(one["reason"], one["reason"])
        table.add_row(Text(_what(one, report)), count(one["files"]), size(one["bytes"]), why)
    return table


def _what(one: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    paths = ", ".join(report.get("excluded_paths", [])) or "excluded pages"
    return clean(_FILES.get(one["reason"], one["reason"]).format(paths=paths))


def _totals(report: Mapping[str, Any]) -> list[Text]:
    counts: Mapping[str, int] = report.get("counts", {})
    if not counts:
        return []
    collections = count(counts.get("collections", 0))
    documents = f"{count(counts.get('documents', 0))}, {size(counts.get('document_bytes', 0))}"
    files = counts.get("attachments_moving", counts.get("attachments", 0))
    of_all = f" of {count(counts['attachments'])}" if counts.get("attachments", files) != files else ""
    lines = [
        f"{'documents':<13}{documents}, in {collections} collections",
        f"{'attachments':<13}{count(files)}{of_all}, {size(counts.get('attachment_bytes', 0))}",
    ]
    rate, seconds = report.get("bytes_per_second"), report.get("expected_seconds")
    if rate and seconds is not None:
        lines.append(f"{'time':<13}about {duration(seconds)}; the line does {size(rate)}/s")
    return [Text(line) for line in lines]


def _findings(report: Mapping[str, Any], accepted: Collection[str]) -> list[RenderableType]:
    shown: list[RenderableType] = []
    for kind, style in (("blockers", "bold red"), ("warnings", "bold yellow")):
        found: Sequence[Mapping[str, Any]] = report.get(kind, [])
        for one in found:
            is_accepted = kind == "warnings" and one["code"] in accepted
            head = Text(f"{kind[:-1]} ", style="bold green" if is_accepted else style)
            head.append(clean(one["code"]), style="bold")
            head.append(" (accepted)" if is_accepted else "")
            shown += [Text(), head, Padding(Text(clean(one["message"])), (0, 0, 0, 2))]
    unaccepted = [one["code"] for one in report.get("warnings", []) if one["code"] not in accepted]
    if unaccepted and not report.get("blockers"):
        shown += [Text(), Text("go on under these warnings with --yes, or by name:")]
        shown += [Text(f"  --accept {clean(code)}") for code in unaccepted]
    return shown
