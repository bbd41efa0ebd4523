"""Receipts at the destination: made of what was verified, signed, kept in the ledger, countersigned by the source."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from growi_transfer.ledger.base import CollectionRow, Ledger, Role, TransferRow
from growi_transfer.mongo.client import Database
from growi_transfer.mongo.collections import collection_size, from_metadata, uuids
from growi_transfer.mongo.definition import definition_of
from growi_transfer.mongo.ranges import batch_documents, digest_collection
from growi_transfer.protocol.digest import EMPTY, combine, files_digest
from growi_transfer.protocol.errors import ReceiptNotFound, StateConflict
from growi_transfer.protocol.machine import State
from growi_transfer.protocol.receipt import (
    AfterCommit,
    AttachmentsReceipt,
    CollectionReceipt,
    CounterSignature,
    FoundDifference,
    Receipt,
    Rewrite,
    SetUpReceipt,
    Side,
    Signer,
    Statement,
    Times,
    canonical,
    packed,
    read_receipt,
    without_fractions,
)
from growi_transfer.protocol.wire import AcceptedWarning, SourceReport
from growi_transfer.receiver.file_rows import is_stored, pages
from growi_transfer.receiver.merge.copy import live_metadata
from growi_transfer.receiver.transfers import Transfers

Made = Literal["ready", "completed", "rolled_back"]
_HAS_RECEIPT = (State.READY, State.COMMITTING, State.COMPLETED, State.ROLLED_BACK)
_OWN_SETUP = ("preset", "excluded_collections", "with_attachments", "source", "protocol", "upload_settings")
"""Parts of a set-up that stand elsewhere in a receipt, or may hold credentials (the settings)."""


class Receipts:
    """One receipt for each transfer, in versions. `destination` tells about this instance."""

    def __init__(
        self,
        *,
        database: Database,
        ledger: Ledger,
        transfers: Transfers,
        signer: Signer,
        destination: Callable[[], Awaitable[Side]],
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._transfers = transfers
        self._signer = signer
        self._destination = destination

    async def get(self, transfer_id: str) -> Receipt:
        """The newest version. Raises TransferNotFound, ReceiptNotFound."""
        row = await self._transfers.get(transfer_id)
        last = await self._ledger.last_receipt(Role.RECEIVER, transfer_id)
        if last is None or row.position.state not in _HAS_RECEIPT:
            raise ReceiptNotFound()
        return await asyncio.to_thread(read_receipt, last[1], packed=True)

    async def countersign(self, transfer_id: str, mark: CounterSignature) -> None:
        """Keep the source's mark. Raises StateConflict when it has signed another version."""
        held = await self.get(transfer_id)
        if mark.version != held.receipt.version or mark.signature.role != "pusher":
            raise StateConflict("The receipt has a newer version.", version=held.receipt.version)
        await self._keep(held.signed(mark.signature))

    async def make(self, transfer_id: str, state: Made) -> None:
        """Make the version for a state that the transfer is about to reach. Made again, it replaces itself."""
        row = await self._transfers.get(transfer_id)
        last = await self._ledger.last_receipt(Role.RECEIVER, transfer_id)
        held = await asyncio.to_thread(read_receipt, last[1], packed=True) if last is not None else None
        version = held.receipt.version + 1 if held is not None else 1
        if state == "ready" or held is None:
            statement = await self._verified(row)
        else:
            statement = held.receipt
        if held is not None and held.receipt.state == state != "ready":
            version = held.receipt.version
        changes: dict[str, Any] = {
            "version": version,
            "state": state,
            "final": state != "ready",
            "made_at": self._transfers.clock().isoformat(),
            "times": self._times(row, statement.times),
        }
        if state == "completed":
            changes |= await self._committed(row, statement)
        statement = statement.model_copy(update=changes)
        mark = await asyncio.to_thread(self._signer.sign, statement, "receiver")
        await self._keep(Receipt(receipt=statement, signatures=(mark,)))

    async def _keep(self, receipt: Receipt) -> None:
        body = await asyncio.to_thread(packed, receipt)
        await self._ledger.put_receipt(Role.RECEIVER, receipt.receipt.transfer, receipt.receipt.version, body)

    # what is stated

    async def _verified(self, row: TransferRow) -> Statement:
        report = SourceReport.model_validate_json(canonical(without_fractions(row.facts.get("report") or {})))
        source: Mapping[str, Any] = row.setup.get("source", {})
        collections = [await self._collection(one) for one in await self._ledger.collections(Role.RECEIVER, row.id)]
        return Statement(
            transfer=row.id,
            version=1,
            state="ready",
            final=False,
            made_at="",
            setup=SetUpReceipt(
                preset=str(row.setup.get("preset", "")),
                excluded_collections=tuple(row.setup.get("excluded_collections", ())),
                with_attachments=bool(row.setup.get("with_attachments", True)),
                more=without_fractions({key: one for key, one in row.setup.items() if key not in _OWN_SETUP}),
            ),
            source=Side(
                instance_id=str(source.get("instance_id", "")),
                origin=report.origin,
                growi_version=str(source.get("version") or ""),
                mongo_version=str(source.get("mongo_version", "")),
                file_upload_type=str(source.get("file_upload_type", "")),
                software=report.software,
            ),
            destination=await self._destination(),
            documents=sum(one.documents for one in collections),
            document_bytes=sum(one.bytes for one in collections),
            collections=tuple(collections),
            attachments=await self._attachments(row),
            accepted_warnings=tuple(map(_plain, report.accepted_warnings)),
            skipped=report.skipped,
            skipped_files=report.skipped_files,
            failed=report.failed,
            failed_files=report.failed_files,
            differences=tuple(FoundDifference(**one) for one in row.facts.get("differences", ())),
            times=Times(
                begun_at=report.begun_at,
                received_at=row.created_at.isoformat(),
                documents_ms=report.documents_ms,
                attachments_ms=report.attachments_ms,
            ),
        )

    async def _collection(self, row: CollectionRow) -> CollectionReceipt:
        documents = size = 0
        digests: list[bytes] = []
        volumes: list[int] = []
        async for held in self._ledger.ranges(Role.RECEIVER, row.transfer_id, row.number):
            documents += held.documents
            size += held.bytes
            digests.append(held.digest)
            volumes.append(held.documents)
        names, definition = definition_of(from_metadata(row.metadata))
        return CollectionReceipt(
            name=row.name,
            kind=row.kind,  # type: ignore[arg-type]  # checked when it was declared
            documents=documents,
            bytes=size,
            digest=combine(digests).hex(),
            volumes=tuple(volumes) if row.kind == "capped" else (),
            indexes=tuple(names),
            definition=definition,
        )

    async def _attachments(self, row: TransferRow) -> AttachmentsReceipt:
        files = size = 0
        digest = EMPTY
        async for page in pages(self._ledger, row.id):
            stored = [(one.path, one.size, one.digest) for one in page if is_stored(one)]
            files += len(stored)
            size += sum(one[1] for one in stored)
            digest = combine((digest, await asyncio.to_thread(files_digest, stored)))
        deep = bool((row.facts.get("verify") or {}).get("deep"))
        return AttachmentsReceipt(files=files, bytes=size, digest=digest.hex(), deep=deep)

    async def _committed(self, row: TransferRow, statement: Statement) -> dict[str, Any]:
        told: Mapping[str, Any] = row.facts.get("told") or {}
        rewritten: Sequence[Mapping[str, Any]] = told.get("rewritten", ())
        touched = {one["collection"] for one in rewritten}
        merged: Mapping[str, Any] = told.get("merge") or {}
        if merged:
            # Whether or not something of the source came: what is there now is the destination's.
            touched = {one.name for one in statement.collections if one.kind != "view"} & set(
                await uuids(self._database)
            )
        collections = [
            one.model_copy(update={"after_commit": await self._after_commit(one.name, whole=bool(merged))})
            if one.name in touched
            else one
            for one in statement.collections
        ]
        return {
            "collections": tuple(collections),
            "rewritten": tuple(Rewrite(**one) for one in rewritten),
            "rescued": without_fractions(told.get("rescue") or {}),
            "merged": without_fractions(dict(merged)),
            "strays": tuple(told.get("strays", ())),
            "files_replaced": int(told.get("files_replaced", 0)),
        }

    async def _after_commit(self, collection: str, *, whole: bool) -> AfterCommit:
        documents, size = (await collection_size(self._database, collection))[:2]
        per_batch = batch_documents(documents, size)
        seen = await digest_collection(self._database, collection, per_batch=per_batch)
        after = AfterCommit(documents=seen.documents, digest=seen.digest.hex())
        if not whole:
            return after
        names, definition = definition_of(from_metadata(await live_metadata(self._database, collection)))
        return after.model_copy(update={"indexes": tuple(names), "definition": definition})

    def _times(self, row: TransferRow, before: Times) -> Times:
        verify: Mapping[str, Any] = row.facts.get("verify") or {}
        began, committed = row.facts.get("commit_began_at"), row.facts.get("committed_at")
        changes: dict[str, Any] = {
            "verified_at": verify.get("verified_at", ""),
            "index_ms": round(1000 * verify.get("index_seconds", 0)),
            "verify_ms": round(1000 * verify.get("verify_seconds", 0)),
            "committed_at": committed or "",
            "rolled_back_at": row.facts.get("rolled_back_at") or "",
        }
        if began and committed:
            seconds = (datetime.fromisoformat(committed) - datetime.fromisoformat(began)).total_seconds()
            changes["commit_ms"] = max(0, round(1000 * seconds))
        return before.model_copy(update=changes)


def _plain(warning: AcceptedWarning) -> AcceptedWarning:
    return warning.model_copy(update={"details": without_fractions(warning.details)})
