"""Attachment files in: the plan of what is missing, bundles of small files, large files by offset.

Files have no staging of their own. A name that is new is written in place, after a row that says that we made it; a
name that is there with another content waits aside until the commit, and what it replaces is kept for rollback. So a
cancel or a rollback touches only files of its own transfer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from growi_transfer.archive.bundle import read_frames
from growi_transfer.ledger.base import FileRow, ItemState, Ledger, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.protocol.errors import (
    BodyTooLarge,
    CopyRefused,
    InvalidRequest,
    TransferError,
)
from growi_transfer.protocol.progress import FilesStored
from growi_transfer.protocol.wire import AttachmentFile, CopyPage
from growi_transfer.receiver.absences import Absences
from growi_transfer.receiver.file_names import FileNames
from growi_transfer.receiver.file_rows import (
    aside_path,
    fault_of,
    is_stored,
    new_row,
    path_of,
    place_of,
    upload_id,
)
from growi_transfer.storage.base import FileMeta, SmallFile, Storage, StoredFile
from growi_transfer.storage.digest import digest_of

REMOVED = "attachment_removed"
"""Reason of rows whose attachment the source has removed since its file was sent."""


class Attachments:
    """The file side of a receiver. `max_file_size` is GROWI's MAX_FILE_SIZE in bytes (None: no limit)."""

    def __init__(
        self,
        storage: Storage,
        ledger: Ledger,
        board: ProgressBoard,
        names: FileNames,
        absences: Absences,
        *,
        max_file_size: int | None = None,
        copy: Callable[[str, CopyPage], Awaitable[list[dict[str, Any]]]] | None = None,
    ) -> None:
        """`copy` has files copied by the store (`copied_files`), where it can."""
        self._storage = storage
        self._copy = copy
        self._ledger = ledger
        self._board = board
        self._names = names
        self._max_file_size = max_file_size
        self._absences = absences

    # plan

    async def plan(self, transfer_id: str, files: Sequence[AttachmentFile]) -> dict[str, Any]:
        """What the source has to send of these: ids that are missing, and ids of files that are here with the same
        size, which the source may ask about again with their digest. What is left out is stored."""
        if len({file.id for file in files}) != len(files):
            raise InvalidRequest("An attachment is named twice on one page.")
        rows = await self._ledger.get_files(Role.RECEIVER, transfer_id, [file.id for file in files])
        paths = [path_of(file, self._storage) for file in files]
        there = await self._storage.stat_many(
            [place_of(rows[file.id]) if file.id in rows else path for file, path in zip(files, paths, strict=True)]
        )
        self._absences.remember(
            transfer_id,
            (
                path
                for file, path, found in zip(files, paths, there, strict=True)
                if found is None and file.id not in rows
            ),
        )
        missing: list[str] = []
        same_size: list[str] = []
        to_hash: list[tuple[AttachmentFile, str, StoredFile]] = []
        for file, path, found in zip(files, paths, there, strict=True):
            row = rows.get(file.id)
            if row is not None and row.path == path and is_stored(row):
                known = found is not None and found.size == row.size == file.size
                if known and file.sha256 in (None, row.digest.hex()):
                    continue
                missing.append(file.id)
            elif found is None or found.size != file.size or row is not None:
                missing.append(file.id)
            elif file.sha256 is None:
                same_size.append(file.id)
            else:
                to_hash.append((file, path, found))
        fresh: list[FileRow] = []
        for file, path, found in to_hash:
            if (await self._digest(found.path)).hex() == file.sha256:
                fresh.append(new_row(transfer_id, file, path, ItemState.STORED, created=False))
            else:
                missing.append(file.id)
        await self._ledger.put_files(fresh)
        if fresh:
            self._board.apply(Role.RECEIVER, transfer_id, FilesStored(len(fresh), sum(row.size for row in fresh), 0))
        return {"missing": missing, "same_size": same_size, "stored": len(files) - len(missing) - len(same_size)}

    async def drop(self, transfer_id: str, ids: Sequence[str]) -> None:
        """Remove what this transfer has brought for attachments that the source has removed; twice is as once."""
        rows = (await self._ledger.get_files(Role.RECEIVER, transfer_id, ids)).values()
        # Rows first: one that outlives its file would say that it is there.
        await self._ledger.put_files([replace(row, state=ItemState.SKIPPED, reason=REMOVED) for row in rows])
        stored = [row for row in rows if is_stored(row)]
        self._board.apply(Role.RECEIVER, transfer_id, FilesStored(-len(stored), -sum(row.size for row in stored), 0))
        for row in rows:
            if not is_stored(row):
                partial = await self._storage.partial(place_of(row), upload_id(transfer_id, row.attachment_id))
                await partial.abort()
            if row.facts.get("aside") or row.facts.get("created"):
                await self._storage.delete(place_of(row))

    async def _digest(self, path: str) -> bytes:
        return await digest_of(self._storage, path)

    # bundles

    async def put_bundle(self, transfer_id: str, body: bytes) -> list[dict[str, Any]]:
        """Store the files of a bundle; one result per file, in order, each durable before this returns.

        Raises FrameInvalid when the framing is lost; a fault of one file is that file's result.
        """
        frames = await asyncio.to_thread(read_frames, body)
        results: list[dict[str, Any]] = [{} for _ in frames]
        good: list[tuple[int, AttachmentFile, memoryview]] = []
        for number, (file, content) in enumerate(frames):
            results[number] = {"id": file.id, "ok": True}
            fault = content if isinstance(content, TransferError) else too_large(file, self._max_file_size)
            if fault is not None:
                results[number] = fault_of(file, fault)
            elif not isinstance(content, TransferError):
                good.append((number, file, content))
        taken = await self._names.collisions(transfer_id, [file for _, file, _ in good])
        for number, file, _ in good:
            if file.id in taken:
                results[number] = fault_of(file, taken[file.id])
        good = [one for one in good if one[1].id not in taken]
        if len({path_of(file, self._storage) for _, file, _ in good}) != len(good):
            raise InvalidRequest("A file is twice in one bundle.")
        rows = await place(
            self._storage, self._ledger, transfer_id, [file for _, file, _ in good], absences=self._absences
        )
        written = await self._storage.write_many(
            [
                SmallFile(place_of(row), content, FileMeta(file.content_type, file.original_name))
                for row, (_, file, content) in zip(rows, good, strict=True)
            ]
        )
        stored: list[FileRow] = []
        for row, (number, file, _), error in zip(rows, good, written, strict=True):
            if error is not None:
                results[number] = fault_of(file, error)
                continue
            stored.append(replace(row, state=ItemState.STORED, digest=bytes.fromhex(file.sha256 or "")))
        await self._ledger.put_files(stored)
        self._board.apply(
            Role.RECEIVER, transfer_id, FilesStored(len(stored), sum(row.size for row in stored), len(body))
        )
        return results

    async def copy(self, transfer_id: str, page: CopyPage) -> list[dict[str, Any]]:
        """Have the store copy files from the source's bucket; one result per file. Raises CopyRefused."""
        if self._copy is None:
            raise CopyRefused("The storage of the destination copies nothing from other buckets.")
        return await self._copy(transfer_id, page)


