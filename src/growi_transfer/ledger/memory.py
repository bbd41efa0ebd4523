"""The ledger that forgets: the contract of `ledger.base` in its shortest form, for tests and for work of one process.

Nothing is shared with the caller: values are brought into the form of `ledger.values` on their way in and copied on
their way out.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
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
from growi_transfer.ledger.memory_jobs import MemoryJobs
from growi_transfer.ledger.memory_sessions import MemorySessions
from growi_transfer.ledger.values import (
    bson_bytes,
    check_fact_names,
    from_bson_bytes,
    from_json_text,
    json_text,
    milliseconds,
    storable,
)
from growi_transfer.protocol.machine import Position, State


class MemoryLedger(MemoryJobs, MemorySessions):
    """`Ledger` in dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self._transfers: dict[tuple[Role, str], TransferRow] = {}
        self._leases: dict[tuple[Role, str], tuple[str, datetime]] = {}
        self._destination: str | None = None
        self._instance = ""
        self._collections: dict[tuple[Role, str], dict[int, CollectionRow]] = {}
        self._ranges: dict[tuple[Role, str, int], dict[int, RangeRow]] = {}
        self._files: dict[tuple[Role, str], dict[str, FileRow]] = {}
        self._keys: dict[str, KeyRow] = {}
        self._journal: dict[str, dict[int, JournalRow]] = {}
        self._log: dict[tuple[Role, str], dict[str, LogRow]] = {}
        self._orders: dict[str, OrderRow] = {}
        self._receipts: dict[tuple[Role, str], dict[int, bytes]] = {}

    async def prepare(self) -> None:
        """There is nothing to prepare."""

    # transfers

    async def create_transfer(self, row: TransferRow) -> TransferRow:
        check_fact_names(row.facts)
        kept = self._transfers.setdefault(
            (row.role, row.id),
            replace(
                row,
                setup=_json(row.setup),
                facts=_json(row.facts),
                created_at=milliseconds(row.created_at),
                updated_at=milliseconds(row.updated_at),
            ),
        )
        return copy.deepcopy(kept)

    async def get_transfer(self, role: Role, transfer_id: str) -> TransferRow | None:
        return copy.deepcopy(self._transfers.get((role, transfer_id)))

    async def list_transfers(
        self, role: Role | None = None, limit: int = 100, skip: int = 0, *, states: Sequence[State] = ()
    ) -> list[TransferRow]:
        rows = self._those(role, states)
        rows.sort(key=lambda row: (row.created_at, row.role, row.id), reverse=True)
        return copy.deepcopy(rows[skip : skip + max(0, limit)])

    async def count_transfers(self, role: Role | None = None, *, states: Sequence[State] = ()) -> int:
        return len(self._those(role, states))

    def _those(self, role: Role | None, states: Sequence[State]) -> list[TransferRow]:
        return [
            row
            for row in self._transfers.values()
            if role in (None, row.role) and (not states or row.position.state in states)
        ]

    async def move_transfer(
        self, role: Role, transfer_id: str, expected: Position, new: Position, now: datetime
    ) -> bool:
        row = self._transfers.get((role, transfer_id))
        if row is None or row.position != expected:
            return False
        self._transfers[role, transfer_id] = replace(row, position=new, updated_at=milliseconds(now))
        return True

    async def set_facts(self, role: Role, transfer_id: str, facts: Mapping[str, Any], now: datetime) -> None:
        check_fact_names(facts)
        given = _json(facts)
        row = self._transfers.get((role, transfer_id))
        if row is not None:
            merged = {name: value for name, value in {**row.facts, **given}.items() if value is not None}
            self._transfers[role, transfer_id] = replace(row, facts=merged, updated_at=milliseconds(now))

    async def set_epoch(self, role: Role, transfer_id: str, epoch: int) -> bool:
        row = self._transfers.get((role, transfer_id))
        if row is None or row.epoch > epoch:
            return False
        self._transfers[role, transfer_id] = replace(row, epoch=epoch)
        return True

    async def acquire_lease(
        self, role: Role, transfer_id: str, owner: str, now: datetime, until: datetime
    ) -> int | None:
        row = self._transfers.get((role, transfer_id))
        if row is None:
            return None
        holder = self._leases.get((role, transfer_id))
        if holder is not None and holder[0] != owner and holder[1] > milliseconds(now):
            return None
        self._leases[role, transfer_id] = (owner, milliseconds(until))
        self._transfers[role, transfer_id] = replace(row, epoch=row.epoch + 1)
        return row.epoch + 1

    async def renew_lease(self, role: Role, transfer_id: str, owner: str, until: datetime) -> bool:
        holder = self._leases.get((role, transfer_id))
        if holder is None or holder[0] != owner:
            return False
        self._leases[role, transfer_id] = (owner, milliseconds(until))
        return True

    async def lease_owner(self, role: Role, transfer_id: str) -> str | None:
        holder = self._leases.get((role, transfer_id))
        return holder[0] if holder is not None else None

    async def release_lease(self, role: Role, transfer_id: str, owner: str) -> None:
        holder = self._leases.get((role, transfer_id))
        if holder is not None and holder[0] == owner:
            del self._leases[role, transfer_id]

    async def claim_destination(self, transfer_id: str) -> str:
        if self._destination is None:
            self._destination = transfer_id
        return self._destination

    async def release_destination(self, transfer_id: str) -> None:
        if self._destination == transfer_id:
            self._destination = None

    async def instance_id(self, candidate: str) -> str:
        self._instance = self._instance or candidate
        return self._instance

    # collections, ranges, files

    async def put_collections(self, rows: Sequence[CollectionRow]) -> None:
        for row in rows:
            known = self._collections.setdefault((row.role, row.transfer_id), {})
            known[row.number] = replace(row, facts=_json(row.facts))

    async def collections(self, role: Role, transfer_id: str) -> list[CollectionRow]:
        rows = self._collections.get((role, transfer_id), {})
        return [copy.deepcopy(rows[number]) for number in sorted(rows)]

    async def delete_collection(self, role: Role, transfer_id: str, number: int) -> None:
        self._collections.get((role, transfer_id), {}).pop(number, None)
        await self.delete_ranges(role, transfer_id, number)

    async def put_ranges(self, rows: Sequence[RangeRow]) -> None:
        for row in rows:
            known = self._ranges.setdefault((row.role, row.transfer_id, row.collection), {})
            known[row.number] = replace(row, reason=storable(row.reason))

    async def ranges(self, role: Role, transfer_id: str, collection: int) -> AsyncIterator[RangeRow]:
        rows = self._ranges.get((role, transfer_id, collection), {})
        for number in sorted(rows):
            if number in rows:
                yield rows[number]

    async def get_range(self, role: Role, transfer_id: str, collection: int, number: int) -> RangeRow | None:
        return self._ranges.get((role, transfer_id, collection), {}).get(number)

    async def delete_ranges(self, role: Role, transfer_id: str, collection: int) -> None:
        self._ranges.get((role, transfer_id, collection), {}).clear()

    async def range_totals(self, role: Role, transfer_id: str) -> Mapping[ItemState, Totals]:
        return _totals(
            (row.state, row.documents, row.bytes)
            for key, rows in self._ranges.items()
            if key[:2] == (role, transfer_id)
            for row in rows.values()
        )

    async def stored_by_collection(self, role: Role, transfer_id: str) -> Mapping[int, Totals]:
        done = (ItemState.STORED, ItemState.VERIFIED)
        sums: dict[int, Totals] = {}
        for (owner, owned, number), rows in self._ranges.items():
            if (owner, owned) == (role, transfer_id) and (
                stored := [row for row in rows.values() if row.state in done]
            ):
                documents, size = sum(row.documents for row in stored), sum(row.bytes for row in stored)
                sums[number] = Totals(len(stored), documents, size)
        return sums

    async def put_files(self, rows: Sequence[FileRow]) -> None:
        for row in rows:
            known = self._files.setdefault((row.role, row.transfer_id), {})
            known[row.attachment_id] = replace(row, facts=_json(row.facts), reason=storable(row.reason))

    async def files(
        self, role: Role, transfer_id: str, state: ItemState | None = None, after: str = ""
    ) -> AsyncIterator[FileRow]:
        rows = self._files.get((role, transfer_id), {})
        for attachment_id in sorted(one for one in rows if one > after):
            row = rows.get(attachment_id)
            if row is not None and state in (None, row.state):
                yield _copied(row)

    async def get_files(self, role: Role, transfer_id: str, attachment_ids: Sequence[str]) -> dict[str, FileRow]:
        rows = self._files.get((role, transfer_id), {})
        return {one: _copied(rows[one]) for one in attachment_ids if one in rows}

    async def file_totals(self, role: Role, transfer_id: str) -> Mapping[ItemState, Totals]:
        return _totals((row.state, 0, row.size) for row in self._files.get((role, transfer_id), {}).values())

    async def mark_verified(self, role: Role, transfer_id: str) -> None:
        for (owner, owned, _), rows in self._ranges.items():
            if (owner, owned) == (role, transfer_id):
                for number, row in rows.items():
                    if row.state is ItemState.STORED:
                        rows[number] = replace(row, state=ItemState.VERIFIED)
        files = self._files.get((role, transfer_id), {})
        for attachment_id, file in files.items():
            if file.state is ItemState.STORED:
                files[attachment_id] = replace(file, state=ItemState.VERIFIED)

    async def delete_items(self, role: Role, transfer_id: str) -> None:
        self._collections.get((role, transfer_id), {}).clear()
        for key in self._ranges:
            if key[:2] == (role, transfer_id):
                self._ranges[key].clear()
        self._files.get((role, transfer_id), {}).clear()

    # keys

    async def add_key(self, row: KeyRow) -> None:
        self._keys[row.id] = replace(
            row,
            issued_at=milliseconds(row.issued_at),
            expires_at=milliseconds(row.expires_at),
            ceiling_at=milliseconds(row.ceiling_at),
            revoked_at=row.revoked_at and milliseconds(row.revoked_at),
            last_used_at=row.last_used_at and milliseconds(row.last_used_at),
        )

    async def get_key(self, key_id: str) -> KeyRow | None:
        return self._keys.get(key_id)

    async def list_keys(self) -> list[KeyRow]:
        return sorted(self._keys.values(), key=lambda row: (row.issued_at, row.id), reverse=True)

    async def claim_key(self, key_id: str, transfer_id: str) -> str | None:
        row = self._keys.get(key_id)
        if row is None:
            return None
        if row.claimed_by is None:
            self._keys[key_id] = replace(row, claimed_by=transfer_id)
        return row.claimed_by or transfer_id

    async def touch_key(self, key_id: str, now: datetime, expires_at: datetime) -> None:
        row = self._keys.get(key_id)
        if row is not None:
            used = milliseconds(now)
            self._keys[key_id] = replace(
                row,
                last_used_at=used if row.last_used_at is None else max(row.last_used_at, used),
                expires_at=max(row.expires_at, min(milliseconds(expires_at), row.ceiling_at)),
            )

    async def revoke_key(self, key_id: str, now: datetime) -> bool:
        row = self._keys.get(key_id)
        if row is None:
            return False
        if row.revoked_at is None:
            self._keys[key_id] = replace(row, revoked_at=milliseconds(now))
        return True

    # receipts

    async def put_receipt(self, role: Role, transfer_id: str, version: int, body: bytes) -> None:
        self._receipts.setdefault((role, transfer_id), {})[version] = body

    async def last_receipt(self, role: Role, transfer_id: str) -> tuple[int, bytes] | None:
        versions = self._receipts.get((role, transfer_id), {})
        return max(versions.items(), default=None)

    # journal

    async def append_journal(self, rows: Sequence[JournalRow]) -> None:
        for row in rows:
            known = self._journal.setdefault(row.transfer_id, {})
            known[row.number] = replace(row, payload=from_bson_bytes(bson_bytes(row.payload)))

    async def journal(self, transfer_id: str) -> list[JournalRow]:
        rows = self._journal.get(transfer_id, {})
        return [copy.deepcopy(rows[number]) for number in sorted(rows)]

    async def mark_done(self, transfer_id: str, number: int, payload: Mapping[str, Any] | None = None) -> None:
        row = self._journal.get(transfer_id, {}).get(number)
        if row is not None:
            changed = row.payload if payload is None else from_bson_bytes(bson_bytes(payload))
            self._journal[transfer_id][number] = replace(row, payload=changed, done=True)

    async def clear_journal(self, transfer_id: str) -> None:
        self._journal.pop(transfer_id, None)

    # the log of a transfer

    async def append_log(self, rows: Sequence[LogRow]) -> None:
        for row in rows:
            known = self._log.setdefault((row.role, row.transfer_id), {})
            known[row.stamp] = replace(
                row, at=milliseconds(row.at), message=storable(row.message), details=_json(row.details)
            )

    async def log(
        self, role: Role, transfer_id: str, *, levels: Sequence[str], limit: int, after: str = ""
    ) -> list[LogRow]:
        lines = self._log.get((role, transfer_id), {})
        found = [lines[stamp] for stamp in sorted(lines) if stamp > after and lines[stamp].level in levels]
        return copy.deepcopy(found[-limit:] if limit > 0 else [])

    async def trim_log(self, role: Role, transfer_id: str, keep: int) -> None:
        lines = self._log.get((role, transfer_id), {})
        for stamp in sorted(lines)[: max(0, len(lines) - keep)]:
            del lines[stamp]

    # orders between processes

    async def put_order(self, row: OrderRow) -> None:
        self._orders[row.id] = replace(row, arguments=_json(row.arguments), expires_at=milliseconds(row.expires_at))

    async def open_orders(self) -> list[OrderRow]:
        return copy.deepcopy([row for row in self._orders.values() if row.taken_by is None])

    async def get_order(self, order_id: str) -> OrderRow | None:
        return copy.deepcopy(self._orders.get(order_id))

    async def take_order(self, order_id: str, taken_by: str) -> bool:
        row = self._orders.get(order_id)
        if row is None or row.taken_by is not None:
            return False
        self._orders[order_id] = replace(row, taken_by=taken_by)
        return True

    async def answer_order(self, order_id: str, answer: Mapping[str, Any]) -> None:
        row = self._orders.get(order_id)
        if row is not None:
            self._orders[order_id] = replace(row, answer=_json(answer))

    async def delete_order(self, order_id: str) -> None:
        self._orders.pop(order_id, None)

    async def expire_orders(self, before: datetime) -> None:
        for order_id in [row.id for row in self._orders.values() if row.expires_at < milliseconds(before)]:
            del self._orders[order_id]


def _json(values: Mapping[str, Any]) -> dict[str, Any]:
    return from_json_text(json_text(values)) if values else {}


def _copied(row: FileRow) -> FileRow:
    return replace(row, facts=copy.deepcopy(row.facts)) if row.facts else row


def _totals(items: Iterable[tuple[ItemState, int, int]]) -> dict[ItemState, Totals]:
    totals = {state: Totals() for state in ItemState}
    for state, documents, size in items:
        known = totals[state]
        totals[state] = Totals(known.rows + 1, known.documents + documents, known.bytes + size)
    return totals
