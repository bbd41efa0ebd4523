"""Receipts at the source: what only this side knows for them, and the look at them before they are signed here too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import orjson
import structlog

from growi_transfer.ledger.base import ItemState, Ledger, Role, TransferRow
from growi_transfer.protocol.digest import combine
from growi_transfer.protocol.errors import ReceiptInvalid, ReceiptNotFound, TransferError, VerificationFailed, code_of
from growi_transfer.protocol.machine import State
from growi_transfer.protocol.receipt import CounterSignature, Receipt, Signer, packed, read_receipt, without_fractions
from growi_transfer.protocol.wire import REPORTED, FileFault, SourceReport
from growi_transfer.pusher.peer import Peer

_log = structlog.get_logger(__name__)
_HAS_RECEIPT = (State.READY, State.COMMITTING, State.COMPLETED, State.ROLLED_BACK)

PeerContext: TypeAlias = AbstractAsyncContextManager[Peer]
Attempt: TypeAlias = Callable[[Callable[[], Awaitable[dict[str, Any]]]], Awaitable[dict[str, Any]]]
"""Makes a request, perhaps several times."""


async def _once(request: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    return await request()


class Receipts:
    """Takes receipts over from the destination. `origin`: this instance's own address, if it has one."""

    def __init__(self, ledger: Ledger, signer: Signer, *, origin: str, software: str) -> None:
        self._ledger = ledger
        self._signer = signer
        self._origin = origin
        self._software = software

    async def report(self, row: TransferRow, seconds: Mapping[str, float]) -> SourceReport:
        """For the destination's receipt. `seconds` by phase."""
        skipped, skipped_files = await self._faults(row.id, ItemState.SKIPPED)
        failed, failed_files = await self._faults(row.id, ItemState.FAILED)
        return SourceReport.model_validate_json(
            orjson.dumps(
                {
                    "software": self._software,
                    "origin": self._origin,
                    "accepted_warnings": without_fractions(row.facts.get("accepted_warnings", ()))[:REPORTED],
                    "skipped": [one.model_dump() for one in skipped],
                    "skipped_files": skipped_files,
                    "failed": [one.model_dump() for one in failed],
                    "failed_files": failed_files,
                    "begun_at": row.created_at.isoformat(),
                    "documents_ms": round(1000 * seconds.get("mongo", 0.0)),
                    "attachments_ms": round(1000 * seconds.get("attachments", 0.0)),
                }
            )
        )

    async def _faults(self, transfer_id: str, state: ItemState) -> tuple[list[FileFault], int]:
        totals = await self._ledger.file_totals(Role.PUSHER, transfer_id)
        found: list[FileFault] = []
        if totals[state].rows:
            async for row in self._ledger.files(Role.PUSHER, transfer_id, state):
                item = (row.path or row.attachment_id)[:2000]
                found.append(FileFault(item=item, reason=row.reason[:2000], bytes=row.size))
                if len(found) == REPORTED:
                    break
        return found, totals[state].rows

    async def held(self, transfer_id: str) -> Receipt | None:
        """The newest version that is kept here."""
        last = await self._ledger.last_receipt(Role.PUSHER, transfer_id)
        return await asyncio.to_thread(read_receipt, last[1], packed=True) if last is not None else None

    async def newest(self, row: TransferRow, peer_of: Callable[[TransferRow], PeerContext]) -> Receipt:
        """What the destination has now; else what is kept here. Raises ReceiptNotFound when there is neither.

        The destination can make a newer version without asking: its admin may commit and roll back there.
        """
        if row.position.state not in _HAS_RECEIPT:
            raise ReceiptNotFound()
        try:
            if row.facts.get("purged_at"):
                raise ReceiptNotFound()  # nothing is left to compare a newer one with
            async with peer_of(row) as peer:
                return await self.take(row, peer, _once)
        except VerificationFailed:
            raise
        except TransferError as error:
            _log.info("receipt_not_fetched", transfer=row.id, code=code_of(error))
        held = await self.held(row.id)
        if held is None:
            raise ReceiptNotFound()
        return held

    async def take(self, row: TransferRow, peer: Peer, retry: Attempt) -> Receipt:
        """Fetch the destination's receipt, compare it with what was sent, sign it, keep it, and give the mark back.

        Raises VerificationFailed when it speaks of another transfer or of other data, and the peer's errors.
        """
        answer = await retry(lambda: peer.receipt(row.id))
        try:
            receipt = await asyncio.to_thread(read_receipt, orjson.dumps(answer))
        except ReceiptInvalid as error:
            raise VerificationFailed(f"The destination's receipt cannot be read. {error.message}") from None
        await self._check(row, receipt)
        mark = await asyncio.to_thread(self._signer.sign, receipt.receipt, "pusher")
        signed = receipt.signed(mark)
        body = await asyncio.to_thread(packed, signed)
        await self._ledger.put_receipt(Role.PUSHER, row.id, signed.receipt.version, body)
        given = CounterSignature(version=receipt.receipt.version, signature=mark)
        await retry(lambda: peer.countersign(row.id, given))
        return signed

    async def _check(self, row: TransferRow, receipt: Receipt) -> None:
        told = receipt.receipt
        sent: dict[str, tuple[int, str]] = {}
        for one in await self._ledger.collections(Role.PUSHER, row.id):
            held = [held async for held in self._ledger.ranges(Role.PUSHER, row.id, one.number)]
            sent[one.name] = sum(part.documents for part in held), combine(part.digest for part in held).hex()
        if told.transfer != row.id or told.source.instance_id != row.setup["source"]["instance_id"]:
            raise VerificationFailed("The destination's receipt is that of another transfer.")
        wrong = {one.name for one in told.collections if sent.pop(one.name, None) != (one.documents, one.digest)}
        if wrong or sent:
            named = sorted({*wrong, *sent})[:10]
            raise VerificationFailed("The destination's receipt does not say what was sent.", collections=named)
