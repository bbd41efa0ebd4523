"""The demo's course: two wikis, two servers, a key, a push, and the comparison that judges it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from growi_transfer.demo.compare import Expected, Former, compare, remember
from growi_transfer.demo.damage import DAMAGES
from growi_transfer.demo.destination import make_destination
from growi_transfer.demo.findings import Comparison
from growi_transfer.demo.servers import PASSWORD_SEED, Pair
from growi_transfer.demo.timeline import Timeline
from growi_transfer.demo.told import rewrites_of
from growi_transfer.demo.wiki import WikiCounts, WikiSize, make_wiki
from growi_transfer.protocol.errors import PeerUnavailable, TransferError
from growi_transfer.protocol.transfer_key import parse_key

ENDS = ("completed", "failed", "paused", "cancelled", "rolled_back")


@dataclass(frozen=True, slots=True)
class Pushed:
    """A transfer at its end, as both servers tell it."""

    transfer_id: str
    shape: Mapping[str, Any]
    held: Mapping[str, Any]
    """What the receiver holds: how verification went, what was rewritten."""
    timeline: Timeline
    peak_rss_mib: Mapping[str, float | None]
    """Of each server process since it started."""

    @property
    def verify_seconds(self) -> float:
        """Reading staging back, as the receiver timed it. The pusher is told of the end of both, so that its states
        do not part the building of indexes from it."""
        return float((self.held.get("verify") or {}).get("verify_seconds", 0.0))

    @property
    def mongo_seconds(self) -> float:
        """Copying documents, comparing with the source again, building indexes."""
        return self.timeline.document_seconds + self._after_copying()

    @property
    def copy_seconds(self) -> float:
        """From the request until all is stored and indexed: everything before reading back."""
        return self.timeline.in_state("created", "checked", "copying") + self._after_copying()

    def _after_copying(self) -> float:
        return max(0.0, self.timeline.in_state("reconciling", "indexing", "verifying") - self.verify_seconds)


def fill(pair: Pair, size: WikiSize) -> tuple[WikiCounts, Former]:
    """Generate both wikis; tells what the source has, and what the destination had before."""
    counts = make_wiki(pair.source.mongod.uri, pair.source.uploads, size, password_seed=PASSWORD_SEED)
    make_destination(pair.destination.mongod.uri, pair.destination.uploads, seed=size.seed, password_seed=PASSWORD_SEED)
    return counts, remember(pair.destination.side)


def push(pair: Pair, show: Callable[[Mapping[str, Any]], None], **options: Any) -> Pushed:
    """Move the wiki: a key by HTTP, the request, and every change of state until the end. `options`: those of the
    body of `POST transfer`. Raises TransferError when it does not end as completed."""
    source, destination = pair.source.server, pair.destination.server
    key = destination.client.post("/generate-key")["transferKey"]
    timeline = Timeline(time.monotonic())
    body = {"transferKey": key, "options": {"accept_all_warnings": True, **options}}
    transfer_id = source.client.post("/transfer", body)["transferId"]
    shape: Mapping[str, Any] = {}
    for event in source.client.events(f"/transfers/{transfer_id}/events"):
        if "transfer" not in event:
            continue
        shape = event["transfer"]
        timeline.observe(shape, time.monotonic())
        show(shape)
        if shape["state"] in ENDS:
            break
    if not shape or shape["state"] not in ENDS:
        raise PeerUnavailable(f"The event stream ended early. The end of {source.log}:\n{source.log_end()}")
    if shape["state"] != "completed":
        reasons = "; ".join(f"{failure['item']}: {failure['message']}" for failure in shape["failures"][:3])
        ends = "\n".join(f"The end of {server.log}:\n{server.log_end()}" for server in (source, destination))
        raise TransferError(f"The transfer ended as {shape['state']}. {reasons}\n{ends}")
    token = parse_key(key).token
    held = destination.client.get(f"/transfers/{transfer_id}", key=token)["held"]
    peaks = {"pusher": source.peak_rss_mib(), "receiver": destination.peak_rss_mib()}
    return Pushed(transfer_id, shape, held, timeline, peaks)


def judge(pair: Pair, pushed: Pushed, former: Former, damages: Sequence[str] = ()) -> Comparison:
    """Compare both wikis. `damages`: names in DAMAGES, done to the destination first."""
    for damage in damages:
        DAMAGES[damage](pair.destination.side)
    expected = Expected(former, rewrites_of(pushed.held.get("told") or {}, former))
    return compare(pair.source.side, pair.destination.side, expected)


def result_of(pushed: Pushed, comparison: Comparison) -> dict[str, Any]:
    """The one line of `--json`."""
    return {
        "ok": comparison.identical,
        "documents": comparison.documents,
        "document_bytes": comparison.document_bytes,
        "attachments": comparison.attachments,
        "attachment_bytes": comparison.attachment_bytes,
        "seconds": round(pushed.timeline.seconds, 3),
        "mongo_seconds": round(pushed.mongo_seconds, 3),
        "attachment_seconds": round(pushed.timeline.attachment_seconds, 3),
        "verify_seconds": round(pushed.verify_seconds, 3),
        "verified": {
            "collections": comparison.collections,
            "indexes": comparison.indexes,
            "attachments": comparison.attachments,
            "mismatches": comparison.mismatch_count,
        },
        "peak_rss_mib": dict(pushed.peak_rss_mib),
    }
