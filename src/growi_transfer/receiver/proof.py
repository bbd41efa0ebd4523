"""The proof: indexes are built, staging is read back, files are looked at, all of it compared with the source."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog

from growi_transfer.ledger.base import Ledger, Role
from growi_transfer.protocol.errors import TransferError, code_of
from growi_transfer.protocol.machine import Event, State
from growi_transfer.protocol.progress import Noted
from growi_transfer.protocol.wire import REPORTED, Verify
from growi_transfer.receiver.file_proof import FileProof, FilesSeen
from growi_transfer.receiver.in_flight import InFlight
from growi_transfer.receiver.receipts import Receipts
from growi_transfer.receiver.staging_proof import Difference, StagingProof
from growi_transfer.receiver.transfers import Transfers
from growi_transfer.receiver.uploads import Uploads

_NAMED = 20
"""Differences that a line of the log names."""
_log = structlog.get_logger(__name__)


class Prover:
    """Proves transfers, one call for each."""

    def __init__(
        self,
        transfers: Transfers,
        ledger: Ledger,
        staging: StagingProof,
        files: FileProof,
        receipts: Receipts,
        uploads: Uploads,
        in_flight: InFlight,
    ) -> None:
        self._transfers = transfers
        self._ledger = ledger
        self._staging = staging
        self._files = files
        self._receipts = receipts
        self._uploads = uploads
        self._in_flight = in_flight

    async def run(self, transfer_id: str, expected: Verify) -> None:
        """Prove one transfer, from wherever it is. The outcome or the error stands in the facts `verify` and `error`;
        the state becomes `ready`, or `copying` when a difference was found."""
        report = expected.report.model_dump(mode="json")
        await self._transfers.note(transfer_id, {"verify": None, "error": None, "report": report})
        try:
            await self._prove(transfer_id, expected)
        except TransferError as error:
            _log.warning("verify_failed", transfer=transfer_id, code=code_of(error))
            await self._transfers.note(transfer_id, {"error": {"code": code_of(error), "message": error.message}})
        except Exception as error:  # noqa: BLE001 (told below, and logged whole)
            # Without an outcome the source would ask for ever.
            _log.exception("verify_failed_unexpectedly", transfer=transfer_id)
            noted = {"code": code_of(error), "message": "The verification could not be made; the log says why."}
            await self._transfers.note(transfer_id, {"error": noted})

    async def _prove(self, transfer_id: str, expected: Verify) -> None:
        state = await self._transfers.state(transfer_id)
        if state is State.COPYING:
            state = (await self._transfers.step(transfer_id, Event.COPIED)).state
        if state is State.RECONCILING:
            await self._transfers.step(transfer_id, Event.RECONCILED)
        # From here on a request that writes goes back to copying and ends this. One that was let in before, and that
        # nobody waits for any more, must not write behind the reading.
        self._uploads.end_all(transfer_id)
        await self._in_flight.drained(transfer_id)
        started = self._transfers.clock()
        await self._staging.build_indexes(transfer_id)
        if await self._transfers.state(transfer_id) is State.INDEXING:
            await self._transfers.step(transfer_id, Event.INDEXED)
        indexed = self._transfers.clock()
        differences = await self._staging.compare(transfer_id, expected.collections)
        deep = await self._deep_reading(transfer_id, indexed) if expected.deep else ""
        seen = await self._files.look(transfer_id, deep=deep)
        if not differences and not seen.total and seen.stored < expected.files:
            differences.append(Difference("attachments", "files"))
        outcome = self._outcome(differences, seen, expected.deep, started, indexed)
        self._transfers.board.apply(Role.RECEIVER, transfer_id, _told(outcome))
        await self._settle(transfer_id, outcome, differences, seen)

    def _outcome(
        self,
        differences: Sequence[Difference],
        seen: FilesSeen,
        deep: bool,
        started: datetime,
        indexed: datetime,
    ) -> dict[str, Any]:
        now = self._transfers.clock()
        return {
            "ok": not differences and not seen.total,
            "deep": deep,
            "differences": [difference.to_json() for difference in differences[:REPORTED]],
            "differences_total": len(differences),
            "files_missing": seen.lost,
            "files_missing_total": seen.total,
            "index_seconds": (indexed - started).total_seconds(),
            "verify_seconds": (now - indexed).total_seconds(),
            "verified_at": now.isoformat(),
        }

    async def _settle(
        self, transfer_id: str, outcome: dict[str, Any], differences: Sequence[Difference], seen: FilesSeen
    ) -> None:
        if outcome["ok"]:
            await self._ledger.mark_verified(Role.RECEIVER, transfer_id)
            # Whoever asks for another proof gets one: nothing of this one is taken for granted then.
            await self._staging.forget(transfer_id)
            await self._transfers.note(transfer_id, {"verify": outcome, "deep_reading": None})
            await self._receipts.make(transfer_id, "ready")
            # Parts of large files that came before a restart were counted by the process that ended.
            await self._transfers.recount(transfer_id)
            await self._transfers.step(transfer_id, Event.VERIFIED)
            return
        row = await self._transfers.get(transfer_id)
        found = [{"collection": one.collection, "what": one.what, "ranges": one.ranges_total} for one in differences]
        if seen.total:
            found.append({"collection": "attachments", "what": "files", "files": seen.total})
        known = [*row.facts.get("differences", ()), *({**one, "found_at": outcome["verified_at"]} for one in found)]
        await self._transfers.note(transfer_id, {"verify": outcome, "differences": known[-REPORTED:]})
        await self._staging.drop_indexes(transfer_id)
        await self._transfers.recount(transfer_id)
        await self._transfers.step(transfer_id, Event.DIFFERENCE_FOUND)

    async def _deep_reading(self, transfer_id: str, now: datetime) -> str:
        """The name of the reading of the storage that is under way; a new one when none is."""
        name = (await self._transfers.get(transfer_id)).facts.get("deep_reading")
        if not name:
            name = now.isoformat()
            await self._transfers.note(transfer_id, {"deep_reading": name})
        return str(name)


def _told(outcome: dict[str, Any]) -> Noted:
    """The outcome for the transfer's log."""
    seconds = f"{outcome['index_seconds']:.1f} s for indexes, {outcome['verify_seconds']:.1f} s to read back"
    if outcome["ok"]:
        details = {name: round(outcome[name], 1) for name in ("index_seconds", "verify_seconds")}
        return Noted("verified", f"Everything was read back and is equal ({seconds}).", details)
    found = [f"{one['what']} of {one['collection']}" for one in outcome["differences"]]
    if outcome["files_missing_total"]:
        found.append(f"{outcome['files_missing_total']} files are missing, cut or damaged")
    details = {
        "differences": outcome["differences_total"],
        "files_missing": outcome["files_missing_total"],
        "found": [{"what": one["what"], "collection": one["collection"]} for one in outcome["differences"][:_NAMED]],
    }
    return Noted("difference_found", f"A difference was found: {', '.join(found)[:2000]}.", details, "warning")
