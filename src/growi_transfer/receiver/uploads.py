"""Large attachment files in, by offset, as in the IETF draft on resumable uploads (`Upload-Offset`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn

from growi_transfer.ledger.base import FileRow, ItemState, Ledger, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.protocol.errors import (
    DigestMismatch,
    FileNotFound,
    InvalidRequest,
    OffsetMismatch,
    SizeMismatch,
    Superseded,
)
from growi_transfer.protocol.progress import FileBytesStored, FilesStored
from growi_transfer.protocol.wire import AttachmentFile
from growi_transfer.receiver.attachments import place, too_large
from growi_transfer.receiver.file_names import FileNames
from growi_transfer.receiver.file_rows import is_stored, path_of, place_of, upload_id
from growi_transfer.storage.base import FileMeta, PartialUpload, Storage
from growi_transfer.storage.digest import digest_of

_SYNC_EVERY = 32 << 20
"""Bytes after which what was written is made durable while more arrives."""


@dataclass(frozen=True, slots=True)
class UploadState:
    """Where a large file is: durable bytes, the announced size once known, and whether it is complete."""

    offset: int
    length: int | None
    complete: bool


class Uploads:
    """Large files on their way in. `max_file_size` is GROWI's MAX_FILE_SIZE in bytes (None: no limit)."""

    def __init__(
        self,
        storage: Storage,
        ledger: Ledger,
        board: ProgressBoard,
        names: FileNames,
        *,
        max_file_size: int | None = None,
    ) -> None:
        self._storage = storage
        self._ledger = ledger
        self._board = board
        self._names = names
        self._max_file_size = max_file_size
        self._turns: dict[tuple[str, str], _Turn] = {}

    async def upload_state(self, transfer_id: str, attachment_id: str) -> UploadState:
        """Where a large file is. Raises FileNotFound when nothing of it is here."""
        row = (await self._ledger.get_files(Role.RECEIVER, transfer_id, [attachment_id])).get(attachment_id)
        if row is None:
            raise FileNotFound("Nothing of this attachment is here.")
        if is_stored(row):
            return UploadState(row.size, row.size, True)
        turn = self._turns.get((transfer_id, attachment_id))
        if turn is not None:
            return UploadState(turn.durable, row.size, False)
        partial = await self._storage.partial(place_of(row), upload_id(transfer_id, attachment_id))
        try:
            return UploadState(await partial.sync(), row.size, False)
        finally:
            await partial.close()

    async def patch_upload(
        self,
        transfer_id: str,
        attachment_id: str,
        *,
        file: AttachmentFile | None,
        offset: int,
        complete: bool,
        sha256: str | None,
        chunks: AsyncIterator[bytes],
    ) -> UploadState:
        """Append to a large file; on return all of it is durable. With `complete` the digest must be right and the
        file becomes visible. A newer request for the same file ends an older one that still waits for bytes.

        Raises OffsetMismatch (details: offset), SizeMismatch, DigestMismatch (all bytes are thrown away: begin
        again), BodyTooLarge, InvalidRequest, Superseded (to the older request) and the storage's errors.
        """
        key = (transfer_id, attachment_id)
        older = self._turns.get(key)
        turn = self._turns[key] = _Turn()
        try:
            if older is not None:
                older.ended.set()
                await older.finished.wait()
            row = await self._upload_row(transfer_id, attachment_id, file)
            if is_stored(row):
                if offset == row.size:
                    return UploadState(row.size, row.size, True)
                raise OffsetMismatch(offset=row.size)
            meta = FileMeta(file.content_type, file.original_name) if file is not None else None
            partial = await self._storage.partial(place_of(row), upload_id(transfer_id, attachment_id), meta)
            try:
                turn.durable = await partial.sync()
                if offset != turn.durable:
                    raise OffsetMismatch(offset=turn.durable)
                await self._receive(partial, row, turn, chunks)
                if complete:
                    return await self._finish(partial, row, sha256)
                return UploadState(turn.durable, row.size, False)
            finally:
                await partial.close()
        finally:
            turn.finished.set()
            if self._turns.get(key) is turn:
                del self._turns[key]

    def end_all(self, transfer_id: str) -> None:
        """End every request of a transfer that waits for bytes."""
        for (owner, _), turn in self._turns.items():
            if owner == transfer_id:
                turn.ended.set()

    async def _upload_row(self, transfer_id: str, attachment_id: str, file: AttachmentFile | None) -> FileRow:
        if file is None:
            known = await self._ledger.get_files(Role.RECEIVER, transfer_id, [attachment_id])
            if attachment_id not in known:
                raise InvalidRequest("The first request for a large file must describe it.")
            return known[attachment_id]
        if file.id != attachment_id:
            raise InvalidRequest("The description names another attachment than the address.")
        fault = too_large(file, self._max_file_size)
        if fault is not None:
            raise fault
        taken = await self._names.collisions(transfer_id, [file])
        if file.id in taken:
            raise taken[file.id]
        known = await self._ledger.get_files(Role.RECEIVER, transfer_id, [attachment_id])
        row = known.get(attachment_id)
        if row is not None and _goes_on(row, file, path_of(file, self._storage)):
            return row
        if row is not None:
            partial = await self._storage.partial(place_of(row), upload_id(transfer_id, attachment_id))
            await partial.abort()
        return (await place(self._storage, self._ledger, transfer_id, [file]))[0]

    async def _receive(self, partial: PartialUpload, row: FileRow, turn: _Turn, chunks: AsyncIterator[bytes]) -> None:
        syncing: asyncio.Task[int] | None = None
        unsynced = 0
        ended = asyncio.ensure_future(turn.ended.wait())
        try:
            while (chunk := await _next_or_ended(chunks, ended)) is not None:
                if partial.offset + len(chunk) > row.size:
                    raise SizeMismatch("The file has more bytes than announced.", size=row.size)
                await partial.write(chunk)
                unsynced += len(chunk)
                if unsynced >= _SYNC_EVERY:
                    if syncing is not None:
                        self._synced(row, turn, await syncing)
                    syncing = asyncio.ensure_future(partial.sync())
                    unsynced = 0
        finally:
            # Whatever arrived before a cut is kept: the sender goes on after it.
            ended.cancel()
            if syncing is not None:
                await asyncio.gather(syncing, return_exceptions=True)
            self._synced(row, turn, await partial.sync())

    def _synced(self, row: FileRow, turn: _Turn, durable: int) -> None:
        gained = durable - turn.durable
        if gained > 0:
            turn.durable = durable
            self._board.apply(Role.RECEIVER, row.transfer_id, FileBytesStored(gained, gained))

    async def _finish(self, partial: PartialUpload, row: FileRow, announced: str | None) -> UploadState:
        if partial.offset != row.size:
            raise SizeMismatch(
                f"The file has {partial.offset} bytes, {row.size} were announced.", offset=partial.offset
            )
        if announced is None:
            raise InvalidRequest("The last request for a large file must carry its digest.")
        digest = await partial.sha256()
        if digest is not None and digest.hex() != announced:
            await partial.abort()
            self._refuse(row)
        await partial.finish()
        if digest is None:
            # The storage could not tell before. The place is this transfer's own, and nothing refers to it yet.
            digest = await digest_of(self._storage, place_of(row))
            if digest.hex() != announced:
                await self._storage.delete(place_of(row))
                self._refuse(row)
        await self._ledger.put_files([replace(row, state=ItemState.STORED, digest=digest)])
        self._board.apply(Role.RECEIVER, row.transfer_id, FilesStored(1, 0, 0))
        return UploadState(row.size, row.size, True)

    def _refuse(self, row: FileRow) -> NoReturn:
        self._board.apply(Role.RECEIVER, row.transfer_id, FileBytesStored(-row.size, 0))
        raise DigestMismatch("The file that arrived is not the file that was announced.", offset=0)


def _goes_on(row: FileRow, file: AttachmentFile, path: str) -> bool:
    """Whether what is here belongs to the announced file, and has its place."""
    if row.path != path or row.size != file.size:
        return False
    if is_stored(row):
        return file.sha256 in (None, row.digest.hex())
    return bool(row.facts.get("created") or row.facts.get("aside"))


class _Turn:
    """One request that writes a large file."""

    def __init__(self) -> None:
        self.durable = 0
        self.ended = asyncio.Event()
        self.finished = asyncio.Event()


async def _next_or_ended(chunks: AsyncIterator[bytes], ended: asyncio.Task[Literal[True]]) -> bytes | None:
    """The next chunk, or None at the end. Raises Superseded as soon as a newer request wants to go on: the line of
    the older one may be dead without anybody having noticed."""
    arriving: asyncio.Task[Any] = asyncio.ensure_future(_next(chunks))
    try:
        await asyncio.wait([arriving, ended], return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise Superseded("A newer request goes on with this file.")
        chunk: bytes | None = arriving.result()
        return chunk
    finally:
        if not arriving.done():
            arriving.cancel()
            await asyncio.gather(arriving, return_exceptions=True)


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)
