"""Progress for whoever looks: bars on a terminal, plain lines in a log, one JSON value a line for a program.

All three read the same snapshots. Bars and lines go to standard error, so that results can be piped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from growi_transfer.cli.output import Output, clean, count, duration, size
from growi_transfer.cli.plan import summary
from growi_transfer.ledger.base import LogRow
from growi_transfer.protocol.machine import FINISHED, RUNNING, State
from growi_transfer.protocol.progress import Snapshot
from growi_transfer.protocol.shape import eta_seconds, to_json

LINE_SECONDS = 5.0
"""The shortest time between two plain lines of one state."""

_WORDS = {
    State.CREATED: "preparing",
    State.CHECKED: "checked",
    State.RECONCILING: "comparing with the source",
    State.INDEXING: "building indexes",
    State.READY: "verified, not committed",
    State.ROLLED_BACK: "rolled back",
}


class Reporter(Protocol):
    def show(self, snapshot: Snapshot) -> None: ...

    def close(self) -> None: ...


def reporter(output: Output) -> Reporter:
    """The one that fits where the output goes."""
    if output.json:
        return JsonLines(output)
    return Bars() if sys.stderr.isatty() else PlainLines(output)


class JsonLines:
    def __init__(self, output: Output) -> None:
        self._output = output

    def show(self, snapshot: Snapshot) -> None:
        self._output.value(to_json(snapshot))

    def close(self) -> None:
        pass


class _Warnings:
    """Warnings that come up on the way, such as that the destination is away: each is told when it comes."""

    def __init__(self) -> None:
        self._present: frozenset[str] | None = None

    def fresh(self, snapshot: Snapshot) -> list[str]:
        """Lines for what was not there in the last snapshot. Those of the first one were shown by the preflight."""
        before = self._present
        self._present = frozenset(one.code for one in snapshot.warnings)
        if before is None:
            return []
        return [clean(f"warning: {one.message} ({one.code})") for one in snapshot.warnings if one.code not in before]


class PlainLines:
    """One line for each new state, and one every few seconds in between."""

    def __init__(self, output: Output, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._clock = clock
        self._state: State | None = None
        self._next = 0.0
        self._warnings = _Warnings()

    def show(self, snapshot: Snapshot) -> None:
        for line in self._warnings.fresh(snapshot):
            self._output.note(line)
        now = self._clock()
        if snapshot.position.state is self._state and now < self._next:
            return
        self._state = snapshot.position.state
        self._next = now + LINE_SECONDS
        self._output.note(one_line(snapshot))

    def close(self) -> None:
        pass


class Bars:
    """Three bars that stay on the screen when they are done. Fits in 80 columns."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(bar_width=14),
            TextColumn("{task.fields[text]}"),
            console=console or Console(stderr=True),
            refresh_per_second=8,
        )
        self._tasks: dict[str, TaskID] = {}
        self._state: State | None = None
        self._warnings = _Warnings()

    def show(self, snapshot: Snapshot) -> None:
        if not self._tasks:
            self._progress.start()
            self._tasks = {
                name: self._progress.add_task(name, text="") for name in ("documents", "attachments", "bytes")
            }
        if snapshot.position.state is not self._state:
            self._state = snapshot.position.state
            self._progress.console.print(word(self._state), highlight=False)
        for line in self._warnings.fresh(snapshot):
            self._progress.console.print(line, highlight=False, markup=False, emoji=False)
        files = snapshot.files_done + snapshot.files_skipped
        self._bar(
            "documents",
            snapshot.documents_done,
            snapshot.documents_total,
            of(snapshot.documents_done, snapshot.documents_total),
        )
        failed = f", {count(snapshot.files_failed)} failed" if snapshot.files_failed else ""
        self._bar("attachments", files, snapshot.files_total, of(files, snapshot.files_total) + failed)
        self._bar("bytes", snapshot.bytes_done, snapshot.bytes_total, _speed(snapshot))

    def _bar(self, name: str, done: int, total: int, text: str) -> None:
        self._progress.update(self._tasks[name], completed=done, total=total or None, text=text)

    def close(self) -> None:
        self._progress.stop()


