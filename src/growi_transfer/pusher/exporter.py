"""The database side of a push: one pass over the source after another, until the destination equals one moment of it.

A pass reads every range once. A range that is new, or differs from what the destination was last told, is sent; the
others are only noted as seen. So the first pass copies, a pass after a resume re-sends nothing that is stored, and a
further pass is the reconciliation; they are the same code. A pass that read everything at one snapshot, under the
catalogue of that moment, makes the destination equal that moment. So does one that reads only what the server says was
written since an earlier reading: that is how a pass that outlives its snapshot is completed, and how a source is
followed. Where the source has no snapshots, two equal passes do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count, takewhile

from bson.timestamp import Timestamp

from growi_transfer.ledger.base import CollectionRow, ItemState, Ledger, RangeRow, Role
from growi_transfer.mongo.changes import Changes, changes_between, place
from growi_transfer.mongo.client import Database, Snapshot
from growi_transfer.mongo.collections import CollectionInfo, from_metadata, is_there, list_collections
from growi_transfer.mongo.ranges import RawRange, cut
from growi_transfer.protocol.digest import combine
from growi_transfer.protocol.errors import CollectionKindUnsupported, CursorLost, SnapshotExpired, SourceChanged
from growi_transfer.protocol.names import is_operating_state
from growi_transfer.protocol.progress import Noted
from growi_transfer.protocol.wire import CollectionProof
from growi_transfer.pusher.catalogue import Catalogue, partition, per_batch
from growi_transfer.pusher.outgoing import Outgoing, RangeRestart, is_stored
from growi_transfer.pusher.reading import Pass, Reading

Declare = Callable[[Sequence[CollectionRow]], Awaitable[None]]
_INTERRUPTIONS = 20
"""One after the other with nothing gained in between; a capped collection is begun anew after each."""
_CATALOGUE_TRIES = 5
"""To find a moment at which no collection is being made, dropped or altered."""


class Exporter:
    """Passes over one source database for one transfer."""

    def __init__(
        self,
        *,
        database: Database,
        ledger: Ledger,
        transfer_id: str,
        excluded: Sequence[str],
        declare: Declare,
        outgoing: Outgoing,
        range_bytes: int,
        note: Callable[[Noted], None],
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._transfer_id = transfer_id
        self._excluded = tuple(excluded)
        self._declare = declare
        self._outgoing = outgoing
        self._range_bytes = range_bytes
        self._note = note
        self._catalogue = Catalogue(ledger, transfer_id)

    async def catalogue(self) -> tuple[list[CollectionRow], bool]:
        """Follow the source's catalogue; tells whether it had changed. Raises CollectionKindUnsupported."""
        return await self._catalogue.follow(await self._moving())

    async def _moving(self) -> list[CollectionInfo]:
        moving, _, unmovable = partition(await list_collections(self._database), self._excluded)
        if unmovable:
            raise CollectionKindUnsupported(
                f"The collection {unmovable[0].name} ({unmovable[0].kind}) cannot be moved; exclude it.",
                collection=unmovable[0].name,
            )
        return moving

    async def begin(self, marker: str) -> Reading:
        """Declare the source's collections to the destination and choose the moment of the next pass: one at which
        these were the collections, if they stand still for an instant."""
        rows, _ = await self.catalogue()
        snapshot, known = await self._snapshot(marker), False
        for _ in range(_CATALOGUE_TRIES if snapshot is not None else 0):
            rows, changed = await self.catalogue()
            known = not changed
            if known:
                break
            snapshot = await self._snapshot(marker)
        await self._declare(rows)
        return Reading(marker, rows, snapshot, known)

    async def _snapshot(self, marker: str) -> Snapshot | None:
        snapshot = self._database.snapshot(marker)
        if snapshot is not None:
            snapshot.at_cluster_time = await self._database.now()
        return snapshot

    async def changes(self, since: Timestamp | None, until: Timestamp | None) -> Changes | None:
        """What was written at the source between two moments; None when that cannot be told."""
        if since is None or until is None:
            return None
        found = await changes_between(self._database, since, until)
        if found is not None:
            for name in [name for name in found.ids if is_operating_state(name) or name in self._excluded]:
                del found.ids[name]
        return found

    async def now(self) -> Timestamp | None:
        """The source's present moment; None where it has no snapshots."""
        return await self._database.now()

    async def is_newer(self) -> bool:
        """Whether the source has other collections, options or indexes than the destination was told."""
        return await self._catalogue.is_newer(await self._moving())

    async def run(self, reading: Reading, changes: Changes | None = None) -> Pass:
        """One pass. Every range that differs is stored at the destination when this returns.

        `changes`: everything that was written since all ranges were last read, up to the moment of this reading; the
        other ranges are then as they were and are not read. Capped collections are always read.
        """
        result = Pass(reading, one_moment=reading.is_catalogue_known)
        # Capped collections last: they are read at no snapshot, so what interrupts them leaves the others alone.
        todo = sorted((row for row in reading.rows if row.kind != "view"), key=lambda row: row.kind == "capped")
        snapshot = reading.snapshot
        over, word = ("everything", "everything") if changes is None else ("changes", "what was written")
        self._note(Noted("pass_begun", f"A pass over {word} begins.", {"collections": len(todo), "over": over}))
        interruptions = 0
        while todo:
            before = (len(todo), result.settled)
            await self._read_all(todo, snapshot, result, changes)
            if todo:
                # Go on at a newer moment; the pass as a whole is then of no single one.
                result.one_moment &= todo[0].kind == "capped"
                snapshot = await self._snapshot(reading.marker)
                gained = todo[0].kind != "capped" and before != (len(todo), result.settled)
                interruptions = 0 if gained else interruptions + 1
                if interruptions > _INTERRUPTIONS:
                    raise SourceChanged(f"{todo[0].name} cannot be read to its end.", collection=todo[0].name)
        for row in reading.rows:
            if row.number in result.restarted:
                await self._catalogue.renumber(row)
        result.newer = await self.is_newer()
        self._note(result.told())
        return result

    async def _read_all(
        self, todo: list[CollectionRow], snapshot: Snapshot | None, result: Pass, changes: Changes | None
    ) -> None:
        """Read the collections, one after the other, and take those that are done from the list; ranges of several
        may be in flight. Leaves some in the list when the snapshot has run out or a cursor was lost."""
        async with asyncio.TaskGroup() as group:
            while todo:
                row = todo[0]
                try:
                    if row.kind == "capped":
                        await self._read_capped(row, result)
                    else:
                        changed = changes.of(row.name) if changes is not None else None
                        await self._read(row, snapshot, result, group, changed)
                        # At a snapshot a collection that is gone reads as empty, without an error.
                        result.one_moment &= await is_there(self._database, row.name, row.source_uuid)
                except RangeRestart:
                    result.restarted.add(row.number)
                except (SnapshotExpired, CursorLost):
                    return
                todo.pop(0)

    # ordinary collections

    async def _read(
        self,
        row: CollectionRow,
        snapshot: Snapshot | None,
        result: Pass,
        group: asyncio.TaskGroup,
        changed: set[bytes] | None,
    ) -> None:
        """Read one collection; of known ranges only those in which a document has `changed`, if that is known."""
        held = [held async for held in self._ledger.ranges(Role.PUSHER, self._transfer_id, row.number)]
        touched = await self._touched(row, held, changed)
        marker = result.reading.marker
        numbers = count(max((one.number for one in held), default=-1) + 1)
        for one in held:
            # What was in flight at a crash goes one by one: the destination may still have the former, wider range
            # under one of these numbers, and storing that one clears what it covered.
            if not is_stored(one):
                await self._compare(row, one, numbers, snapshot, result, None)
        if not any(one.maximum is None for one in held):
            # Bounds chain through the rows; numbers do not say an order, because a range that grew was split.
            begun = {one.minimum for one in held}
            frontier = next((one.maximum for one in held if one.maximum not in begun), None)
            async for raw in self._cut(row, frontier, None, snapshot, self._outgoing.wanted):
                if row.number in result.restarted:
                    return
                fresh = self._outgoing.row(row, next(numbers), raw)
                if raw.maximum is None and not raw.documents and fresh.number == 0:
                    # An empty collection: nothing to send, but the range is known and will be read again.
                    await self._ledger.put_ranges([replace(fresh, state=ItemState.STORED, marker=marker)])
                    break
                await self._ledger.put_ranges([fresh])
                await self._outgoing.dispatch(row, fresh, raw, result, numbers, group)
        for one in held:
            # What this pass has looked at before it was interrupted need not be looked at again.
            if is_stored(one) and one.marker != marker and (touched is None or one.number in touched):
                await self._compare(row, one, numbers, snapshot, result, group)

    async def _touched(
        self, row: CollectionRow, held: Sequence[RangeRow], changed: set[bytes] | None
    ) -> set[int] | None:
        """Numbers of the ranges in which documents have changed; None when all have to be looked at."""
        if changed is None:
            return None
        if not changed or not held:
            return set()
        options = from_metadata(row.metadata).get("options", {})
        bounds = [(one.number, one.minimum) for one in held]
        return await place(self._database, bounds, changed, options.get("collation"))

    async def _compare(
        self,
        row: CollectionRow,
        one: RangeRow,
        numbers: Iterator[int],
        snapshot: Snapshot | None,
        result: Pass,
        group: asyncio.TaskGroup | None,
    ) -> None:
        """Read a known range again. A range that has grown is split, a piece at a time."""
        # However small ranges are cut now, one that is stored stays as it is.
        pieces = self._cut(row, one.minimum, one.maximum, snapshot, 2 * self._range_bytes)
        piece = await anext(pieces)
        while (following := await anext(pieces, None)) is not None:
            rest = self._outgoing.row(row, next(numbers), replace(following, maximum=one.maximum))
            await self._outgoing.settle_part(row, one, piece, rest, result, numbers)
            one, piece = rest, following
        if group is None:
            await self._outgoing.settle(row, one, piece, result, numbers)
        else:
            await self._outgoing.dispatch(row, one, piece, result, numbers, group)

    def _cut(
        self,
        row: CollectionRow,
        minimum: bytes | None,
        maximum: bytes | None,
        snapshot: Snapshot | None,
        target: int | Callable[[], int],
    ) -> AsyncGenerator[RawRange, None]:
        return cut(
            self._database,
            row.name,
            minimum,
            maximum,
            per_batch=per_batch(row),
            snapshot=snapshot,
            target=target,
        )

    # capped collections: natural order, no snapshots, volumes one after another

    async def _read_capped(self, row: CollectionRow, result: Pass) -> None:
        held = [held async for held in self._ledger.ranges(Role.PUSHER, self._transfer_id, row.number)]
        # Cut as before, whatever the sizes are now: volumes of a capped collection are told by what is in them.
        counts = [one.documents for one in takewhile(is_stored, held)]
        numbers = count()
        equal = True
        async for raw in cut(
            self._database,
            row.name,
            per_batch=per_batch(row),
            natural=True,
            target=self._outgoing.wanted,
            counts=counts,
        ):
            number = next(numbers)
            one = held[number] if number < len(held) else self._outgoing.row(row, number, raw)
            if not raw.documents and not held:
                return
            if equal:
                digest = await asyncio.to_thread(raw.digest, ordered=True)
                equal = is_stored(one) and one.digest == digest
                if not equal and number < len(held) and is_stored(one):
                    # What follows a difference has moved: the whole collection goes again.
                    raise RangeRestart
            result.capped_sent -= result.sent
            await self._outgoing.settle(row, one, raw, result, numbers)
            result.capped_sent += result.sent
        if next(numbers) < len(held):
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
