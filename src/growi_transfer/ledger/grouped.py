"""Things that come one by one and are done together: those that come while a call is under way go with the next.

So whoever comes alone does not wait for company, and a durable write or a sync is shared by all who are there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from growi_transfer.ledger.base import FileRow, Ledger

T = TypeVar("T")
MOST = 1000
"""Things in one call."""


class Grouped(Generic[T]):
    """`work` gets the things of a group and gives one result for each, in order: None, or the error that this one has.
    What it raises all of the group get. One call at a time."""

    def __init__(self, work: Callable[[Sequence[T]], Awaitable[Sequence[Exception | None]]], most: int = MOST) -> None:
        self._work = work
        self._most = most
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def put(self, one: T) -> None:
        """Return when the work for this thing is done; raises its error. A cancelled caller interrupts nothing."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((one, done))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.ensure_future(self._work_off())
        await done

    async def _work_off(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            results: Sequence[Exception | None]
            try:
                results = await self._work([one for one, _ in group])
            except Exception as error:  # noqa: BLE001 (each of those who wait gets it)
                results = [error] * len(group)
            except asyncio.CancelledError:
                for _, done in (*group, *self._waiting):
                    done.cancel()
                raise
            for (_, done), result in zip(group, results, strict=True):
                if done.done():
                    continue  # who waited was cancelled
                if result is None:
                    done.set_result(None)
                else:
                    done.set_exception(result)


class FileBatch:
    """Rows of files in a ledger: several callers of `put` at once cost about two writes."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._rows: Grouped[FileRow] = Grouped(self._write)

    async def put(self, row: FileRow) -> None:
        """Write a row, durable on return. Raises what the ledger raises for the write that it was part of."""
        await self._rows.put(row)

    async def _write(self, rows: Sequence[FileRow]) -> Sequence[Exception | None]:
        await self._ledger.put_files(rows)
        return [None] * len(rows)
