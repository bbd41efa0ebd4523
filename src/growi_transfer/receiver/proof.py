"""The proof: indexes are built, staging is read back, files are looked at, all of it compared with the source."""

from __future__ import annotations

from typing import Any

import structlog

from growi_transfer.ledger.base import ItemState, Ledger, Role
from growi_transfer.protocol.errors import TransferError, code_of
from growi_transfer.protocol.machine import Event, State
from growi_transfer.protocol.progress import Noted
from growi_transfer.protocol.wire import Verify
from growi_transfer.receiver.file_swap import FileSwap
from growi_transfer.receiver.importer import Difference, Importer
from growi_transfer.receiver.transfers import Transfers

_log = structlog.get_logger(__name__)


class Prover:
    """Proves transfers, one call for each."""

    def __init__(self, transfers: Transfers, ledger: Ledger, importer: Importer, files: FileSwap) -> None:
        self._transfers = transfers
        self._ledger = ledger
        self._importer = importer
        self._files = files

    async def run(self, transfer_id: str, expected: Verify) -> None:
        """Prove one transfer, from wherever it is. The outcome or the error stands in the facts `verify` and `error`;
        the state becomes `ready`, or `copying` when a difference was found."""
        await self._transfers.note(transfer_id, {"verify": None, "error": None})
        try:
            state = (await self._transfers.get(transfer_id)).position.state
            if state is State.COPYING:
                state = (await self._transfers.step(transfer_id, Event.COPIED)).state
            if state is State.RECONCILING:
                await self._transfers.step(transfer_id, Event.RECONCILED)
            started = self._transfers.clock()
            await self._importer.build_indexes(transfer_id)
            if (await self._transfers.get(transfer_id)).position.state is State.INDEXING:
                await self._transfers.step(transfer_id, Event.INDEXED)
            indexed = self._transfers.clock()
            differences = await self._importer.compare(transfer_id, expected.collections)
            lost = await self._files.missing(transfer_id)
            seconds = (self._transfers.clock() - indexed).total_seconds()
            totals = await self._ledger.file_totals(Role.RECEIVER, transfer_id)
            stored = sum(totals[state].rows for state in (ItemState.STORED, ItemState.VERIFIED) if state in totals)
            if not differences and not lost and stored < expected.files:
                differences.append(Difference("attachments", "files"))
            outcome = {
                "ok": not differences and not lost,
                "differences": [difference.to_json() for difference in differences],
                "files_missing": lost[:1000],
                "files_missing_total": len(lost),
                "index_seconds": (indexed - started).total_seconds(),
                "verify_seconds": seconds,
            }
            if outcome["ok"]:
                await self._ledger.mark_verified(Role.RECEIVER, transfer_id)
            await self._transfers.note(transfer_id, {"verify": outcome})
            self._transfers.board.apply(Role.RECEIVER, transfer_id, _told(outcome))
            if outcome["ok"]:
                await self._transfers.step(transfer_id, Event.VERIFIED)
            else:
                await self._importer.drop_indexes(transfer_id)
                await self._transfers.step(transfer_id, Event.DIFFERENCE_FOUND)
        except TransferError as error:
            _log.warning("verify_failed", transfer=transfer_id, code=code_of(error))
            await self._transfers.note(transfer_id, {"error": {"code": code_of(error), "message": error.message}})
        except Exception as error:  # noqa: BLE001 (told below, and logged whole)
            # Without an outcome the source would ask for ever.
            _log.exception("verify_failed_unexpectedly", transfer=transfer_id)
            noted = {"code": code_of(error), "message": "The verification could not be made; the log says why."}
            await self._transfers.note(transfer_id, {"error": noted})


def _told(outcome: dict[str, Any]) -> Noted:
    """The outcome for the transfer's log."""
    seconds = f"{outcome['index_seconds']:.1f} s for indexes, {outcome['verify_seconds']:.1f} s to read back"
    if outcome["ok"]:
        return Noted("verified", f"Everything was read back and is equal ({seconds}).")
    found = [f"{one['what']} of {one['collection']}" for one in outcome["differences"]]
    if outcome["files_missing_total"]:
        found.append(f"{outcome['files_missing_total']} files are missing")
    details = {"differences": len(outcome["differences"]), "files_missing": outcome["files_missing_total"]}
    return Noted("difference_found", f"A difference was found: {', '.join(found)}.", details, "warning")
