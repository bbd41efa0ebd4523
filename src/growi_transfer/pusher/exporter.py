"""The database side of a push: one pass over the source after another, until the destination equals one moment of it.

A pass reads every range once. A range that is new, or differs from what the destination was last told, is sent; the
others are only noted as seen. So the first pass copies, a pass after a resume re-sends nothing that is stored, and a
further pass is the reconciliation; they are the same code. A pass that read everything at one snapshot, with a
catalogue that did not change meanwhile, ends the work: the destination then equals that moment. Where the source has
no snapshots, or a pass outlives one, two equal passes do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from growi_transfer.ledger.base import CollectionRow, ItemState, Ledger, RangeRow, Role
from growi_transfer.mongo.client import Database, Snapshot
from growi_transfer.mongo.collections import list_collections
from growi_transfer.mongo.ranges import RawRange, cut
from growi_transfer.protocol.digest import combine
from growi_transfer.protocol.errors import CollectionKindUnsupported, CursorLost, SnapshotExpired, SourceChanged
from growi_transfer.protocol.progress import Noted
from growi_transfer.protocol.wire import CollectionProof
from growi_transfer.pusher.catalogue import Catalogue, partition, per_batch
from growi_transfer.pusher.gate import Gate

Declare = Callable[[Sequence[CollectionRow]], Awaitable[None]]
Send = Callable[[CollectionRow, RangeRow, RawRange, RangeRow], Awaitable[None]]
"""Sends one range and notes in the ledger that it is stored; the last argument is the row before. Raises RangeRestart
when the collection must begin again."""

_MARKED_AT_ONCE = 200
_INTERRUPTIONS = 200
"""Of one pass: each costs the reading of what the batch before it held, so a source that does this is not at rest."""


class RangeRestart(Exception):
    """What the destination holds of a collection does not fit; it has to be sent from the beginning."""


def is_stored(row: RangeRow) -> bool:
    """Whether the destination has acknowledged what the row says."""
    return row.state in (ItemState.STORED, ItemState.VERIFIED)


@dataclass(slots=True)
class Pass:
    """What one pass found."""

    marker: str
    one_moment: bool = True
    """Everything was read at one snapshot."""
    sent: int = 0
    """Ranges sent."""
    catalogue_changed: bool = False
    """Collections were made, dropped, renamed, re-created or altered while the pass ran."""
    capped_sent: int = 0
    """Volumes of capped collections sent. These cannot be read at a snapshot: another pass has to find them equal."""
    restarted: set[int] = field(default_factory=set)

    @property
    def is_final(self) -> bool:
        """The destination equals one moment of the source."""
        return self.is_final_but_for_capped and not self.capped_sent

    @property
    def is_final_but_for_capped(self) -> bool:
        """A further pass need only look at the capped collections."""
        return self.one_moment and not self.catalogue_changed and not self.restarted

    @property
    def is_quiet(self) -> bool:
        """Nothing had to be sent: together with the pass before it proves equality without a snapshot."""
        return self.sent == 0 and not self.catalogue_changed and not self.restarted


class Exporter:
    """Passes over one source database for one transfer."""

    def __init__(
        self,
        *,
        database: Database,
        ledger: Ledger,
        transfer_id: str,
        excluded: Sequence[str],
        gate: Gate,
        declare: Declare,
        send: Send,
        range_bytes: int,
        note: Callable[[Noted], None],
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._transfer_id = transfer_id
        self._excluded = tuple(excluded)
        self._gate = gate
        self._declare = declare
        self._send = send
        self._range_bytes = range_bytes
        self._note = note
        self._catalogue = Catalogue(ledger, transfer_id)

    async def catalogue(self) -> tuple[list[CollectionRow], bool]:
        """Follow the source's catalogue; tells whether it had changed. Raises CollectionKindUnsupported."""
        moving, _, unmovable = partition(await list_collections(self._database), self._excluded)
        if unmovable:
            raise CollectionKindUnsupported(
                f"The collection {unmovable[0].name} ({unmovable[0].kind}) cannot be moved; exclude it.",
                collection=unmovable[0].name,
            )
        return await self._catalogue.follow(moving)

    async def run(self, marker: str, *, only_capped: bool = False) -> Pass:
        """One pass. Every range that differs is stored at the destination when this returns.

        `only_capped`: the pass before was final but for capped collections, so only these are read again.
        """
        result = Pass(marker)
        rows, _ = await self.catalogue()
        await self._declare(rows)
        todo = [row for row in rows if (row.kind == "capped" if only_capped else row.kind != "view")]
        self._note(Noted("pass_begun", f"A pass over {len(todo)} collections begins.", {"collections": len(todo)}))
        interruptions = 0
        while todo:
            snapshot = self._database.snapshot(result.marker)
            result.one_moment = result.one_moment and snapshot is not None
            await self._read_all(todo, snapshot, result)
            if todo:
                # Go on at a newer moment; the pass as a whole is then of no single one.
                result.one_moment = False
                result.marker += "+"
                interruptions += 1
                if interruptions > _INTERRUPTIONS:
                    raise SourceChanged(f"{todo[0].name} cannot be read to its end.", collection=todo[0].name)
        rows_after, result.catalogue_changed = await self.catalogue()
        for row in rows_after:
            if row.number in result.restarted:
                await self._catalogue.renumber(row)
        self._note(_told(result))
        return result

    async def _read_all(self, todo: list[CollectionRow], snapshot: Snapshot | None, result: Pass) -> None:
        """Read the collections, one after the other, and take those that are done from the list; ranges of several
        may be in flight. Leaves some in the list when the snapshot has run out or a
        cursor was lost."""
        async with asyncio.TaskGroup() as group:
            while todo:
                row = todo[0]
                try:
                    if row.kind == "capped":
                        await self._read_capped(row, result)
                    else:
                        await self._read(row, snapshot, result, group)
                except RangeRestart:
                    result.restarted.add(row.number)
                except (SnapshotExpired, CursorLost):
                    return
                todo.pop(0)

    # ordinary collections

    async def _read(
        self, row: CollectionRow, snapshot: Snapshot | None, result: Pass, group: asyncio.TaskGroup
    ) -> None:
        held = [held async for held in self._ledger.ranges(Role.PUSHER, self._transfer_id, row.number)]
        number = max((one.number for one in held), default=-1) + 1
        for one in held:
            # What was in flight at a crash goes one by one: the destination may still have the former, wider range
            # under one of these numbers, and storing that one clears what it covered.
            if not is_stored(one):
                number = await self._compare(row, one, number, snapshot, result, None)
        if not any(one.maximum is None for one in held):
            # Bounds chain through the rows; numbers do not say an order, because a range that grew was split.
            begun = {one.minimum for one in held}
            frontier = next((one.maximum for one in held if one.maximum not in begun), None)
            async for raw in self._cut(row, frontier, None, snapshot):
                if row.number in result.restarted:
                    return
                fresh = self._row(row, number, raw)
                if raw.maximum is None and not raw.documents and number == 0:
                    # An empty collection: nothing to send, but the range is known and will be read again.
                    await self._ledger.put_ranges([replace(fresh, state=ItemState.STORED, marker=result.marker)])
                    break
                await self._ledger.put_ranges([fresh])
                await self._dispatch(row, fresh, raw, result, group)
                number += 1
        for one in held:
            if is_stored(one) and one.marker != result.marker:
                number = await self._compare(row, one, number, snapshot, result, group)

    async def _compare(
        self,
        row: CollectionRow,
        one: RangeRow,
        number: int,
        snapshot: Snapshot | None,
        result: Pass,
        group: asyncio.TaskGroup | None,
    ) -> int:
        """Read a known range again; the next free number. A range that has grown is split, a piece at a time."""
        pieces = self._cut(row, one.minimum, one.maximum, snapshot, slack=2)
        piece = await anext(pieces)
        while (following := await anext(pieces, None)) is not None:
            # At every moment the rows cover all that the former range covered.
            rest = self._row(row, number, replace(following, maximum=one.maximum))
            number += 1
            part = replace(one, maximum=piece.maximum, state=ItemState.PENDING)
            await self._ledger.put_ranges([part, rest])
            # Storing a part clears its whole former range at the destination, so what follows has to wait for it.
            await self._settle(row, part, piece, result)
            one, piece = rest, following
        if group is None:
            await self._settle(row, one, piece, result)
        else:
            await self._dispatch(row, one, piece, result, group)
        return number

    def _cut(
        self,
        row: CollectionRow,
        minimum: bytes | None,
        maximum: bytes | None,
        snapshot: Snapshot | None,
        slack: int = 1,
    ) -> AsyncGenerator[RawRange, None]:
        return cut(
            self._database,
            row.name,
            minimum,
            maximum,
            per_batch=per_batch(row),
            snapshot=snapshot,
            target=self._range_bytes * slack,
        )

    def _row(self, row: CollectionRow, number: int, raw: RawRange) -> RangeRow:
        return RangeRow(
            role=Role.PUSHER,
            transfer_id=self._transfer_id,
            collection=row.number,
            number=number,
            minimum=raw.minimum,
            maximum=raw.maximum,
            documents=0,
            bytes=0,
            digest=b"",
            state=ItemState.PENDING,
        )

    async def _dispatch(
        self, row: CollectionRow, one: RangeRow, raw: RawRange, result: Pass, group: asyncio.TaskGroup
    ) -> None:
        """Settle a range in the background as soon as there is a place; reading waits meanwhile."""
        await self._gate.acquire()

        async def settle() -> None:
            try:
                await self._settle(row, one, raw, result)
            except RangeRestart:
                result.restarted.add(row.number)
            finally:
                self._gate.release()

        try:
            group.create_task(settle())
        except BaseException:
            self._gate.release()
            raise

    async def _settle(self, row: CollectionRow, one: RangeRow, raw: RawRange, result: Pass) -> None:
        digest = await asyncio.to_thread(raw.digest, ordered=row.kind == "capped")
        seen = replace(one, documents=len(raw.documents), bytes=raw.bytes, digest=digest, marker=result.marker)
        if is_stored(one) and (one.digest, one.documents) == (digest, seen.documents):
            await self._ledger.put_ranges([seen])
            return
        result.sent += 1
        await self._send(row, replace(seen, state=ItemState.PENDING), raw, one)

    # capped collections: natural order, no snapshots, volumes one after another

    async def _read_capped(self, row: CollectionRow, result: Pass) -> None:
        held = [held async for held in self._ledger.ranges(Role.PUSHER, self._transfer_id, row.number)]
        number = 0
        equal = True
        async for raw in cut(
            self._database, row.name, per_batch=per_batch(row), natural=True, target=self._range_bytes
        ):
            one = held[number] if number < len(held) else self._row(row, number, raw)
            if not raw.documents and not held:
                break
            if equal:
                digest = await asyncio.to_thread(raw.digest, ordered=True)
                equal = is_stored(one) and one.digest == digest
                if not equal and number < len(held) and is_stored(one):
                    # What follows a difference has moved: the whole collection goes again.
                    raise RangeRestart
            result.capped_sent -= result.sent
            await self._settle(row, one, raw, result)
            result.capped_sent += result.sent
            number += 1
        if number < len(held):
            raise RangeRestart

    # proof

    async def rows(self) -> list[CollectionRow]:
        """The collections as the last pass left them."""
        return await self._catalogue.rows()

    async def proofs(self) -> list[CollectionProof]:
        """What the last pass found, by collection: what staging must be equal to."""
        proofs: list[CollectionProof] = []
        for row in await self._catalogue.rows():
            if row.kind == "view":
                continue
            held = [held async for held in self._ledger.ranges(Role.PUSHER, self._transfer_id, row.number)]
            if not all(is_stored(one) for one in held):
                raise SourceChanged(f"Not every range of {row.name} is stored.", collection=row.name)
            proofs.append(
                CollectionProof(
                    number=row.number,
                    documents=sum(one.documents for one in held),
                    digest=combine(one.digest for one in held).hex(),
                )
            )
        return proofs

    async def forget(self, collection: str, numbers: Sequence[int]) -> None:
        """Mark ranges as not stored, so that the next pass sends them again; all of them when none is named."""
        row = next((row for row in await self._catalogue.rows() if row.name == collection), None)
        if row is None:
            return
        if not numbers:
            await self._catalogue.renumber(row)
            return
        changed: list[RangeRow] = []
        async for held in self._ledger.ranges(Role.PUSHER, self._transfer_id, row.number):
            if held.number in numbers:
                changed.append(replace(held, state=ItemState.PENDING))
        await self._ledger.put_ranges(changed)


def _told(result: Pass) -> Noted:
    """What a pass found, for the transfer's log."""
    details = {
        "sent": result.sent,
        "restarted": len(result.restarted),
        "catalogue_changed": result.catalogue_changed,
        "one_moment": result.one_moment,
    }
    moment = "at one moment" if result.one_moment else "not at one moment"
    text = f"The pass has ended: {result.sent} ranges sent, read {moment}."
    if result.restarted:
        text += f" {len(result.restarted)} collections begin again."
    if result.catalogue_changed:
        text += " The source's list of collections has changed meanwhile."
    return Noted("pass_ended", text, details)
