"""The one public shape of a transfer, as JSON and back: HTTP, SSE, Socket.IO, `--json` and the ledger all have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from growi_transfer.protocol import lag as lags
from growi_transfer.protocol.machine import Position, State, growi_statuses
from growi_transfer.protocol.progress import ETA_LIMIT, Activity, Failure, Lane, Notice, Sending, Snapshot


def eta_seconds(snapshot: Snapshot) -> int | None:
    """Whole seconds until all bytes are over, at the present rate; None when nobody can know."""
    if snapshot.position.state in (State.READY, State.COMMITTING, State.COMPLETED, State.ROLLED_BACK):
        return 0
    left = snapshot.bytes_total - snapshot.bytes_done
    rate = round(snapshot.bytes_per_second, 1)
    if left < 0 or rate <= 0 or left > rate * ETA_LIMIT:
        return None
    return round(left / rate)


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """The one public shape of a transfer."""
    mongo, attachments = growi_statuses(
        snapshot.position,
        files_done=snapshot.files_done + snapshot.files_skipped,
        files_total=snapshot.files_total,
        files_failed=snapshot.files_failed,
    )
    size = _amounts(snapshot.bytes_done, snapshot.bytes_total)
    return {
        "id": snapshot.id,
        "role": snapshot.role,
        "dialect": snapshot.dialect,
        "state": snapshot.position.state.value,
        "mongo": mongo.value,
        "attachments": attachments.value,
        "documents": _amounts(snapshot.documents_done, snapshot.documents_total),
        "bytes": {**size, "wire": snapshot.bytes_wire},
        "files": {
            "done": snapshot.files_done,
            "total": snapshot.files_total,
            "failed": snapshot.files_failed,
            "skipped": snapshot.files_skipped,
        },
        "rate": {
            "bytes_per_second": round(snapshot.bytes_per_second, 1),
            "files_per_second": round(snapshot.files_per_second, 1),
            "documents_per_second": round(snapshot.documents_per_second, 1),
        },
        "eta_seconds": eta_seconds(replace(snapshot, bytes_total=size["total"])),
        "failures": [
            {
                "item": failure.item,
                "kind": failure.kind,
                "code": failure.code,
                "message": failure.message,
                "tries": failure.tries,
                "retryable": failure.retryable,
            }
            for failure in snapshot.failures
        ],
        "warnings": [
            {
                "code": warning.code,
                "message": warning.message,
                **({"details": dict(warning.details)} if warning.details else {}),
            }
            for warning in snapshot.warnings
        ],
        "activity": _activity_json(snapshot.activity) if snapshot.activity else None,
        "lag": lags.to_json(snapshot.lag, snapshot.position),
    }


def _activity_json(activity: Activity) -> dict[str, Any]:
    lanes = {"volumes": activity.volumes, "attachments": activity.attachments}
    return {
        **{
            name: {"in_flight": lane.in_flight, "limit": lane.limit, "waiting": lane.waiting}
            for name, lane in lanes.items()
        },
        "retries": dict(activity.retries),
        "sending": [
            {"kind": one.kind, "item": one.item, "count": one.count, "bytes": one.bytes, "done": one.done}
            for one in activity.sending
        ],
    }


def _activity(value: Mapping[str, Any] | None) -> Activity | None:
    if value is None:
        return None
    volumes, attachments = (
        Lane(lane["in_flight"], lane["limit"], lane["waiting"]) for lane in (value["volumes"], value["attachments"])
    )
    sending = tuple(
        Sending(one["kind"], one["item"], one["count"], one["bytes"], one["done"]) for one in value.get("sending", ())
    )
    return Activity(volumes, attachments, dict(value["retries"]), sending)


def _amounts(done: int, total: int) -> dict[str, int]:
    """A wiki in use has more in the end than was counted at the beginning."""
    return {"done": done, "total": max(done, total)}


def from_json(value: Mapping[str, Any], position: Position | None = None) -> Snapshot:
    """The snapshot that `to_json` gave. Fields that are not known are ignored.

    `came_from` is not part of the shape: whoever goes on with a transfer gives the position from the ledger.
    """
    documents, size, files, rate = value["documents"], value["bytes"], value["files"], value["rate"]
    return Snapshot(
        id=value["id"],
        role=value["role"],
        dialect=value["dialect"],
        position=position or Position(State(value["state"])),
        documents_done=documents["done"],
        documents_total=documents["total"],
        bytes_done=size["done"],
        bytes_total=size["total"],
        bytes_wire=size["wire"],
        files_done=files["done"],
        files_total=files["total"],
        files_failed=files["failed"],
        files_skipped=files["skipped"],
        bytes_per_second=rate["bytes_per_second"],
        files_per_second=rate["files_per_second"],
        documents_per_second=rate["documents_per_second"],
        failures=tuple(
            Failure(one["item"], one["kind"], one["code"], one["message"], one["tries"], one["retryable"])
            for one in value["failures"]
        ),
        warnings=tuple(Notice(one["code"], one["message"], one.get("details", {})) for one in value["warnings"]),
        activity=_activity(value.get("activity")),
        lag=lags.from_json(value.get("lag")),
    )
