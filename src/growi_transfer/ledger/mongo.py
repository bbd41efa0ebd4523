"""The ledger in the wiki's own database, in collections named `growi_transfer_…`.

Durable and shared: a command line and a server on the same wiki see one ledger, and every change that has to be
decided between two of them is one atomic command. Documents and their keys are those of `ledger.mongo_rows`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from growi_transfer.ledger.base import (
    CollectionRow,
    FileRow,
    ItemState,
    JournalRow,
    KeyRow,
    LogRow,
    OrderRow,
    RangeRow,
    Role,
    Totals,
    TransferRow,
)
from growi_transfer.ledger.mongo_jobs import JOBS, MongoJobs
from growi_transfer.ledger.mongo_rows import (
    below,
    collection_document,
    collection_row,
    fact_fields,
    file_document,
    file_row,
    journal_document,
    journal_row,
    key,
    key_document,
    key_row,
    log_document,
    log_row,
    order_document,
    order_row,
    position_fields,
    range_document,
    range_row,
    transfer_document,
    transfer_row,
    transfers_query,
)
from growi_transfer.ledger.mongo_sessions import SESSIONS, MongoSessions
from growi_transfer.ledger.mongo_store import Commands, Store
from growi_transfer.ledger.values import bson_bytes, check_fact_names, json_text, milliseconds
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.names import OWN_PREFIX

TRANSFERS = OWN_PREFIX + "transfers"
COLLECTIONS = OWN_PREFIX + "collections"
RANGES = OWN_PREFIX + "ranges"
FILES = OWN_PREFIX + "files"
KEYS = OWN_PREFIX + "keys"
JOURNAL = OWN_PREFIX + "journal"
CLAIMS = OWN_PREFIX + "claims"
LOG = OWN_PREFIX + "log"
ORDERS = OWN_PREFIX + "orders"
RECEIPTS = OWN_PREFIX + "receipts"

# Files by state; with the size the totals are read from the index alone.
_INDEXES = {FILES: [{"key": {"state": 1, "_id": 1, "size": 1}, "name": "by_state"}]}
_COLLECTIONS = (TRANSFERS, COLLECTIONS, RANGES, FILES, KEYS, JOURNAL, CLAIMS, LOG, ORDERS, RECEIPTS, JOBS, SESSIONS)
_DESTINATION = "destination"
_INSTANCE = "instance"
_EVERYTHING = {"$gt": "", "$lt": "\U0010ffff"}


class MongoLedger(MongoJobs, MongoSessions):
    """`Ledger` over database commands. Several instances may share one database."""

    def __init__(self, commands: Commands) -> None:
        super().__init__(Store(commands))

    async def prepare(self) -> None:
        await self._store.prepare(_COLLECTIONS, _INDEXES)

    # transfers

    async def create_transfer(self, row: TransferRow) -> TransferRow:
        check_fact_names(row.facts)
        document = transfer_document(row)
        if await self._store.insert(TRANSFERS, document):
            return transfer_row(document)
        return await self.get_transfer(row.role, row.id) or transfer_row(document)

    async def get_transfer(self, role: Role, transfer_id: str) -> TransferRow | None:
        document = await self._store.get(TRANSFERS, key(role, transfer_id))
        return transfer_row(document) if document else None

    async def list_transfers(
        self, role: Role | None = None, limit: int = 100, skip: int = 0, *, states: Sequence[State] = ()
    ) -> list[TransferRow]:
        if limit <= 0:
            return []
        ids = await self._store.newest(TRANSFERS, transfers_query(role, states), "created_at", limit, skip)
        rows = {document["_id"]: document for document in await self._store.get_many(TRANSFERS, ids)}
        return [transfer_row(rows[one]) for one in ids if one in rows]

    async def count_transfers(self, role: Role | None = None, *, states: Sequence[State] = ()) -> int:
        return await self._store.count(TRANSFERS, transfers_query(role, states))

    async def move_transfer(
        self, role: Role, transfer_id: str, expected: Position, new: Position, now: datetime
    ) -> bool:
        return await self._store.update(
            TRANSFERS,
            {"_id": key(role, transfer_id), **position_fields(expected)},
            {"$set": {**position_fields(new), "updated_at": milliseconds(now)}},
        )

    async def set_facts(self, role: Role, transfer_id: str, facts: Mapping[str, Any], now: datetime) -> None:
        check_fact_names(facts)
        known = fact_fields({name: value for name, value in facts.items() if value is not None})
        change: dict[str, Any] = {
            "$set": {"updated_at": milliseconds(now), **{f"facts.{name}": text for name, text in known.items()}}
        }
        if len(known) < len(facts):
            change["$unset"] = {f"facts.{name}": "" for name in facts if name not in known}
        await self._store.update(TRANSFERS, {"_id": key(role, transfer_id)}, change)

    async def set_epoch(self, role: Role, transfer_id: str, epoch: int) -> bool:
        query = {"_id": key(role, transfer_id), "epoch": {"$lte": epoch}}
        return await self._store.update(TRANSFERS, query, {"$set": {"epoch": epoch}})

    async def acquire_lease(
        self, role: Role, transfer_id: str, owner: str, now: datetime, until: datetime
    ) -> int | None:
        changed = await self._store.change(
            TRANSFERS,
            {
                "_id": key(role, transfer_id),
                "$or": [{"owner": {"$in": [owner, None]}}, {"owned_until": {"$lte": milliseconds(now)}}],
            },
            {"$inc": {"epoch": 1}, "$set": {"owner": owner, "owned_until": milliseconds(until)}},
        )
        return int(changed["epoch"]) if changed else None

    async def renew_lease(self, role: Role, transfer_id: str, owner: str, until: datetime) -> bool:
        query = {"_id": key(role, transfer_id), "owner": owner}
        return await self._store.update(TRANSFERS, query, {"$set": {"owned_until": milliseconds(until)}})

    async def lease_owner(self, role: Role, transfer_id: str) -> str | None:
        document = await self._store.get(TRANSFERS, key(role, transfer_id))
        owner: str | None = (document or {}).get("owner")
        return owner

    async def release_lease(self, role: Role, transfer_id: str, owner: str) -> None:
        query = {"_id": key(role, transfer_id), "owner": owner}
        await self._store.update(TRANSFERS, query, {"$unset": {"owner": "", "owned_until": ""}})

    async def claim_destination(self, transfer_id: str) -> str:
        while True:
            if await self._store.insert(CLAIMS, {"_id": _DESTINATION, "transfer": transfer_id}):
                return transfer_id
            claim = await self._store.get(CLAIMS, _DESTINATION)
            if claim:
                return str(claim["transfer"])

    async def release_destination(self, transfer_id: str) -> None:
        await self._store.delete(CLAIMS, {"_id": _DESTINATION, "transfer": transfer_id})

    async def instance_id(self, candidate: str) -> str:
        if await self._store.insert(CLAIMS, {"_id": _INSTANCE, "instance": candidate}):
            return candidate
        return str((await self._store.get(CLAIMS, _INSTANCE) or {}).get("instance", candidate))

    # collections, ranges, files

    async def put_collections(self, rows: Sequence[CollectionRow]) -> None:
        await self._store.put(COLLECTIONS, map(collection_document, rows))

    async def collections(self, role: Role, transfer_id: str) -> list[CollectionRow]:
        pages = self._store.pages(COLLECTIONS, below(role, transfer_id))
        return [collection_row(document) async for page in pages for document in page]

    async def delete_collection(self, role: Role, transfer_id: str, number: int) -> None:
        await self.delete_ranges(role, transfer_id, number)
        await self._store.delete(COLLECTIONS, {"_id": key(role, transfer_id, number)})

    async def put_ranges(self, rows: Sequence[RangeRow]) -> None:
        await self._store.put(RANGES, map(range_document, rows))

    async def ranges(self, role: Role, transfer_id: str, collection: int) -> AsyncIterator[RangeRow]:
        async for page in self._store.pages(RANGES, below(role, transfer_id, collection)):
            for document in page:
                yield range_row(document)

    async def get_range(self, role: Role, transfer_id: str, collection: int, number: int) -> RangeRow | None:
        document = await self._store.get(RANGES, key(role, transfer_id, collection, number))
        return range_row(document) if document else None

    async def delete_ranges(self, role: Role, transfer_id: str, collection: int) -> None:
        await self._store.delete_range(RANGES, below(role, transfer_id, collection))

    async def range_totals(self, role: Role, transfer_id: str) -> Mapping[ItemState, Totals]:
        sums = {"rows": {"$sum": 1}, "documents": {"$sum": "$documents"}, "bytes": {"$sum": "$bytes"}}
        found = await self._store.aggregate(
            RANGES, [{"$match": {"_id": below(role, transfer_id)}}, {"$group": {"_id": "$state", **sums}}]
        )
        return _totals(found)

    async def stored_by_collection(self, role: Role, transfer_id: str) -> Mapping[int, Totals]:
        ids = below(role, transfer_id)
        query = {"_id": ids, "state": {"$in": [ItemState.STORED.value, ItemState.VERIFIED.value]}}
        sums = {"rows": {"$sum": 1}, "documents": {"$sum": "$documents"}, "bytes": {"$sum": "$bytes"}}
        # The number of the collection is the next part of the key.
        number = {"$substrBytes": ["$_id", len(ids["$gt"]), len(key(0))]}
        found = await self._store.aggregate(RANGES, [{"$match": query}, {"$group": {"_id": number, **sums}}])
        return {int(one["_id"]): Totals(int(one["rows"]), int(one["documents"]), int(one["bytes"])) for one in found}

    async def put_files(self, rows: Sequence[FileRow]) -> None:
        await self._store.put(FILES, map(file_document, rows))

    async def files(
        self, role: Role, transfer_id: str, state: ItemState | None = None, after: str = ""
    ) -> AsyncIterator[FileRow]:
        equal = {"state": state.value} if state else {}
        bounds = below(role, transfer_id)
        if after:
            bounds["$gt"] = key(role, transfer_id, after)
        async for page in self._store.pages(FILES, bounds, **equal):
            for document in page:
                yield file_row(document)

    async def get_files(self, role: Role, transfer_id: str, attachment_ids: Sequence[str]) -> dict[str, FileRow]:
        prefix = key(role, transfer_id) + "/"
        found = await self._store.get_many(FILES, [prefix + one for one in attachment_ids])
        return {row.attachment_id: row for row in map(file_row, found)}

    async def file_totals(self, role: Role, transfer_id: str) -> Mapping[ItemState, Totals]:
        match = {"state": {"$in": [state.value for state in ItemState]}, "_id": below(role, transfer_id)}
        sums = {"rows": {"$sum": 1}, "bytes": {"$sum": "$size"}}
        return _totals(await self._store.aggregate(FILES, [{"$match": match}, {"$group": {"_id": "$state", **sums}}]))

    async def mark_verified(self, role: Role, transfer_id: str) -> None:
        verified = {"$set": {"state": ItemState.VERIFIED.value}}
        for name in (RANGES, FILES):
            await self._store.update_range(name, below(role, transfer_id), verified, state=ItemState.STORED.value)

    async def delete_items(self, role: Role, transfer_id: str) -> None:
        for name in (FILES, RANGES, COLLECTIONS):
            await self._store.delete_range(name, below(role, transfer_id))

    # keys

    async def add_key(self, row: KeyRow) -> None:
        await self._store.put(KEYS, iter([key_document(row)]))

    async def get_key(self, key_id: str) -> KeyRow | None:
        document = await self._store.get(KEYS, key_id)
        return key_row(document) if document else None

    async def list_keys(self) -> list[KeyRow]:
        rows = [key_row(document) async for page in self._store.pages(KEYS, _EVERYTHING) for document in page]
        return sorted(rows, key=lambda row: (row.issued_at, row.id), reverse=True)

    async def claim_key(self, key_id: str, transfer_id: str) -> str | None:
        claimed = {"claimed_by": {"$ifNull": ["$claimed_by", {"$literal": transfer_id}]}}
        document = await self._store.change(KEYS, {"_id": key_id}, [{"$set": claimed}])
        return str(document["claimed_by"]) if document else None

    async def touch_key(self, key_id: str, now: datetime, expires_at: datetime) -> None:
        moved = {
            "last_used_at": {"$max": ["$last_used_at", milliseconds(now)]},
            "expires_at": {"$max": ["$expires_at", {"$min": ["$ceiling_at", milliseconds(expires_at)]}]},
        }
        await self._store.update(KEYS, {"_id": key_id}, [{"$set": moved}])

    async def revoke_key(self, key_id: str, now: datetime) -> bool:
        revoked = {"revoked_at": {"$ifNull": ["$revoked_at", milliseconds(now)]}}
        return await self._store.update(KEYS, {"_id": key_id}, [{"$set": revoked}])

    # receipts

    async def put_receipt(self, role: Role, transfer_id: str, version: int, body: bytes) -> None:
        document = {"_id": key(role, transfer_id, version), "body": body}
        await self._store.put(RECEIPTS, iter([document]))

    async def last_receipt(self, role: Role, transfer_id: str) -> tuple[int, bytes] | None:
        last: tuple[int, bytes] | None = None
        async for page in self._store.pages(RECEIPTS, below(role, transfer_id)):
            last = int(page[-1]["_id"].rpartition("/")[2]), bytes(page[-1]["body"])
        return last

    # journal

    async def append_journal(self, rows: Sequence[JournalRow]) -> None:
        await self._store.put(JOURNAL, map(journal_document, rows))

    async def journal(self, transfer_id: str) -> list[JournalRow]:
        pages = self._store.pages(JOURNAL, below(transfer_id))
        return [journal_row(document) async for page in pages for document in page]

    async def mark_done(self, transfer_id: str, number: int, payload: Mapping[str, Any] | None = None) -> None:
        fields: dict[str, Any] = {"done": True}
        if payload is not None:
            fields["payload"] = bson_bytes(payload)
        await self._store.update(JOURNAL, {"_id": key(transfer_id, number)}, {"$set": fields})

    async def clear_journal(self, transfer_id: str) -> None:
        await self._store.delete_range(JOURNAL, below(transfer_id))

    # the log of a transfer

    async def append_log(self, rows: Sequence[LogRow]) -> None:
        await self._store.put(LOG, map(log_document, rows))

    async def log(
        self, role: Role, transfer_id: str, *, levels: Sequence[str], limit: int, after: str = ""
    ) -> list[LogRow]:
        if limit <= 0:
            return []
        bounds = below(role, transfer_id)
        if after:
            bounds["$gt"] = key(role, transfer_id, after)
        query = {"_id": bounds, "level": {"$in": list(levels)}}
        ids = await self._store.newest(LOG, query, "_id", limit)
        found = [log_row(document) for document in await self._store.get_many(LOG, ids)]
        return sorted(found, key=lambda row: row.stamp)

    async def trim_log(self, role: Role, transfer_id: str, keep: int) -> None:
        bounds = below(role, transfer_id)
        if keep > 0:
            kept = await self._store.newest(LOG, {"_id": bounds}, "_id", keep)
            if len(kept) < keep:
                return
            bounds["$lt"] = kept[-1]
        await self._store.delete_range(LOG, bounds)

    # orders between processes

    async def put_order(self, row: OrderRow) -> None:
        await self._store.put(ORDERS, iter([order_document(row)]))

    async def open_orders(self) -> list[OrderRow]:
        pages = self._store.pages(ORDERS, _EVERYTHING, taken_by=None)
        return [order_row(document) async for page in pages for document in page]

    async def get_order(self, order_id: str) -> OrderRow | None:
        document = await self._store.get(ORDERS, order_id)
        return order_row(document) if document else None

    async def take_order(self, order_id: str, taken_by: str) -> bool:
        return await self._store.update(ORDERS, {"_id": order_id, "taken_by": None}, {"$set": {"taken_by": taken_by}})

    async def answer_order(self, order_id: str, answer: Mapping[str, Any]) -> None:
        await self._store.update(ORDERS, {"_id": order_id}, {"$set": {"answer": json_text(answer)}})

    async def delete_order(self, order_id: str) -> None:
        await self._store.delete(ORDERS, {"_id": order_id})

    async def expire_orders(self, before: datetime) -> None:
        await self._store.delete(ORDERS, {"expires_at": {"$lt": milliseconds(before)}})


def _totals(found: Sequence[Mapping[str, Any]]) -> dict[ItemState, Totals]:
    known = {
        ItemState(one["_id"]): Totals(int(one["rows"]), int(one.get("documents", 0)), int(one["bytes"]))
        for one in found
    }
    return {state: known.get(state, Totals()) for state in ItemState}
