"""Progress: frozen events in, one frozen snapshot out. The same shape goes to HTTP, SSE, Socket.IO and `--json`.

Events carry facts, never texts for a screen and never a secret. `apply` is pure; whoever holds the snapshot applies
events in one place and hands the new value to its watchers.

What is done is counted by additions, so that many senders can report at once; an addition is negative when something
that was counted no longer is (it is sent again, or the other side has lost it). After a restart, and whenever the
ledger has been summed up, `Recounted` puts the sums in their place: the ledger is right, a snapshot may be a second
old.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from growi_transfer.protocol.lag import Lag
from growi_transfer.protocol.machine import RUNNING, Position

FAILURES_SHOWN = 100
"""Failures kept in the snapshot; the ledger has all, and `files.failed` counts all."""
SENDING_SHOWN = 24
"""Things on their way that a snapshot names."""
ETA_LIMIT = 10 * 365 * 86400
"""Seconds; what would take longer stands still."""


@dataclass(frozen=True, slots=True)
class Failure:
    item: str
    kind: str
    """`range` or `file`."""
    code: str
    message: str
    tries: int
    retryable: bool


@dataclass(frozen=True, slots=True)
class Notice:
    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lane:
    """Requests of one kind, at one moment."""

    in_flight: int = 0
    limit: int = 0
    """How many may be in flight."""
    waiting: int = 0
    """How many wait for a place."""


@dataclass(frozen=True, slots=True)
class Sending:
    """Something that is on its way."""

    kind: str
    """`volume`, `bundle` or `file`."""
    item: str
    """The name of the collection, or the path of the (first) file."""
    count: int
    """Documents of a volume, files of a bundle."""
    bytes: int
    done: int = 0
    """Bytes that are durable over there; known of single files."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What the sending process is at."""

    volumes: Lane = Lane()
    attachments: Lane = Lane()
    retries: Mapping[str, int] = field(default_factory=dict)
    """How often something was tried again in this run, by the code of the error."""
    sending: tuple[Sending, ...] = ()
    """What is on its way; at most `SENDING_SHOWN`, the oldest."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a watcher sees of one transfer. Counts are of documents, bytes of raw BSON plus file bytes, files;
    `bytes_wire` is what went over the line; rates are per second over the last seconds."""

    id: str
    role: str
    dialect: str = "native"
    position: Position = Position()
    documents_done: int = 0
    documents_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_wire: int = 0
    files_done: int = 0
    files_total: int = 0
    files_failed: int = 0
    files_skipped: int = 0
    bytes_per_second: float = 0.0
    files_per_second: float = 0.0
    documents_per_second: float = 0.0
    failures: tuple[Failure, ...] = ()
    warnings: tuple[Notice, ...] = ()
    activity: Activity | None = None
    """None: it is not measured (at the receiver, or before it began)."""
    lag: Lag | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    position: Position


@dataclass(frozen=True, slots=True)
class Planned:
    """New totals; None leaves one as it is."""

    documents: int | None = None
    bytes: int | None = None
    files: int | None = None


@dataclass(frozen=True, slots=True)
class DocumentsStored:
    """What was added. A range that replaces one stored before counts with the differences."""

    documents: int
    bytes: int
    wire: int


@dataclass(frozen=True, slots=True)
class FilesStored:
    files: int
    bytes: int
    wire: int


@dataclass(frozen=True, slots=True)
class FileBytesStored:
    """A part of a large file is durable at the other side; the file itself is not done. Negative: it was lost there."""

    bytes: int
    wire: int


@dataclass(frozen=True, slots=True)
class FilesSkipped:
    files: int
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Recounted:
    """What the ledger says is done, in place of what was counted; None leaves one as it is."""

    documents: int | None = None
    bytes: int | None = None
    files: int | None = None
    files_failed: int | None = None
    files_skipped: int | None = None


@dataclass(frozen=True, slots=True)
class ItemFailed:
    """An item that was not failed before has failed, or one of the failures shown has failed again."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class ItemRecovered:
    """An item that had failed is no longer failed."""

    item: str
    kind: str


@dataclass(frozen=True, slots=True)
class WarningRaised:
    warning: Notice


@dataclass(frozen=True, slots=True)
class WarningLifted:
    """What a warning told is no longer so."""

    code: str


@dataclass(frozen=True, slots=True)
class LagMeasured:
    """The source was read, and the destination has what was found."""

    lag: Lag


@dataclass(frozen=True, slots=True)
class RateMeasured:
    bytes_per_second: float
    files_per_second: float
    documents_per_second: float


@dataclass(frozen=True, slots=True)
class ActivityMeasured:
    activity: Activity


@dataclass(frozen=True, slots=True)
class Noted:
    """Something for the transfer's log that changes nothing in the snapshot. `message` is for people."""

    name: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    level: str = "info"
    """`info`, `warning` or `error`."""