def word(state: State) -> str:
    """A state in plain words."""
    return _WORDS.get(state, state.value)


def of(done: int, total: int) -> str:
    return f"{count(done)} of {count(total)}"


def one_line(snapshot: Snapshot) -> str:
    """A snapshot as one line of a log."""
    parts = [
        word(snapshot.position.state),
        f"documents {of(snapshot.documents_done, snapshot.documents_total)}",
        f"attachments {of(snapshot.files_done + snapshot.files_skipped, snapshot.files_total)}",
        f"{size(snapshot.bytes_done)} of {size(snapshot.bytes_total)}",
    ]
    if snapshot.files_failed:
        parts.append(f"{count(snapshot.files_failed)} failed")
    return ", ".join(parts)


def _behind(lag: Mapping[str, Any]) -> Iterable[str]:
    """How far the destination is behind, and whether a commit can be ordered."""
    as_of = _moment(lag["as_of"]) if lag["as_of"] else "the last time two readings agreed"
    yield f"equals       the source as of {as_of}" + (", and goes on following it" if lag["following"] else "")
    if lag["documents"]:
        yield f"differed     {count(lag['documents'])} documents, {size(lag['bytes'])} sent, in the last pass"
    yield f"commit       {'possible now' if lag['commit_possible'] else 'not possible now: ' + str(lag['reason'])}"


def details(shape: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterable[str]:
    """The lines of `transfers show`. `shape` is the public shape of a transfer."""
    documents, files, bytes_ = shape["documents"], shape["files"], shape["bytes"]
    yield f"transfer     {shape['id']}"
    yield f"role         {shape['role']}"
    interrupted = ", interrupted: nobody runs it" if shape.get("interrupted") else ""
    yield f"state        {shape['state'].replace('_', ' ')}{interrupted}"
    yield f"documents    {of(documents['done'], documents['total'])}"
    yield f"attachments  {of(files['done'] + files['skipped'], files['total'])}"
    if files["failed"] or files["skipped"]:
        yield f"             {count(files['failed'])} failed, {count(files['skipped'])} skipped"
    yield f"bytes        {size(bytes_['done'])} of {size(bytes_['total'])}, {size(bytes_['wire'])} over the line"
    yield from summary(facts)
    activity = shape.get("activity")
    if activity and shape["state"] in RUNNING:
        for name in ("volumes", "attachments"):
            lane = activity[name]
            waiting = f", {count(lane['waiting'])} waiting" if lane["waiting"] else ""
            yield f"in flight    {name}: {lane['in_flight']} of at most {lane['limit']}{waiting}"
    if activity and activity["retries"]:
        yield f"tried again  {', '.join(f'{count(n)} x {code}' for code, n in sorted(activity['retries'].items()))}"
    if shape.get("lag") and shape["state"] not in FINISHED:
        yield from _behind(shape["lag"])
    if shape.get("created_at"):
        yield f"begun        {_moment(shape['created_at'])}"
    if shape.get("rollback_until"):
        yield f"kept until   {_moment(shape['rollback_until'])}, for a rollback"
        for former in (facts.get("told") or {}).get("kept", ()):
            yield f"             {former['collection']} as {former['kept_as']}"
    error = facts.get("error")
    if error:
        yield clean(f"error        {error.get('message', '')} ({error.get('code', '')})")
    for warning in shape["warnings"]:
        yield clean(f"warning      {warning['message']} ({warning['code']})")
    for failure in shape["failures"]:
        yield clean(f"failed       {failure['kind']} {failure['item']}: {failure['message']} ({failure['code']})")


def log_line(row: LogRow) -> str:
    """One line of a transfer's log."""
    return f"{row.at.astimezone(UTC).strftime('%Y-%m-%d %H:%M:%S')}  {row.level:<7}  {clean(row.message)}"


def _moment(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _speed(snapshot: Snapshot) -> str:
    text = f"{size(snapshot.bytes_done)} of {size(snapshot.bytes_total)}"
    if snapshot.bytes_per_second > 0:
        text += f", {size(snapshot.bytes_per_second)}/s"
        left = eta_seconds(snapshot)
        if left:
            text += f", {duration(left)} left"
    return text
