"""A receipt checked later: whether it is the one that we signed, and whether our data still are what it says.

Works for either side, because it reads only this instance's own database, storage and ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from growi_transfer.ledger.base import FileRow, ItemState, Ledger, Role
from growi_transfer.mongo.client import Database
from growi_transfer.mongo.collections import collection_size, list_entries, list_indexes
from growi_transfer.mongo.definition import definition_of
from growi_transfer.mongo.ranges import batch_documents, digest_collection
from growi_transfer.protocol.errors import FileNotFound, ReceiptInvalid
from growi_transfer.protocol.machine import State
from growi_transfer.protocol.receipt import CollectionReceipt, Receipt, Signature, Signer, fingerprint, read_receipt
from growi_transfer.protocol.wire import REPORTED
from growi_transfer.storage.base import Storage

GOOD, BAD, FOREIGN = "good", "changed", "not_ours"
_READERS = 4
_PAGE = 200


@dataclass(slots=True)
class _Files:
    files: int = 0
    changed_total: int = 0
    changed: list[str] = field(default_factory=list)


class Recheck:
    """Checks receipts against this instance."""

    def __init__(self, *, database: Database, storage: Storage, ledger: Ledger, signer: Signer) -> None:
        self._database = database
        self._storage = storage
        self._ledger = ledger
        self._signer = signer

    async def check(self, body: bytes, *, data: bool = False) -> dict[str, Any]:
        """The verdict on a receipt: `{ok, transfer, state, version, final, newest_version, fingerprint, signatures,
        data}`. With `data` the collections and files are read again; `data` is None without.

        Raises ReceiptInvalid when it is no receipt, when we did not sign it, or when it was changed since.
        """
        receipt = await asyncio.to_thread(read_receipt, body)
        told = receipt.receipt
        marks = {mark.role: await asyncio.to_thread(self._judge, receipt, mark) for mark in receipt.signatures}
        if BAD in marks.values():
            raise ReceiptInvalid("The receipt was changed after we signed it.", signatures=marks)
        if GOOD not in marks.values():
            raise ReceiptInvalid(
                f"We did not sign this receipt: it is of the instances {told.source.instance_id[:12]} and "
                f"{told.destination.instance_id[:12]}.",
                signatures=marks,
            )
        is_here = told.destination.instance_id == self._signer.instance_id
        role = Role.RECEIVER if is_here else Role.PUSHER
        last = await self._ledger.last_receipt(role, told.transfer)
        found = await self._data(receipt, role) if data else None
        return {
            "ok": found is None or found["same"],
            "transfer": told.transfer,
            "role": role.value,
            "state": told.state,
            "version": told.version,
            "newest_version": max(told.version, last[0] if last else 0),
            "final": told.final,
            "fingerprint": fingerprint(receipt),
            "signatures": marks,
            "data": found,
        }

    def _judge(self, receipt: Receipt, mark: Signature) -> str:
        if not self._signer.is_mine(mark):
            return FOREIGN
        return GOOD if self._signer.is_good(receipt.receipt, mark) else BAD

    # data

    async def _data(self, receipt: Receipt, role: Role) -> dict[str, Any]:
        told = receipt.receipt
        row = await self._ledger.get_transfer(role, told.transfer)
        state = row.position.state.value if row is not None else told.state
        staged: dict[str, str] = {}
        waiting = role is Role.RECEIVER and state != State.COMPLETED
        if waiting:
            if state != State.READY:
                raise ReceiptInvalid(
                    f"The transfer is {state.replace('_', ' ')} now: its data are no longer here to be read.",
                    state=state,
                )
            rows = await self._ledger.collections(role, told.transfer)
            staged = {one.name: one.staging for one in rows if one.staging}
        entries = {entry["name"]: entry for entry in await list_entries(self._database)}
        changed: list[dict[str, Any]] = []
        for one in told.collections:
            if waiting and one.kind == "view":
                continue  # made at the commit
            what = await self._changed(one, staged.get(one.name, one.name), entries, role, waiting)
            if what is not None:
                changed.append({"collection": one.name, **what})
        files = await self._files(role, told.transfer, waiting=waiting)
        checked = files.files > 0 or not told.attachments.files
        return {
            "same": not changed and not files.changed_total,
            "collections": len(told.collections),
            "collections_changed": changed,
            "attachments": files.files,
            "attachments_checked": checked,
            "attachments_changed": files.changed,
            "attachments_changed_total": files.changed_total,
        }

    async def _changed(
        self,
        told: CollectionReceipt,
        name: str,
        entries: Mapping[str, Mapping[str, Any]],
        role: Role,
        staged: bool,
    ) -> dict[str, Any] | None:
        entry = entries.get(name)
        if entry is None:
            return {"what": "missing"}
        view = told.kind == "view"
        indexes = [] if view else await list_indexes(self._database, name)
        metadata = {"options": dict(entry.get("options", {})), "indexes": indexes}
        # In staging no index is TTL yet, so that what a receipt says of one cannot be seen there.
        names, definition = definition_of(metadata)
        after = told.after_commit if role is Role.RECEIVER and not staged else None
        merged = after is not None and after.definition is not None
        expected_names = after.indexes if after is not None and merged else told.indexes
        expected_definition = after.definition if after is not None and merged else told.definition
        if names != list(expected_names or ()) or (not staged and definition != expected_definition):
            return {"what": "definition"}
        if view:
            return None
        documents, size = (await collection_size(self._database, name))[:2]
        seen = await digest_collection(
            self._database,
            name,
            per_batch=batch_documents(documents, size),
            ordered=list(told.volumes) if told.kind == "capped" and after is None else None,
        )
        expected = (after.documents, after.digest) if after is not None else (told.documents, told.digest)
        if (seen.documents, seen.digest.hex()) == expected:
            return None
        return {"what": "documents", "documents": expected[0], "documents_now": seen.documents}

    async def _files(self, role: Role, transfer_id: str, *, waiting: bool) -> _Files:
        seen = _Files()
        page: list[FileRow] = []
        for state in (ItemState.VERIFIED, ItemState.STORED):
            async for row in self._ledger.files(role, transfer_id, state):
                if row.facts.get("unwanted") and not waiting:
                    continue  # left out by a merge
                page.append(row)
                if len(page) == _PAGE:
                    await self._look(page, seen, waiting)
                    page = []
        await self._look(page, seen, waiting)
        return seen

    async def _look(self, rows: list[FileRow], seen: _Files, waiting: bool) -> None:
        gate = asyncio.Semaphore(_READERS)

        async def is_same(row: FileRow) -> bool:
            path = str(row.facts.get("aside" if waiting else "to") or row.path)
            hasher, size = sha256(), 0
            async with gate:
                try:
                    async with aclosing(self._storage.open(path)) as chunks:
                        async for chunk in chunks:
                            size += len(chunk)
                            await asyncio.to_thread(hasher.update, chunk)
                except FileNotFound:
                    return False
            # The source may never have had to read a file that was there before: then only its size is known.
            return size == row.size and row.digest in (b"", hasher.digest())

        same = await asyncio.gather(*map(is_same, rows))
        changed = [row.path for row, is_good in zip(rows, same, strict=True) if not is_good]
        seen.files += len(rows)
        seen.changed_total += len(changed)
        seen.changed += changed[: REPORTED - len(seen.changed)]
