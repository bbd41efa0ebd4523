"""Files looked at: each is there with its size, and with `deep` each is read again from the storage and hashed.

What is not as it should be is marked failed in its row, so that the next plan has it sent again. What a deep look has
read is marked too: after a crash the look goes on behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from growi_transfer.archive.bundle import hash_contents
from growi_transfer.ledger.base import FileRow, ItemState, Ledger
from growi_transfer.protocol.errors import DigestMismatch, FileNotFound, SizeMismatch, TransferError
from growi_transfer.protocol.wire import LARGE_FILE_BYTES, REPORTED
from growi_transfer.receiver.file_rows import is_stored, pages, place_of
from growi_transfer.storage.base import Storage
from growi_transfer.storage.digest import digest_of

_READERS = 4
_BATCH_BYTES = 16 << 20
"""Bytes of small files that one reader holds at a time."""
_BATCH_FILES = 256
_PAGE = 1000


@dataclass(slots=True)
class FilesSeen:
    """The outcome. `lost`: the first ids of files that are missing, cut or rotten; `total` counts all of them."""

    lost: list[str] = field(default_factory=list)
    total: int = 0
    stored: int = 0
    """Files that are as they should be."""


class FileProof:
    """Looks at every stored file of a transfer."""

    def __init__(self, storage: Storage, ledger: Ledger) -> None:
        self._storage = storage
        self._ledger = ledger

    async def look(self, transfer_id: str, *, deep: str = "") -> FilesSeen:
        """`deep` names this reading of the storage (the same name goes on with it); empty: sizes only.

        Raises the storage's errors; that a file cannot be found, or has another content, is an outcome.
        """
        seen = FilesSeen()
        async for rows in pages(self._ledger, transfer_id, _PAGE):
            page = [row for row in rows if is_stored(row)]
            there = await self._storage.stat_many([place_of(row) for row in page])
            lost: dict[str, str] = {}
            to_read: list[FileRow] = []
            for row, found in zip(page, there, strict=True):
                if found is None or found.size != row.size:
                    lost[row.attachment_id] = FileNotFound.code if found is None else SizeMismatch.code
                elif deep and row.facts.get("read") != deep:
                    to_read.append(row)
            if to_read:
                lost |= await self._rotten(to_read)
                good = [row for row in to_read if row.attachment_id not in lost]
                await self._ledger.put_files([replace(row, facts={**row.facts, "read": deep}) for row in good])
            await self._ledger.put_files(
                [
                    replace(row, state=ItemState.FAILED, reason=lost[row.attachment_id])
                    for row in page
                    if row.attachment_id in lost
                ]
            )
            seen.stored += len(page) - len(lost)
            seen.total += len(lost)
            seen.lost += list(lost)[: REPORTED - len(seen.lost)]
        return seen

    async def _rotten(self, rows: Sequence[FileRow]) -> dict[str, str]:
        """Why, by attachment id, of those whose content is not that of the row."""
        rotten: dict[str, str] = {}
        batches = _batches(rows)

        async def read() -> None:
            while batches:
                batch = batches.pop()
                for row, digest in zip(batch, await self._digests(batch), strict=True):
                    if digest != row.digest:
                        missing = isinstance(digest, FileNotFound)
                        rotten[row.attachment_id] = FileNotFound.code if missing else DigestMismatch.code

        ended = await asyncio.gather(*(read() for _ in range(_READERS)), return_exceptions=True)
        for error in ended:
            if error is not None:
                raise error  # one of them, as it is: others are of the same storage
        return rotten

    async def _digests(self, rows: Sequence[FileRow]) -> list[bytes | TransferError]:
        if rows[0].size > LARGE_FILE_BYTES:
            return [await self._digest(rows[0])]
        read = await self._storage.read_many([place_of(row) for row in rows], LARGE_FILE_BYTES)
        good = [content for content in read if not isinstance(content, TransferError)]
        hashed = iter(await asyncio.to_thread(hash_contents, good))
        digests: list[bytes | TransferError] = []
        for content in read:
            if not isinstance(content, TransferError):
                digests.append(bytes.fromhex(next(hashed)))
            elif isinstance(content, FileNotFound | SizeMismatch):
                digests.append(content)
            else:
                raise content  # the storage, not the file
        return digests

    async def _digest(self, row: FileRow) -> bytes | TransferError:
        try:
            return await digest_of(self._storage, place_of(row))
        except FileNotFound as error:
            return error


def _batches(rows: Sequence[FileRow]) -> list[list[FileRow]]:
    """Large files alone, small ones together."""
    batches: list[list[FileRow]] = []
    small: list[FileRow] = []
    size = 0
    for row in rows:
        if row.size > LARGE_FILE_BYTES:
            batches.append([row])
            continue
        if small and (size + row.size > _BATCH_BYTES or len(small) == _BATCH_FILES):
            batches.append(small)
            small, size = [], 0
        small.append(row)
        size += row.size
    return [*batches, small] if small else batches
