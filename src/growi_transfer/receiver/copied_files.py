"""Files that the store copies from the source's bucket: no byte of them comes over the line.

The source names the key of each and its ETag. A key must be one under which GROWI keeps this very attachment, and the
store copies only what has that ETag, which nobody knows who cannot read the object: so a peer cannot have anything
copied that it could not send. What is stored is proved by its SHA-256, as the store tells it or as it is read back.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from hashlib import sha256
from typing import Any

from growi_transfer.ledger.base import FileRow, ItemState, Ledger, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.protocol.errors import CopyRefused, InvalidRequest, SizeMismatch, TransferError
from growi_transfer.protocol.places import storage_paths
from growi_transfer.protocol.progress import FilesStored
from growi_transfer.protocol.wire import LARGE_FILE_BYTES, CopyOffer, CopyPage
from growi_transfer.receiver.absences import Absences
from growi_transfer.receiver.attachments import place, too_large
from growi_transfer.receiver.file_names import FileNames
from growi_transfer.receiver.file_rows import fault_of, path_of, place_of
from growi_transfer.storage.base import BucketCopies, FileMeta, Offer, Storage
from growi_transfer.storage.digest import digest_of

_AT_ONCE = 24


class CopiedFiles:
    """`copies` is what the destination's storage can do."""

    def __init__(
        self,
        storage: Storage,
        copies: BucketCopies,
        ledger: Ledger,
        board: ProgressBoard,
        names: FileNames,
        absences: Absences,
        *,
        max_file_size: int | None = None,
    ) -> None:
        self._storage = storage
        self._copies = copies
        self._ledger = ledger
        self._board = board
        self._names = names
        self._absences = absences
        self._max_file_size = max_file_size

    async def put(self, transfer_id: str, page: CopyPage) -> list[dict[str, Any]]:
        """Have these files copied: one result per file, in order, each durable before this returns. A result has the
        SHA-256 of the file, or `copy_refused` where the file has to be sent."""
        files = [offer.file for offer in page.offers]
        if len({file.id for file in files}) != len(files) or len(
            {path_of(file, self._storage) for file in files}
        ) != len(files):
            raise InvalidRequest("A file is twice on one page.")
        faults: dict[str, TransferError] = dict(await self._names.collisions(transfer_id, files))
        for offer in page.offers:
            fault = too_large(offer.file, self._max_file_size)
            if offer.key not in storage_paths(offer.file.naming, "aws"):
                fault = CopyRefused("GROWI keeps no file of this attachment under the key that was named.")
            if fault is not None:
                faults[offer.file.id] = fault
        good = [offer for offer in page.offers if offer.file.id not in faults]
        rows = await place(
            self._storage, self._ledger, transfer_id, [offer.file for offer in good], absences=self._absences
        )
        turns = asyncio.Semaphore(_AT_ONCE)

        async def copy(offer: CopyOffer, row: FileRow) -> FileRow | TransferError:
            async with turns:
                try:
                    digest = await self._copy(page.bucket, offer, row)
                except TransferError as error:
                    return error
            return replace(row, state=ItemState.STORED, digest=digest)

        done = await asyncio.gather(*(copy(offer, row) for offer, row in zip(good, rows, strict=True)))
        stored = {row.attachment_id: row for row in done if isinstance(row, FileRow)}
        faults |= {
            offer.file.id: error for offer, error in zip(good, done, strict=True) if isinstance(error, TransferError)
        }
        await self._ledger.put_files(list(stored.values()))
        size = sum(row.size for row in stored.values())
        self._board.apply(Role.RECEIVER, transfer_id, FilesStored(len(stored), size, 0))
        return [
            {"id": file.id, "ok": True, "sha256": stored[file.id].digest.hex()}
            if file.id in stored
            else fault_of(file, faults[file.id])
            for file in files
        ]

    async def _copy(self, bucket: str, offer: CopyOffer, row: FileRow) -> bytes:
        file, target = offer.file, place_of(row)
        meta = FileMeta(file.content_type, file.original_name)
        digest = await self._copies.copy(bucket, Offer(offer.key, file.size, offer.etag), target, meta)
        if digest is None and file.size <= LARGE_FILE_BYTES:
            # One request instead of a look and a reading.
            (content,) = await self._storage.read_many([target], file.size)
            if isinstance(content, TransferError) and not isinstance(content, SizeMismatch):
                raise content
            size = -1 if isinstance(content, TransferError) else len(content)
            digest = b"" if isinstance(content, TransferError) else sha256(content).digest()
        else:
            (found,) = await self._storage.stat_many([target])
            size = -1 if found is None else found.size
        if size != file.size:
            await self._storage.delete(target)
            raise SizeMismatch("The copy that the store has made has another size.", size=file.size)
        return digest if digest is not None else await digest_of(self._storage, target)
