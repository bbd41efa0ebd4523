"""Files at the commit and on the way back. Every function may be called again and ends in the same place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from growi_transfer.ledger.base import FileRow, Ledger
from growi_transfer.protocol.errors import NotRestorable
from growi_transfer.receiver.file_rows import (
    former_path,
    is_stored,
    is_unwanted,
    pages,
    place_of,
    target_of,
    upload_id,
)
from growi_transfer.storage.base import Storage


class FileSwap:
    """What a commit, a rollback, a cancel and a purge do with the files of one transfer."""

    def __init__(self, storage: Storage, ledger: Ledger) -> None:
        self._storage = storage
        self._ledger = ledger

    async def commit(self, transfer_id: str) -> int:
        """Put files that waited aside in their places; the number of files replaced. May be called again."""
        replaced = 0
        async for rows in self._waiting(transfer_id):
            for row in rows:
                replaced += 1
                aside, there, kept = await self._places(transfer_id, row)
                if not aside:
                    continue  # done before
                if there and not kept:
                    await self._storage.move(target_of(row), former_path(transfer_id, target_of(row)))
                elif not there and not kept and not row.facts.get("vacant"):
                    # Gone since it was found to be in the way: then there is nothing to bring back either.
                    await self._ledger.put_files([replace(row, facts={**row.facts, "vacant": True})])
                await self._storage.move(row.facts["aside"], target_of(row))
        return replaced

    async def undo(self, transfer_id: str) -> None:
        """The way back of `commit` to `ready`: what was replaced comes back, the new files wait aside again."""
        async for rows in self._waiting(transfer_id):
            for row in rows:
                aside, there, kept = await self._places(transfer_id, row)
                if there and not aside and (kept or row.facts.get("vacant")):
                    await self._storage.move(target_of(row), row.facts["aside"])
                if kept:
                    await self._storage.move(former_path(transfer_id, target_of(row)), target_of(row))

    async def check_restorable(self, transfer_id: str) -> None:
        """Before anything is changed: whether everything that `commit` replaced is still kept. Raises NotRestorable."""
        async for rows in self._waiting(transfer_id):
            kept = await self._storage.stat_many([former_path(transfer_id, target_of(row)) for row in rows])
            for row, found in zip(rows, kept, strict=True):
                if found is None and not row.facts.get("vacant"):
                    raise NotRestorable(f"The former file {row.path} is no longer kept.", file=row.path)

    async def restore(self, transfer_id: str) -> None:
        """The way back of a rollback: what was replaced comes back in one step each, so that two who do it at once do
        no harm; what this transfer brought goes with `discard`. A file that came after the commit may have been cut off
        in the middle of its swap, so rows that are not stored count too."""
        async for rows in self._waiting(transfer_id, cut_off_too=True):
            kept = await self._storage.stat_many([former_path(transfer_id, target_of(row)) for row in rows])
            for row, found in zip(rows, kept, strict=True):
                if found is not None:
                    await self._storage.move(former_path(transfer_id, target_of(row)), target_of(row))

    async def _waiting(self, transfer_id: str, *, cut_off_too: bool = False) -> AsyncIterator[list[FileRow]]:
        """Pages of rows whose files wait for the commit, or waited. Two attachments may name one file."""
        async for page in pages(self._ledger, transfer_id):
            rows = {
                target_of(row): row
                for row in page
                if row.facts.get("aside") and (cut_off_too or is_stored(row)) and not is_unwanted(row)
            }
            if rows:
                yield list(rows.values())

    async def _places(self, transfer_id: str, row: FileRow) -> tuple[bool, bool, bool]:
        """Whether there is a file that waits aside, one in the place itself, and a former one that is kept."""
        found = await self._storage.stat_many(
            [row.facts["aside"], target_of(row), former_path(transfer_id, target_of(row))]
        )
        aside, there, kept = (one is not None for one in found)
        return aside, there, kept

    async def discard(self, transfer_id: str) -> None:
        """Remove every file that this transfer brought, complete or not. The others are not touched."""
        async for page in pages(self._ledger, transfer_id):
            ours: list[str] = []
            for row in page:
                if not is_stored(row):
                    partial = await self._storage.partial(place_of(row), upload_id(transfer_id, row.attachment_id))
                    await partial.abort()
                if row.facts.get("aside"):
                    ours.append(row.facts["aside"])
                    if row.facts.get("vacant"):
                        ours.append(target_of(row))
                elif row.facts.get("created"):
                    ours.append(row.path)
            await self._storage.delete_many(ours)

    async def purge(self, transfer_id: str) -> None:
        """Remove the files that were kept for rollback, and what is left of those that were never stored."""
        async for page in pages(self._ledger, transfer_id):
            for row in page:
                if not is_stored(row):
                    partial = await self._storage.partial(place_of(row), upload_id(transfer_id, row.attachment_id))
                    await partial.abort()
            await self._storage.delete_many(
                [
                    *(former_path(transfer_id, target_of(row)) for row in page if row.facts.get("aside")),
                    *(row.facts["aside"] for row in page if row.facts.get("aside") and not is_stored(row)),
                ]
            )

    async def drop_unwanted(self, transfer_id: str) -> None:
        """Remove the files of attachments that a merge leaves out. May be called again."""
        async for page in pages(self._ledger, transfer_id):
            for row in filter(is_unwanted, page):
                if row.facts.get("aside"):
                    await self._storage.delete(row.facts["aside"])
                elif row.facts.get("created"):
                    await self._storage.delete(row.path)
