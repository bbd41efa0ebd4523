"""An import of GROWI's at the preparation of its commit: each collection is put together by its mode, in a copy.

`flushAndInsert` takes what is staged as it is; `insert` and `upsert` put it into a copy of the live collection, as
GROWI's bulk operations would: documents that the server refuses are counted, and the others come. Nothing of the wiki
is touched; a crash loses nothing, because the next try begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import bson

from growi_transfer.ledger.base import CollectionRow, Ledger, Role
from growi_transfer.mongo import collections as catalog
from growi_transfer.mongo.client import DECODED, Database
from growi_transfer.mongo.ranges import read
from growi_transfer.mongo.swap import Swap
from growi_transfer.protocol.errors import CommitFailed
from growi_transfer.protocol.names import former_name, merged_name
from growi_transfer.receiver.growi.request import PAGES, Mode
from growi_transfer.receiver.merge.copy import Copy, Merged
from growi_transfer.receiver.merge.report import Report
from growi_transfer.receiver.merge.steps import former_of
from growi_transfer.receiver.merge.tree import rebuild
from growi_transfer.receiver.rules import Rules
from growi_transfer.receiver.step_kinds import FILES, MERGED, RULES, SWAP, TIDY, TTL, UNCHANGED

_BATCH = 500
Steps = list[tuple[str, dict[str, Any]]]


class GrowiApplier:
    """Prepares commits of preset `growi`, one call for each."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        rules: Rules,
        clock: Callable[[], datetime],
        new_id: Callable[[], Any],
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._rules = rules
        self._clock = clock
        self._new_id = new_id

    async def prepare(self, transfer_id: str, setup: Mapping[str, Any]) -> Steps:
        """Put everything together, from the beginning; the steps of the commit. Raises the database's errors."""
        entries = {entry["name"]: entry for entry in await catalog.list_entries(self._database)}
        rows = [row for row in await self._ledger.collections(Role.RECEIVER, transfer_id) if row.staging]
        report = Report()
        merged = [
            await self._collection(transfer_id, row, Mode(setup["modes"][row.name]), row.name in entries, report)
            for row in rows
        ]
        entries = {entry["name"]: entry for entry in await catalog.list_entries(self._database)}
        numbers = {row.name: row.number for row in rows}
        replaced = {one.name: one.staging for one in merged if not one.digest}
        steps: Steps = [(MERGED, {"report": report.to_json()})]
        steps += [(SWAP, asdict(_swap(transfer_id, one, entries, numbers[one.name]))) for one in merged]
        for one in merged:
            _, ttl = catalog.split_ttl(catalog.secondary_indexes(catalog.from_metadata(one.metadata)))
            steps += [
                (TTL, {"collection": one.name, "index": index, "seconds": ttl[index], "metadata": one.metadata})
                for index in ttl
            ]
        steps.append((RULES, await self._rules.plan(replaced, setup)))
        formers = [former_of(one, former_name(transfer_id, numbers[one.name])) for one in merged if one.digest]
        swapped = {one.staging for one in merged}
        left = [row.staging for row in rows if row.staging not in swapped]
        return [*steps, (UNCHANGED, {"formers": formers}), (FILES, {}), (TIDY, {"collections": left})]

    async def _collection(self, transfer_id: str, row: CollectionRow, mode: Mode, live: bool, report: Report) -> Merged:
        appends = live and mode is not Mode.FLUSH_AND_INSERT
        if row.name != PAGES and not appends:
            documents = int((await self._database.command({"count": row.staging}))["n"])
            report.count(row.name, "inserted", documents)
            return Merged(row.name, row.staging, row.metadata)
        target = merged_name(transfer_id, row.number)
        copy = Copy(self._database, row.name, target, live=appends, metadata=row.metadata, now=self._clock())
        await copy.insert(())  # it is made even when nothing comes
        async for batch in read(self._database, row.staging, per_batch=_BATCH):
            documents_raw = [bytes(document) for document in batch]
            if mode is Mode.UPSERT and copy.live:  # else there is nothing to replace, nor an index to find it by
                await self._upsert(copy, row.name, documents_raw, report)
            else:
                refused = await copy.insert(documents_raw)
                report.count(row.name, "inserted", len(documents_raw) - len(refused))
                report.count(row.name, "failed", len(refused))
        if row.name == PAGES:
            await rebuild(self._database, copy, report, new_id=self._new_id, now=self._clock())
        assert copy.merged is not None
        return copy.merged

    async def _upsert(self, copy: Copy, name: str, documents: Sequence[bytes], report: Report) -> None:
        key = "path" if name == PAGES else "_id"
        updates = await asyncio.to_thread(_replacements, key, documents)
        reply = await self._database.command(
            {"update": copy.name, "updates": updates, "ordered": False, "bypassDocumentValidation": True}
        )
        failed = len(reply.get("writeErrors", ()))
        inserted = len(reply.get("upserted", ()))
        report.count(name, "inserted", inserted)
        report.count(name, "overwritten", len(documents) - inserted - failed)
        report.count(name, "failed", failed)


def _replacements(key: str, documents: Sequence[bytes]) -> list[dict[str, Any]]:
    return [_replacement(key, document) for document in documents]


def _replacement(key: str, raw: bytes) -> dict[str, Any]:
    document: dict[str, Any] = bson.decode(raw, DECODED)
    return {"q": {key: {"$eq": document.get(key)}}, "u": document, "upsert": True}


def _swap(transfer_id: str, merged: Merged, entries: Mapping[str, Mapping[str, Any]], number: int) -> Swap:
    if merged.staging not in entries:
        raise CommitFailed(f"The new {merged.name} is gone.", collection=merged.name)
    return Swap(
        live=merged.name,
        live_uuid=catalog.uuid_of(entries.get(merged.name, {})),
        staging=merged.staging,
        staging_uuid=catalog.uuid_of(entries[merged.staging]),
        former=former_name(transfer_id, number),
    )