ProgressEvent = (
    Moved
    | Planned
    | DocumentsStored
    | FilesStored
    | FileBytesStored
    | FilesSkipped
    | Recounted
    | ItemFailed
    | ItemRecovered
    | WarningRaised
    | WarningLifted
    | LagMeasured
    | RateMeasured
    | ActivityMeasured
    | Noted
)


def apply(snapshot: Snapshot, event: ProgressEvent) -> Snapshot:
    """The snapshot after an event. Counts of what is done never fall below zero."""
    match event:
        case Moved(position):
            moved = replace(snapshot, position=position)
            return moved if position.state in RUNNING else resting(moved)
        case Planned(documents, size, files):
            return replace(
                snapshot,
                documents_total=_or(documents, snapshot.documents_total),
                bytes_total=_or(size, snapshot.bytes_total),
                files_total=_or(files, snapshot.files_total),
            )
        case DocumentsStored(documents, size, wire):
            return replace(
                snapshot,
                documents_done=max(0, snapshot.documents_done + documents),
                bytes_done=max(0, snapshot.bytes_done + size),
                bytes_wire=max(0, snapshot.bytes_wire + wire),
            )
        case FilesStored(files, size, wire):
            return replace(
                snapshot,
                files_done=max(0, snapshot.files_done + files),
                bytes_done=max(0, snapshot.bytes_done + size),
                bytes_wire=max(0, snapshot.bytes_wire + wire),
            )
        case FileBytesStored(size, wire):
            return replace(
                snapshot,
                bytes_done=max(0, snapshot.bytes_done + size),
                bytes_wire=max(0, snapshot.bytes_wire + wire),
            )
        case FilesSkipped(files, size):
            return replace(
                snapshot,
                files_skipped=max(0, snapshot.files_skipped + files),
                bytes_total=max(0, snapshot.bytes_total - size),
            )
        case Recounted(documents, size, files, files_failed, files_skipped):
            failed = _or(files_failed, snapshot.files_failed)
            return replace(
                snapshot,
                documents_done=_or(documents, snapshot.documents_done),
                bytes_done=_or(size, snapshot.bytes_done),
                files_done=_or(files, snapshot.files_done),
                files_failed=failed,
                files_skipped=_or(files_skipped, snapshot.files_skipped),
                failures=_without_stale_files(snapshot.failures, failed),
            )
        case ItemFailed(failure):
            others = _others(snapshot.failures, failure.item, failure.kind)
            fresh = failure.kind == "file" and len(others) == len(snapshot.failures)
            return replace(
                snapshot,
                failures=(*others, failure)[-FAILURES_SHOWN:],
                files_failed=snapshot.files_failed + fresh,
            )
        case ItemRecovered(item, kind):
            others = _others(snapshot.failures, item, kind)
            # One that is not shown had failed only if there are failures that are not shown.
            had_failed = len(others) < len(snapshot.failures) or _files(others) < snapshot.files_failed
            return replace(
                snapshot,
                failures=others,
                files_failed=snapshot.files_failed - (kind == "file" and had_failed),
            )
        case WarningRaised(warning):
            return replace(
                snapshot,
                warnings=(*(known for known in snapshot.warnings if known.code != warning.code), warning),
            )
        case WarningLifted(code):
            return replace(snapshot, warnings=tuple(known for known in snapshot.warnings if known.code != code))
        case LagMeasured(lag):
            return replace(snapshot, lag=lag)
        case RateMeasured(size_rate, files_rate, documents_rate):
            return replace(
                snapshot,
                bytes_per_second=size_rate,
                files_per_second=files_rate,
                documents_per_second=documents_rate,
            )
        case ActivityMeasured(activity):
            return replace(snapshot, activity=activity)
        case Noted():
            return snapshot


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def resting(snapshot: Snapshot) -> Snapshot:
    """The same while nothing moves: no rates, nothing in flight."""
    activity = snapshot.activity and replace(
        snapshot.activity,
        volumes=Lane(limit=snapshot.activity.volumes.limit),
        attachments=Lane(limit=snapshot.activity.attachments.limit),
        sending=(),
    )
    return replace(snapshot, bytes_per_second=0.0, files_per_second=0.0, documents_per_second=0.0, activity=activity)


def _others(failures: tuple[Failure, ...], item: str, kind: str) -> tuple[Failure, ...]:
    return tuple(known for known in failures if (known.item, known.kind) != (item, kind))


def _files(failures: tuple[Failure, ...]) -> int:
    return sum(known.kind == "file" for known in failures)


def _without_stale_files(failures: tuple[Failure, ...], files_failed: int) -> tuple[Failure, ...]:
    """Drop the oldest failures of files that are more than there can be."""
    stale = _files(failures) - files_failed
    kept = []
    for failure in failures:
        if failure.kind == "file" and stale > 0:
            stale -= 1
        else:
            kept.append(failure)
    return tuple(kept)
