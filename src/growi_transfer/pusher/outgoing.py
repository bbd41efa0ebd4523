"""Ranges that were read: compared with what is stored, sent if they differ, and split where they are too large."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

from growi_transfer.ledger.base import CollectionRow, ItemState, Ledger, RangeRow, Role
from growi_transfer.mongo.ranges import RawRange
from growi_transfer.pusher.gate import Gate
from growi_transfer.pusher.reading import Pass
from growi_transfer.pusher.sizes import Size

Send = Callable[[CollectionRow, RangeRow, RawRange, RangeRow], Awaitable[None]]
"""Sends one range and notes in the ledger that it is stored; the last argument is the row before. Raises RangeRestart
when the collection must begin again, and RangeTooLarge when the range has to be split."""


class RangeRestart(Exception):
    """What the destination holds of a collection does not fit; it has to be sent from the beginning."""


class RangeTooLarge(Exception):
    """A range does not get through as a whole; what was read of it is there again and can be sent in parts."""


def is_stored(row: RangeRow) -> bool:
    """Whether the destination has acknowledged what the row says."""
    return row.state in (ItemState.STORED, ItemState.VERIFIED)


class Outgoing:
    """The ranges of one transfer on their way. `numbers` is where the free numbers of a collection come from."""

    def __init__(self, *, ledger: Ledger, transfer_id: str, gate: Gate, send: Send, size: Size) -> None:
        self._ledger = ledger
        self._transfer_id = transfer_id
        self._gate = gate
        self._send = send
        self._size = size

    def wanted(self) -> int:
        """Bytes of the next range that is cut."""
        return self._size.current

    def row(self, row: CollectionRow, number: int, raw: RawRange) -> RangeRow:
        """The row of a range that is new."""
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

    async def dispatch(
        self,
        row: CollectionRow,
        one: RangeRow,
        raw: RawRange,
        result: Pass,
        numbers: Iterator[int],
        group: asyncio.TaskGroup,
    ) -> None:
        """Settle a range in the background as soon as there is a place; reading waits meanwhile."""
        size = raw.bytes
        await self._gate.acquire(size)

        async def settle() -> None:
            try:
                await self.settle(row, one, raw, result, numbers)
            except RangeRestart:
                result.restarted.add(row.number)
            finally:
                self._gate.release(size)

        try:
            group.create_task(settle())
        except BaseException:
            self._gate.release(size)
            raise

    async def settle(
        self,
        row: CollectionRow,
        one: RangeRow,
        raw: RawRange,
        result: Pass,
        numbers: Iterator[int],
        before: RangeRow | None = None,
    ) -> None:
        """Send a range if it differs from what is stored. `before`: what its row said before it was split."""
        digest = await asyncio.to_thread(raw.digest, ordered=row.kind == "capped")
        seen = replace(one, documents=len(raw.documents), bytes=raw.bytes, digest=digest)
        seen = replace(seen, marker=result.reading.marker)
        if is_stored(one) and (one.digest, one.documents) == (digest, seen.documents):
            result.settled += 1
            await self._ledger.put_ranges([seen])
            return
        # What is only a little larger than wanted goes as it is: ranges grow between two readings.
        if raw.bytes <= 2 * self._size.current or len(raw.documents) == 1:
            try:
                await self._send(row, replace(seen, state=ItemState.PENDING), raw, before or one)
            except RangeTooLarge:
                pass
            else:
                result.settled += 1
                result.sent += 1
                result.documents += seen.documents
                result.bytes += seen.bytes
                return
        first, second = raw.halves(ordered=row.kind == "capped")
        raw.documents.clear()
        rest = self.row(row, next(numbers), second)
        await self.settle_part(row, one, first, rest, result, numbers, before)
        await self.settle(row, rest, second, result, numbers)

    async def settle_part(
        self,
        row: CollectionRow,
        one: RangeRow,
        piece: RawRange,
        rest: RangeRow,
        result: Pass,
        numbers: Iterator[int],
        before: RangeRow | None = None,
    ) -> None:
        """Send the first piece of a range that is split, under its number; `rest` is the row of what follows.

        Storing it clears the whole former range at the destination, so what follows has to wait for this to return.
        """
        # At every moment the rows cover all that the former range covered.
        part = replace(one, maximum=piece.maximum, state=ItemState.PENDING)
        await self._ledger.put_ranges([part, rest])
        await self.settle(row, part, piece, result, numbers, before or one)
