"""The end of a push: one JSON line for scripts, a few lines for people, and the error it ended with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from growi_transfer.cli.merge_options import merged_lines
from growi_transfer.cli.output import count, duration, size
from growi_transfer.protocol.errors import StateConflict, Superseded, TransferError, recalled
from growi_transfer.protocol.machine import FINISHED, State
from growi_transfer.protocol.progress import Snapshot


def last_line(
    transfer_id: str,
    snapshot: Snapshot | None,
    facts: Mapping[str, Any],
    *,
    ok: bool,
    seconds: float,
    pusher_peak_rss_mib: float | None,
) -> dict[str, Any]:
    """The result as `demo` and `push` print it. What the transfer's receipt does not say is told from the snapshot, or
    is None: nothing is guessed."""
    receipt: Mapping[str, Any] = facts.get("receipt") or {}
    verified: Mapping[str, Any] = receipt.get("verified") or {}
    peak: Mapping[str, Any] = receipt.get("peak_rss_mib") or {}
    return {
        "ok": ok,
        "documents": receipt.get("documents", snapshot.documents_done if snapshot else 0),
        "document_bytes": receipt.get("document_bytes"),
        "attachments": receipt.get("attachments", snapshot.files_done if snapshot else 0),
        "attachment_bytes": receipt.get("attachment_bytes"),
        "seconds": round(receipt.get("seconds", seconds), 3),
        **{name: _rounded(receipt.get(name)) for name in ("mongo_seconds", "attachment_seconds", "verify_seconds")},
        "verified": {name: verified.get(name) for name in ("collections", "indexes", "attachments", "mismatches")},
        "peak_rss_mib": {"pusher": peak.get("pusher", pusher_peak_rss_mib), "receiver": peak.get("receiver")},
        "freeze_seconds": (facts.get("freeze") or {}).get("seconds"),
        **({"merge": merged} if (merged := (facts.get("told") or {}).get("merge")) else {}),
        "transfer_id": transfer_id,
        "state": snapshot.position.state.value if snapshot else State.CREATED.value,
    }


def summary(line: Mapping[str, Any], *, committed: bool) -> Iterable[str]:
    """The same for people."""
    did = "Verified and committed" if committed else "Verified, and not committed"
    yield f"{did} in {duration(line['seconds'])}."
    yield f"  documents    {count(line['documents'])}{_bytes(line['document_bytes'])}"
    yield f"  attachments  {count(line['attachments'])}{_bytes(line['attachment_bytes'])}"
    verified = line["verified"]
    if verified["mismatches"] is not None:
        told = (
            f"{count(verified[name])} {name}" for name in ("collections", "indexes", "attachments") if verified[name]
        )
        yield f"  read back    {', '.join(told)}: {count(verified['mismatches'])} mismatches"
    if committed and line.get("freeze_seconds") is not None:
        yield f"The source was frozen for {duration(line['freeze_seconds'])}, and stays in maintenance mode."
        yield f"  to open it again, there: growi-transfer transfers release {line['transfer_id'][:8]}"
    yield from (f"  {text}" for text in merged_lines(line.get("merge") or {}))
    if committed and line.get("merge"):
        yield "At the destination: rebuild the search index, and end the maintenance mode if you began one."
    elif committed:
        yield "At the destination, in this order:"
        yield "  restart GROWI, which caches its settings"
        yield "  rebuild the search index"
        yield f"  end the maintenance mode: growi-transfer transfers release {line['transfer_id'][:8]}"
    else:
        yield f"Swap it in with: growi-transfer transfers commit {line['transfer_id'][:8]}"


def failure_of(state: State | None, facts: Mapping[str, Any]) -> TransferError:
    """The error that a run ended with, as it was noted in the transfer's row."""
    noted: Mapping[str, Any] = facts.get("error") or {}
    if state in FINISHED:
        return StateConflict(f"The transfer was {state.value.replace('_', ' ')} by somebody else.", state=state.value)
    if not noted and state is not State.FAILED:
        return Superseded("Another process has taken this transfer over. See `growi-transfer transfers watch`.")
    code = noted.get("code", TransferError.code)
    message = noted.get("message") or "The transfer failed for a reason that was not noted."
    return recalled(code, message, retryable=bool(noted.get("retryable")))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _bytes(number: int | None) -> str:
    return "" if number is None else f"  {size(number)}"
