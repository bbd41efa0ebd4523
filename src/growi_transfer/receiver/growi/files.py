"""Files that a GROWI sends after its archive: one form each, for attachments that the wiki has by now.

They belong to the import that came before under the same key, so that its rollback takes them away again: a file that
was there is kept beside, as at a commit.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from growi_transfer.ledger.base import ItemState, Ledger
from growi_transfer.mongo.client import Database
from growi_transfer.protocol.errors import (
    AttachmentNotFound,
    BodyTooLarge,
    GrowiParseFailed,
    InvalidRequest,
    MetadataInvalid,
    NameCollision,
    NameIllegal,
    TransferError,
    UploadFailed,
)
from growi_transfer.protocol.places import naming_of, storage_path
from growi_transfer.receiver.file_names import FileNames, collision
from growi_transfer.receiver.file_rows import former_path
from growi_transfer.receiver.growi.placing import Metadata, Placed, documents_of, rows_of, write_all
from growi_transfer.storage.base import FileMeta, Storage

_NAME_LENGTH = 256


def parse_metadata(text: str | None) -> Metadata:
    """The form's `attachmentMetadata`. Raises GrowiParseFailed or MetadataInvalid."""
    try:
        value = orjson.loads(text or "")
    except orjson.JSONDecodeError:
        raise GrowiParseFailed("Failed to parse body.") from None
    value = value if isinstance(value, dict) else {}
    name, size = value.get("fileName"), value.get("fileSize")
    if not isinstance(name, str) or not 0 < len(name) <= _NAME_LENGTH:
        raise MetadataInvalid("Invalid fileName in attachment metadata.")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise MetadataInvalid("Invalid fileSize in attachment metadata.")
    return Metadata(name, size)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that has come whole: in memory, or in a file of the spool folder."""

    metadata: Metadata
    content: bytes | Path
    size: int


class GrowiFiles:
    """Stores such files. `max_file_size`: GROWI's MAX_FILE_SIZE in bytes, None for no limit."""

    def __init__(
        self, database: Database, storage: Storage, ledger: Ledger, names: FileNames, *, max_file_size: int | None
    ) -> None:
        self._database = database
        self._storage = storage
        self._ledger = ledger
        self._names = names
        self.max_file_size = max_file_size
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        """By path: a file that is sent again may come while the first request for it is still at work."""

    async def put(self, transfer_id: str | None, arrivals: Sequence[Arrival]) -> list[Exception | None]:
        """Store files, durable on return; for each, in order, None or its error. `transfer_id`: the import they belong
        to, if there was one.

        Errors: AttachmentNotFound, MetadataInvalid (the content has another size), BodyTooLarge, UploadFailed. Raises
        what the database raises.
        """
        results: list[Exception | None] = [None] * len(arrivals)
        there = await documents_of(self._database, [arrival.metadata for arrival in arrivals])
        rounds: list[dict[str, tuple[int, Placed]]] = []
        for index, (arrival, document) in enumerate(zip(arrivals, there, strict=True)):
            try:
                placed = self._place(arrival, document)
                if await self._names.owners(transfer_id or "", {placed.attachment_id: placed.path}):
                    # A GROWI tells no digest by which two files could be one.
                    raise collision(placed.path)
            except NameCollision as error:
                results[index] = _as_growi(error)
                continue
            except TransferError as error:
                results[index] = error
                continue
            # A file that is there twice is stored twice, one after the other.
            at = next((one for one in rounds if placed.path not in one), None)
            if at is None:
                at = {}
                rounds.append(at)
            at[placed.path] = index, placed
        for one in rounds:
            files = [placed for _, placed in one.values()]
            async with AsyncExitStack() as stack:
                for path in sorted(one):
                    await stack.enter_async_context(self._turns.setdefault(path, asyncio.Lock()))
                errors = await self._store(transfer_id, files)
            for (index, _), failed in zip(one.values(), errors, strict=True):
                results[index] = None if failed is None else _as_growi(failed)
        return results

    def _place(self, arrival: Arrival, document: Mapping[str, Any] | None) -> Placed:
        metadata, size = arrival.metadata, arrival.size
        if document is None:
            raise AttachmentNotFound("Attachment not found in collection.")
        if size != metadata.size:
            raise MetadataInvalid(f"The file has {size} bytes, and the metadata say {metadata.size}.")
        if self.max_file_size is not None and size > self.max_file_size:
            raise BodyTooLarge(f"The file is larger than MAX_FILE_SIZE ({self.max_file_size} bytes).")
        try:
            path = storage_path(naming_of(document), self._storage.features.kind)
        except NameIllegal as error:
            raise MetadataInvalid("Invalid fileName in attachment metadata.") from error
        meta = FileMeta(str(document.get("fileFormat") or "")[:2000], str(document.get("originalName") or "")[:2000])
        return Placed(str(document["_id"]), path, arrival.content, size, meta)

    async def _store(self, transfer_id: str | None, files: Sequence[Placed]) -> list[TransferError | None]:
        """Files of different paths, each of which is ours alone meanwhile."""
        if transfer_id is None:
            return await write_all(self._storage, files, [file.path for file in files])
        rows = await rows_of(self._storage, self._ledger, transfer_id, files)
        await self._ledger.put_files([row for row, _ in rows])
        errors = await write_all(self._storage, files, [str(row.facts["aside"]) or row.path for row, _ in rows])
        for index, (row, keeps) in enumerate(rows):
            if errors[index] is None and not row.facts["created"]:
                try:
                    # The first of several tries keeps what stood here before the import. A crash from here on leaves a
                    # row that is not verified; a rollback looks for what is kept all the same.
                    if keeps:
                        await self._storage.move(row.path, former_path(transfer_id, row.path))
                    await self._storage.move(str(row.facts["aside"]), row.path)
                except TransferError as error:
                    errors[index] = error
        stored = [row for (row, _), error in zip(rows, errors, strict=True) if error is None]
        await self._ledger.put_files([replace(row, state=ItemState.VERIFIED) for row in stored])
        return errors


def _as_growi(error: TransferError) -> TransferError:
    """What a GROWI is told: its own error, unless it may try again."""
    if error.retryable or isinstance(error, InvalidRequest):
        return error
    failed = UploadFailed(reason=error.message[:300])
    failed.__cause__ = error
    return failed
