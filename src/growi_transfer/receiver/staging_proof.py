"""The proof that staging is what was sent: indexes are built, everything is read back and compared."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import bson

from growi_transfer.ledger.base import CollectionRow, ItemState, Ledger, RangeRow, Role
from growi_transfer.mongo import collections as catalog
from growi_transfer.mongo.client import Database
from growi_transfer.mongo.ranges import batch_documents, digest_collection
from growi_transfer.protocol.digest import combine
from growi_transfer.protocol.errors import CollectionIllegal, InvalidRequest, TransferError, code_of
from growi_transfer.protocol.wire import RANGE_BYTES, REPORTED, CollectionProof
from growi_transfer.receiver.importer import Importer

_INDEX_BUILDS_AT_ONCE = 3
_INDEX_DROPS_AT_ONCE = 8
_BOUNDS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """What was read back of one collection is not what was sent."""

    collection: str
    what: str
    """`documents`, `indexes`, `options` or `files`."""
    ranges: tuple[int, ...] = ()
    """Numbers of the ranges that differ; none: which ones is not known, so that all are sent again."""
    ranges_total: int = 0
    bounds: tuple[tuple[str, str], ...] = ()
    """`_id`s from (inclusive) and to (exclusive) of the first of these ranges, for people."""

    def to_json(self) -> dict[str, Any]:
        return {
            "collection": self.collection,
            "what": self.what,
            "ranges": list(self.ranges),
            "ranges_total": self.ranges_total,
            "bounds": [list(pair) for pair in self.bounds],
        }


class StagingProof:
    """Reads staging back. `noted_from`: bytes from which a collection that was proved is noted in its row, so that
    it is not read again when the receiver is stopped in the middle; smaller ones are read faster than noted."""

    def __init__(
        self, database: Database, ledger: Ledger, importer: Importer, *, noted_from: int = RANGE_BYTES
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._importer = importer
        self._noted_from = noted_from

    async def build_indexes(self, transfer_id: str) -> None:
        """Build every index in staging; TTL indexes as plain ones. Raises CollectionIllegal naming the collection."""
        gate = asyncio.Semaphore(_INDEX_BUILDS_AT_ONCE)

        async def build(row: CollectionRow) -> None:
            plain, _ = catalog.split_ttl(catalog.secondary_indexes(catalog.from_metadata(row.metadata)))
            if not plain:
                return
            async with gate:
                try:
                    await catalog.create_indexes(self._database, row.staging, plain)
                except TransferError as error:
                    if code_of(error) != "database_refused":
                        raise
                    raise CollectionIllegal(
                        f"An index of {row.name} cannot be built: {error.message}", collection=row.name
                    ) from error

        rows = await self._ledger.collections(Role.RECEIVER, transfer_id)
        await asyncio.gather(*(build(row) for row in rows if row.staging))

    async def drop_indexes(self, transfer_id: str) -> None:
        """Back to copying: a unique index would refuse documents that are about to be replaced. Indexes that should not
        be there go too."""
        gate = asyncio.Semaphore(_INDEX_DROPS_AT_ONCE)

        async def drop(row: CollectionRow) -> None:
            async with gate:
                # One that is not there is made anew when it is declared, or found to differ.
                await catalog.drop_indexes(self._database, row.staging)

        rows = await self._ledger.collections(Role.RECEIVER, transfer_id)
        await asyncio.gather(*(drop(row) for row in rows if row.staging))

    async def compare(self, transfer_id: str, proofs: Sequence[CollectionProof]) -> list[Difference]:
        """Read all of staging back and compare it with what the source's last pass found."""
        rows = {row.number: row for row in await self._ledger.collections(Role.RECEIVER, transfer_id) if row.staging}
        if set(rows) != {proof.number for proof in proofs}:
            raise InvalidRequest("The proof names other collections than those of the transfer.")
        entries = {entry["name"]: entry for entry in await catalog.list_entries(self._database)}
        differences: list[Difference] = []
        for proof in proofs:
            differences += await self._compare(rows[proof.number], proof, entries)
        return differences

    async def _compare(
        self, row: CollectionRow, proof: CollectionProof, entries: Mapping[str, Mapping[str, Any]]
    ) -> list[Difference]:
        metadata = catalog.from_metadata(row.metadata)
        found = entries.get(row.staging)
        if found is None:
            return [Difference(row.name, "options")]
        differences: list[Difference] = []
        if _text(found.get("options", {})) != _text(_stored_options(metadata)):
            differences.append(Difference(row.name, "options"))
        plain, _ = catalog.split_ttl(catalog.secondary_indexes(metadata))
        there = catalog.secondary_indexes({"indexes": await catalog.list_indexes(self._database, row.staging)})
        if sorted(map(_text, there)) != sorted(map(_text, plain)):
            differences.append(Difference(row.name, "indexes"))
        if row.facts.get("proved") == _proved(proof):
            return differences  # read, and not touched since: the receiver was stopped in the middle of this proof
        held = [held async for held in self._ledger.ranges(Role.RECEIVER, row.transfer_id, row.number)]
        size = sum(one.bytes for one in held)
        per_batch = batch_documents(proof.documents, size)
        ordered = [one.documents for one in held] if row.kind == "capped" else None
        seen = await digest_collection(self._database, row.staging, per_batch=per_batch, ordered=ordered)
        if seen.documents == proof.documents and seen.digest.hex() == proof.digest:
            if seen.bytes >= self._noted_from:
                await self._importer.put_row(replace(row, facts={**row.facts, "proved": _proved(proof)}))
            return differences
        if combine(one.digest for one in held).hex() != proof.digest or row.kind == "capped":
            wrong = [one.number for one in held] if row.kind == "capped" else []
        else:
            wrong = await self._wrong_ranges(row, held, per_batch)
        bounds = [(_shown(one.minimum), _shown(one.maximum)) for one in held if one.number in wrong[:_BOUNDS_SHOWN]]
        listed = tuple(wrong) if len(wrong) <= REPORTED else ()
        differences.append(Difference(row.name, "documents", listed, len(wrong), tuple(bounds)))
        await self._ledger.put_ranges([replace(one, state=ItemState.FAILED) for one in held if one.number in wrong])
        return differences

    async def _wrong_ranges(self, row: CollectionRow, held: Sequence[RangeRow], per_batch: int) -> list[int]:
        wrong: list[int] = []
        for one in held:
            seen = await digest_collection(
                self._database, row.staging, per_batch=per_batch, minimum=one.minimum, maximum=one.maximum
            )
            if (seen.documents, seen.digest) != (one.documents, one.digest):
                wrong.append(one.number)
        return wrong

    async def forget(self, transfer_id: str) -> None:
        """The next proof reads every collection again."""
        for row in await self._ledger.collections(Role.RECEIVER, transfer_id):
            await self._importer.forget_proof(row)


def _proved(proof: CollectionProof) -> dict[str, Any]:
    return {"documents": proof.documents, "digest": proof.digest}


def _shown(bound: bytes | None) -> str:
    return "" if bound is None else repr(bson.decode(bound)["_id"])[:100]


def _stored_options(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in catalog.create_options(metadata).items() if key != "idIndex"}


def _text(value: Mapping[str, Any]) -> str:
    return catalog.to_metadata(value, ())
