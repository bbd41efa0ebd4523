"""Files at the commit and on the way back. Every function may be called again and ends in the same place."""

from __future__ import annotations

from growi_transfer.ledger.base import Ledger
from growi_transfer.receiver.file_rows import former_path, is_stored, pages, place_of, upload_id
from growi_transfer.storage.base import Storage


class FileSwap:
    """What a commit, a rollback, a cancel and a purge do with the files of one transfer."""

    def __init__(self, storage: Storage, ledger: Ledger) -> None:
        self._storage = storage
        self._ledger = ledger

    async def missing(self, transfer_id: str) -> list[str]:
        """Attachment ids of stored rows whose file is not there, or not whole. Of the others the source knows that
        they did not arrive: it counts them out, or the attachment is gone."""
        lost: list[str] = []
        async for rows in pages(self._ledger, transfer_id):
            page = [row for row in rows if is_stored(row)]
            there = await self._storage.stat_many([place_of(row) for row in page])
            for row, found in zip(page, there, strict=True):
                if found is None or found.size != row.size:
                    lost.append(row.attachment_id)
        return lost

    async def commit(self, transfer_id: str) -> int:
        """Put files that waited aside in their places; the number of files replaced. May be called again."""
        replaced = 0
        async for page in pages(self._ledger, transfer_id):
            waiting = [row for row in page if row.facts.get("aside") and is_stored(row)]
            there = await self._storage.stat_many([row.facts["aside"] for row in waiting])
            for row, found in zip(waiting, there, strict=True):
                replaced += 1
                if found is None:
                    continue  # done before
                if (await self._storage.stat_many([row.path]))[0] is not None:
                    await self._storage.move(row.path, former_path(transfer_id, row.path))
                await self._storage.move(row.facts["aside"], row.path)
        return replaced

    async def undo(self, transfer_id: str) -> None:
        """The way back of `commit`: what was replaced comes back, the new files wait aside again."""
        async for page in pages(self._ledger, transfer_id):
            for row in page:
                if not row.facts.get("aside") or not is_stored(row):
                    continue  # not moved by the commit
                former = former_path(transfer_id, row.path)
                aside, kept = await self._storage.stat_many([row.facts["aside"], former])
                if aside is None:
                    await self._storage.move(row.path, row.facts["aside"])
                if kept is not None:
                    await self._storage.move(former, row.path)

    async def discard(self, transfer_id: str) -> None:
        """Remove every file that this transfer brought, complete or not. The others are not touched."""
        async for page in pages(self._ledger, transfer_id):
            for row in page:
                if not is_stored(row):
                    partial = await self._storage.partial(place_of(row), upload_id(transfer_id, row.attachment_id))
                    await partial.abort()
                if row.facts.get("aside"):
                    await self._storage.delete(row.facts["aside"])
                elif row.facts.get("created"):
                    await self._storage.delete(row.path)

    async def purge(self, transfer_id: str) -> None:
        """Remove the files that were kept for rollback."""
        async for page in pages(self._ledger, transfer_id):
            for row in page:
                if not is_stored(row):
                    partial = await self._storage.partial(place_of(row), upload_id(transfer_id, row.attachment_id))
                    await partial.abort()
                if row.facts.get("aside"):
                    await self._storage.delete(former_path(transfer_id, row.path))
