"""How a job is shown: from its row, and from what runs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from growi_transfer.ledger.base import TransferRow
from growi_transfer.ledger.jobs import JobRow, JobState
from growi_transfer.protocol.job_shapes import Counter, JobFile, JobProgress, JobView, Webhook
from growi_transfer.protocol.machine import FINISHED, State
from growi_transfer.protocol.progress import Snapshot

_KEPT = ("percent", "progress", "errors", "errors_total", "tries", "result", "transfer_id", "started_at", "finished_at")
_AFTER_COPYING = {
    State.READY: 95,
    State.COMMITTING: 95,
    State.COMPLETED: 100,
    State.ROLLED_BACK: 100,
}


def view_of(row: JobRow, *, keep: timedelta | None = None, **live: Any) -> JobView:
    """The shape of a job. `keep`: how long files are kept; `live`: what is newer than the row."""
    facts = {**row.facts, **live}
    shown: dict[str, Any] = {name: facts[name] for name in _KEPT if name in facts}
    if row.state in (JobState.COMPLETED, JobState.EXPIRED):
        shown["percent"] = 100
    file = facts.get("file")
    if file is not None and row.state is JobState.COMPLETED:
        until = datetime.fromisoformat(facts["finished_at"]) + keep if keep is not None else None
        shown["file"] = JobFile(**file, expires_at=until.isoformat() if until else None)
    if facts.get("webhook"):
        shown["webhook"] = Webhook(**facts["webhook"])
    fixed = {
        "id": row.id,
        "type": row.kind.value,
        "state": row.state.value,
        "node": str(facts.get("node", "")),
        "created_at": row.created_at.isoformat(),
        "request": dict(row.request),
    }
    return JobView.model_validate({"percent": 0, **shown, **fixed}, strict=False)


def view_of_transfer(row: TransferRow, snapshot: Snapshot) -> JobView:
    """A transfer as a job."""
    done, total = snapshot.bytes_done, snapshot.bytes_total
    percent = _AFTER_COPYING.get(row.position.state, min(94, done * 94 // total) if total > 0 else 0)
    return JobView(
        id=row.id,
        type="transfer",
        state=row.position.state.value,
        percent=percent,
        created_at=row.created_at.isoformat(),
        finished_at=row.updated_at.isoformat() if row.position.state in FINISHED else None,
        request={"role": row.role.value, "dialect": snapshot.dialect},
        progress=JobProgress(
            documents=_counter(snapshot.documents_done, snapshot.documents_total),
            bytes=_counter(done, total),
            files=_counter(snapshot.files_done, snapshot.files_total),
        ),
        errors_total=snapshot.files_failed,
        transfer_id=row.id,
    )


def _counter(done: int, total: int) -> Counter:
    return Counter(done=done, total=max(done, total))