async def place(
    storage: Storage,
    ledger: Ledger,
    transfer_id: str,
    files: Sequence[AttachmentFile],
    *,
    absences: Absences | None = None,
) -> list[FileRow]:
    """Rows that say where each file will be written, durable before the first byte is."""
    known = await ledger.get_files(Role.RECEIVER, transfer_id, [file.id for file in files])
    paths = [path_of(file, storage) for file in files]
    unsure = [path for path in paths if absences is None or not absences.take(transfer_id, path)]
    there = dict(zip(unsure, await storage.stat_many(unsure), strict=True))
    rows: list[FileRow] = []
    for file, path in zip(files, paths, strict=True):
        old = known.get(file.id)
        if old is not None and old.path == path and (old.facts.get("created") or old.facts.get("aside")):
            rows.append(replace(old, size=file.size, state=ItemState.SENT, tries=old.tries + 1, digest=b""))
        else:
            if old is not None and (old.facts.get("created") or old.facts.get("aside")):
                # The attachment has another file now; nothing else would know of the one that was sent before.
                await storage.delete(place_of(old))
            created = there.get(path) is None
            rows.append(
                new_row(
                    transfer_id,
                    file,
                    path,
                    ItemState.SENT,
                    created=created,
                    aside="" if created else aside_path(transfer_id, path),
                )
            )
    await ledger.put_files(rows)
    return rows


def too_large(file: AttachmentFile, limit: int | None) -> TransferError | None:
    """The error for a file over MAX_FILE_SIZE."""
    if limit is not None and file.size > limit:
        return BodyTooLarge(f"The file is larger than MAX_FILE_SIZE ({limit} bytes).")
    return None
