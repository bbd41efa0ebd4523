"""Files that a GROWI sends after its archive: one form each, for attachments that the wiki has by now.

They belong to the import that came before under the same key, so that its rollback takes them away again: a file that
was there is kept beside, as at a commit.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from growi_transfer.ledger.base import FileRow, ItemState, Ledger, Role
from growi_transfer.mongo.client import Database
from growi_transfer.protocol.errors import (
    AttachmentNotFound,
    BodyTooLarge,
    GrowiParseFailed,
    InvalidRequest,
    MetadataInvalid,
    NameIllegal,
    TransferError,
    UploadFailed,
)
from growi_transfer.protocol.names import attachment_path
from growi_transfer.receiver.file_rows import aside_path, former_path
from growi_transfer.receiver.growi.file_batch import FileBatch
from growi_transfer.storage.base import FileMeta, Storage

_NAME_LENGTH = 256
_READ = 1 << 20
_LARGEST = (1 << 63) - 1
"""What BSON holds."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a form says of its file."""

    file_name: str
    size: int


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


class GrowiFiles:
    """Stores such files. `max_file_size`: GROWI's MAX_FILE_SIZE in bytes, None for no limit."""

    def __init__(self, database: Database, storage: Storage, ledger: Ledger, *, max_file_size: int | None) -> None:
        self._database = database
        self._storage = storage
        self._ledger = ledger
        self._max_file_size = max_file_size
        self._rows = FileBatch(ledger)
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        """By path: a file that is sent again may come while the first request for it is still at work."""

    async def put(self, transfer_id: str | None, metadata: Metadata, content: Path | None, size: int) -> None:
        """Store one file, durable when this returns. `transfer_id`: the import it belongs to, if there was one.

        Raises AttachmentNotFound, MetadataInvalid (the content has another size), BodyTooLarge, UploadFailed.
        """
        if content is None:
            raise MetadataInvalid("The form has no file.")
        document = await self._document(metadata)
        if size != metadata.size:
            raise MetadataInvalid(f"The file has {size} bytes, and the metadata say {metadata.size}.")
        if self._max_file_size is not None and size > self._max_file_size:
            raise BodyTooLarge(f"The file is larger than MAX_FILE_SIZE ({self._max_file_size} bytes).")
        try:
            path = attachment_path(metadata.file_name, has_page=document.get("page") is not None)
        except NameIllegal as error:
            raise MetadataInvalid("Invalid fileName in attachment metadata.") from error
        meta = FileMeta(str(document.get("fileFormat") or "")[:2000], str(document.get("originalName") or "")[:2000])
        try:
            async with self._turns.setdefault(path, asyncio.Lock()):
                await self._store(transfer_id, str(document["_id"]), path, content, size, meta)
        except InvalidRequest:
            raise
        except TransferError as error:
            if error.retryable:
                raise
            raise UploadFailed(reason=error.message[:300]) from error

    async def _document(self, metadata: Metadata) -> dict[str, Any]:
        if metadata.size <= _LARGEST:
            found = await self._database.find(
                "attachments",
                {"fileName": {"$eq": metadata.file_name}, "fileSize": {"$eq": metadata.size}},
                {"page": 1, "fileFormat": 1, "originalName": 1},
                limit=1,
            )
            if found:
                return found[0]
        raise AttachmentNotFound("Attachment not found in collection.")

    async def _store(
        self, transfer_id: str | None, attachment_id: str, path: str, content: Path, size: int, meta: FileMeta
    ) -> None:
        if transfer_id is None:
            await self._storage.write(path, _pieces(content), size, meta)
            return
        known = (await self._ledger.get_files(Role.RECEIVER, transfer_id, [attachment_id])).get(attachment_id)
        facts = known.facts if known is not None and known.path == path else None
        former = former_path(transfer_id, path)
        there, kept = await self._storage.stat_many([path, former])
        created = bool(facts.get("created")) if facts is not None else there is None
        row = FileRow(
            role=Role.RECEIVER,
            transfer_id=transfer_id,
            attachment_id=attachment_id,
            path=path,
            size=size,
            state=ItemState.SENT,
            facts={"created": created, "aside": "" if created else aside_path(transfer_id, path)},
        )
        if not created and ((facts or {}).get("vacant") or (there is None and kept is None)):
            # Gone since an earlier try found it: then there is nothing to bring back either.
            row = replace(row, facts={**row.facts, "vacant": True})
        await self._rows.put(row)
        if created:
            await self._storage.write(path, _pieces(content), size, meta)
        else:
            await self._storage.write(row.facts["aside"], _pieces(content), size, meta)
            # The first of several tries keeps what stood here before the import. A crash from here on leaves a row that
            # is not verified; a rollback looks for what is kept all the same.
            if kept is None and there is not None:
                await self._storage.move(path, former)
            await self._storage.move(row.facts["aside"], path)
        await self._rows.put(replace(row, state=ItemState.VERIFIED))


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _READ):
            yield piece
