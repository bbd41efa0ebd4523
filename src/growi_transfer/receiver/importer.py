"""Collections and volumes into staging."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import bson

from growi_transfer.archive.volume import check, unpack
from growi_transfer.ledger.base import CollectionRow, ItemState, Ledger, RangeRow, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.mongo import collections as catalog
from growi_transfer.mongo.client import Database
from growi_transfer.mongo.staging import clear_range, insert, insert_first, restore_zero_timestamps
from growi_transfer.protocol.digest import ordered_digest, set_digest
from growi_transfer.protocol.elements import may_have_zero_timestamps, zero_timestamps
from growi_transfer.protocol.errors import (
    BsonInvalid,
    CollectionIllegal,
    CollectionNotFound,
    DatabaseRefused,
    InvalidRequest,
    RangeMismatch,
)
from growi_transfer.protocol.names import staging_name
from growi_transfer.protocol.progress import DocumentsStored
from growi_transfer.protocol.wire import Collection, Manifest
from growi_transfer.receiver.early_indexes import early_indexes

_CREATED_AT_ONCE = 6


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of some documents of an archive."""

    documents: int
    digest: bytes
    """Of those that are staged."""
    left_out: int


class Importer:
    """The database side of a receiver."""

    def __init__(self, database: Database, ledger: Ledger, board: ProgressBoard) -> None:
        self._database = database
        self._ledger = ledger
        self._board = board
        self._rows: dict[str, dict[str, CollectionRow]] = {}
        self._turns: dict[tuple[str, int, int], asyncio.Lock] = {}

    # collections

    async def declare(self, transfer_id: str, wanted: Sequence[Collection]) -> None:
        """Make staging fit the source's list: new collections are made, changed ones made anew, others dropped."""
        if len({collection.name for collection in wanted}) != len(wanted) or len(
            {collection.number for collection in wanted}
        ) != len(wanted):
            raise InvalidRequest("A collection is named or numbered twice.")
        held = {row.number: row for row in await self._ledger.collections(Role.RECEIVER, transfer_id)}
        by_number = {collection.number: collection for collection in wanted}
        for number, row in held.items():
            now = by_number.get(number)
            if now is None or not _same(row, now):
                # Rows first: one that outlives its documents would say that they are there.
                await self._ledger.delete_collection(Role.RECEIVER, transfer_id, number)
                if row.staging:
                    await catalog.drop(self._database, row.staging)
        fresh: list[CollectionRow] = []
        new: list[Collection] = []
        present = await catalog.uuids(self._database)
        for collection in wanted:
            old = held.get(collection.number)
            if old is not None and _same(old, collection) and (not old.staging or old.staging in present):
                if old.metadata != collection.metadata:
                    if old.staging:
                        # Some are made early, and it may be these that are no longer wanted.
                        await catalog.drop_indexes(self._database, old.staging)
                    fresh.append(replace(old, metadata=collection.metadata))
                continue
            new.append(collection)
        gate = asyncio.Semaphore(_CREATED_AT_ONCE)

        async def make(collection: Collection) -> CollectionRow:
            async with gate:
                return await self._make(transfer_id, collection, present)

        fresh += await asyncio.gather(*map(make, new))
        await self._ledger.put_collections(fresh)
        self._rows.pop(transfer_id, None)

    async def _make(self, transfer_id: str, collection: Collection, present: Mapping[str, str]) -> CollectionRow:
        metadata = catalog.from_metadata(collection.metadata)
        row = CollectionRow(
            role=Role.RECEIVER,
            transfer_id=transfer_id,
            number=collection.number,
            name=collection.name,
            kind=collection.kind,
            source_uuid=collection.uuid,
            metadata=collection.metadata,
            staging="" if collection.kind == "view" else staging_name(transfer_id, collection.number),
            facts={"documents": collection.documents, "bytes": collection.bytes},
        )
        if row.staging:
            if "viewOn" in metadata.get("options", {}):
                raise CollectionIllegal("A view is declared as a collection.", collection=collection.name)
            if row.staging in present:
                await self._ledger.delete_ranges(Role.RECEIVER, transfer_id, collection.number)
                await catalog.drop(self._database, row.staging)
            await catalog.create_collection(self._database, row.staging, metadata)
            if row.kind != "capped":
                with suppress(DatabaseRefused):  # whatever is wrong with one is told when all are built
                    early = early_indexes(metadata, collection.documents)
                    await catalog.create_indexes(self._database, row.staging, early)
        return row

    async def row(self, transfer_id: str, collection: str) -> CollectionRow:
        """The row of a collection that has documents. Raises CollectionNotFound."""
        rows = self._rows.get(transfer_id)
        if rows is None:
            found = await self._ledger.collections(Role.RECEIVER, transfer_id)
            rows = self._rows[transfer_id] = {row.name: row for row in found}
        row = rows.get(collection)
        if row is None or not row.staging:
            raise CollectionNotFound(collection=collection[:200])
        return row

    def forget(self, transfer_id: str) -> None:
        """Drop what is remembered in memory about a transfer."""
        self._rows.pop(transfer_id, None)
        for key in [key for key in self._turns if key[0] == transfer_id]:
            del self._turns[key]

    # volumes

    async def put_volume(
        self, transfer_id: str, collection: str, number: int, body: bytes, *, admit: Callable[[], Awaitable[object]]
    ) -> RangeRow:
        """Store one volume, durably. Sending it again changes nothing. `admit` raises when the request may not write:
        it may have waited here for another one, and its pusher may have been superseded meanwhile.

        Raises ArchiveInvalid, ArchiveTooLarge, BsonInvalid, SizeMismatch, DigestMismatch, InvalidRequest,
        CollectionNotFound, RangeMismatch, DocumentNotStorable and the database's errors.
        """
        manifest, documents, zero_timestamped = await asyncio.to_thread(_open_volume, body)
        row = await self.row(transfer_id, collection)
        if manifest.collection != collection or manifest.number != number:
            raise InvalidRequest("The manifest names another volume than the address.")
        if manifest.uuid != row.source_uuid:
            raise RangeMismatch("The collection was re-created at the source; declare it again.", collection=collection)
        if manifest.ordered != (row.kind == "capped"):
            raise InvalidRequest("Only volumes of capped collections are ordered.")
        new = RangeRow(
            role=Role.RECEIVER,
            transfer_id=transfer_id,
            collection=row.number,
            number=number,
            minimum=_bound(manifest.minimum),
            maximum=_bound(manifest.maximum),
            documents=manifest.documents,
            bytes=manifest.bytes,
            digest=bytes.fromhex(manifest.digest),
            state=ItemState.STORED,
        )
        # A repeated request may overlap with the one it repeats; they take turns.
        key = (transfer_id, row.number, -1 if manifest.ordered else number)
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            await admit()
            await self.forget_proof(row)
            old = await self._ledger.get_range(Role.RECEIVER, transfer_id, row.number, number)
            if old is not None and old == replace(new, tries=old.tries):
                return old
            if manifest.ordered:
                await self._append(row, new)
            else:
                await self._make_room(row, old, new)
            await self._insert(row, new, documents)
            await restore_zero_timestamps(self._database, row.staging, zero_timestamped)
            await self._ledger.put_ranges([new])
        before = (old.documents, old.bytes) if old is not None else (0, 0)
        self._board.apply(
            Role.RECEIVER, transfer_id, DocumentsStored(new.documents - before[0], new.bytes - before[1], len(body))
        )
        return new

    async def _insert(self, row: CollectionRow, new: RangeRow, documents: Sequence[bytes]) -> None:
        is_capped = row.kind == "capped"
        try:
            await insert(self._database, row.staging, documents, ordered=is_capped)
        except DatabaseRefused:
            if is_capped:
                raise
            # An index that was made early may refuse a document. It is built again at the end, and then it is told.
            await catalog.drop_indexes(self._database, row.staging)
            await clear_range(self._database, row.staging, new.minimum, new.maximum)
            await insert(self._database, row.staging, documents)

    async def append(
        self, transfer_id: str, collection: str, number: int, documents: Sequence[bytes], *, keep_first: bool
    ) -> Appended:
        """Stage documents that come in no known order and only once: those of an archive; what of them is staged. A
        failure on the way means that the transfer begins again from nothing. Raises like `put_volume`.

        `keep_first`: of those that are one to a unique index the first one is staged, and the others are left out.
        """
        row = await self.row(transfer_id, collection)
        is_capped = row.kind == "capped"
        await self.forget_proof(row)
        if keep_first and not is_capped:
            if number == 0:
                await self._make_unique(row)
            refused = await insert_first(self._database, row.staging, documents)
            documents = [document for at, document in enumerate(documents) if at not in refused]
        else:
            refused = set()
            await insert(self._database, row.staging, documents, ordered=is_capped)
        raw = b"".join(documents)
        if may_have_zero_timestamps(raw):
            suspects = [document for document in documents if zero_timestamps(document)]
            await restore_zero_timestamps(self._database, row.staging, suspects)
        digest = await asyncio.to_thread(ordered_digest if is_capped else set_digest, documents)
        stored = RangeRow(
            role=Role.RECEIVER,
            transfer_id=transfer_id,
            collection=row.number,
            number=number,
            minimum=None,
            maximum=None,
            documents=len(documents),
            bytes=len(raw),
            digest=digest,
            state=ItemState.STORED,
        )
        await self._ledger.put_ranges([stored])
        self._board.apply(Role.RECEIVER, transfer_id, DocumentsStored(len(documents), len(raw), 0))
        return Appended(len(documents), digest, len(refused))

    async def _make_unique(self, row: CollectionRow) -> None:
        plain, _ = catalog.split_ttl(catalog.secondary_indexes(catalog.from_metadata(row.metadata)))
        with suppress(DatabaseRefused):  # whatever is wrong with one is told when all are built
            await catalog.create_indexes(self._database, row.staging, [one for one in plain if one.get("unique")])

    async def forget_proof(self, row: CollectionRow) -> None:
        """Before the first write, and when a new proof is wanted: what was proved of it no longer holds."""
        if row.facts.get("proved") is None:
            return
        untouched = {key: value for key, value in row.facts.items() if key != "proved"}
        await self.put_row(replace(row, facts=untouched))

    async def put_row(self, row: CollectionRow) -> None:
        """Replace the row of a collection."""
        await self._ledger.put_collections([row])
        known = self._rows.get(row.transfer_id)
        if known is not None:
            known[row.name] = row

    async def _make_room(self, row: CollectionRow, old: RangeRow | None, new: RangeRow) -> None:
        if old is not None:
            # Until the new content is complete nothing may say that the old one is there.
            await self._ledger.put_ranges([replace(old, state=ItemState.SENT)])
            await clear_range(self._database, row.staging, old.minimum, old.maximum)
        if old is None or (old.minimum, old.maximum) != (new.minimum, new.maximum):
            await clear_range(self._database, row.staging, new.minimum, new.maximum)

    async def _append(self, row: CollectionRow, new: RangeRow) -> None:
        held = [held async for held in self._ledger.ranges(Role.RECEIVER, new.transfer_id, row.number)]
        if new.number == 0:
            await self._ledger.delete_ranges(Role.RECEIVER, new.transfer_id, row.number)
            await catalog.drop(self._database, row.staging)
            await catalog.create_collection(self._database, row.staging, catalog.from_metadata(row.metadata))
        else:
            reply = await self._database.command({"count": row.staging})
            if new.number != len(held) or reply["n"] != sum(one.documents for one in held):
                raise RangeMismatch(
                    "The volumes of a capped collection must follow one another; begin again with volume 0.", expected=0
                )


