"""Rows of files that come one by one, written together: those that come while a write is under way go with the next."""

from __future__ import annotations

import asyncio

from growi_transfer.ledger.base import FileRow, Ledger


class FileBatch:
    """`put` returns when the row is durable; several callers at once cost about two writes."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[tuple[FileRow, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def put(self, row: FileRow) -> None:
        """Write a row. Raises what the ledger raises for the write that it was part of."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.ensure_future(self._write_all())
        await done

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            error: Exception | None = None
            try:
                await self._ledger.put_files([row for row, _ in batch])
            except Exception as raised:  # noqa: BLE001 (each of those who wait gets it)
                error = raised
            for _, done in batch:
                if done.done():
                    continue  # who waited was cancelled
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)