def _open_volume(body: bytes) -> tuple[Manifest, list[bytes], list[bytes]]:
    """The manifest, the documents, and those with an empty timestamp. For a thread."""
    manifest, data = unpack(body)
    documents = [bytes(document) for document in check(manifest, data)]
    suspects = documents if may_have_zero_timestamps(data) else []
    return manifest, documents, [document for document in suspects if zero_timestamps(document)]


def _bound(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        raw = b64decode(text, validate=True)
        if list(bson.decode(raw)) != ["_id"]:
            raise BsonInvalid("A bound of the range is not a document {_id}.")
    except (Base64Error, ValueError, bson.errors.BSONError):
        raise BsonInvalid("A bound of the range is not valid BSON.") from None
    return raw


def _same(row: CollectionRow, collection: Collection) -> bool:
    """Whether what is staged can stay: indexes are built after the documents, so they may have changed."""
    if (row.name, row.kind, row.source_uuid) != (collection.name, collection.kind, collection.uuid):
        return False
    if row.metadata == collection.metadata:
        return True
    old, new = catalog.from_metadata(row.metadata), catalog.from_metadata(collection.metadata)
    return _text(old.get("options", {})) == _text(new.get("options", {}))


def _text(value: Mapping[str, Any]) -> str:
    return catalog.to_metadata(value, ())
