"""The attachments of the source: one announcement for each attachment document, with the size of its file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import bson
from bson import ObjectId
from bson.raw_bson import RawBSONDocument

from growi_transfer.ledger.base import FileRow, ItemState, Ledger, Role
from growi_transfer.mongo.client import BOUNDS, DECODED, Database, Snapshot
from growi_transfer.protocol.digest import EMPTY, combine, set_digest
from growi_transfer.protocol.errors import FileNotFound, NameIllegal, TransferError
from growi_transfer.protocol.names import attachment_path
from growi_transfer.protocol.wire import PLAN_FILES, AttachmentFile
from growi_transfer.pusher.excluded_pages import ExcludedPages
from growi_transfer.storage.base import Storage, StoredFile

_FIELDS = {"_id": 1, "page": 1, "fileName": 1, "fileFormat": 1, "originalName": 1}
_THERE = (ItemState.STORED, ItemState.VERIFIED)


@dataclass(frozen=True, slots=True)
class Source:
    """An attachment of the source: its announcement and the path of its file; or why it cannot be announced."""

    row: FileRow
    file: AttachmentFile | None
    error: TransferError | None = None
    excluded: bool = False
    """The operator left its page out: the file stays behind."""


def fingerprint_of(rows: Iterable[FileRow]) -> bytes:
    """A sum of hashes over the attachments' ids and the places of their files: the same for the same set in any order,
    and, unlike a count, another one when one was removed and another one added."""
    return _fingerprint((row.attachment_id, row.path) for row in rows)


def _fingerprint(places: Iterable[tuple[str, str]]) -> bytes:
    return set_digest(f"{attachment_id}\n{path}".encode() for attachment_id, path in places)


class SourceFiles:
    """Reads the attachment documents of one source over a cursor, a page at a time."""

    def __init__(
        self, database: Database, storage: Storage, ledger: Ledger, transfer_id: str, excluded: ExcludedPages
    ) -> None:
        self._database = database
        self._storage = storage
        self._ledger = ledger
        self._transfer_id = transfer_id
        self._excluded = excluded

    async def pages(
        self, snapshot: Snapshot | None = None, only: Sequence[bytes] | None = None
    ) -> AsyncIterator[list[Source]]:
        """Every attachment, in `_id` order, with the row it has or gets; at most PLAN_FILES at a time. As they were at
        a moment, if one is given. `only`: raw `{_id}` documents of those that are to be looked at.

        Raises SnapshotExpired, and CursorLost when the collection is dropped meanwhile.
        """
        if only is None:
            async for page in self._found(snapshot, None):
                yield await self._describe(page)
            return
        for start in range(0, len(only), PLAN_FILES):
            some = [RawBSONDocument(raw, BOUNDS)["_id"] for raw in only[start : start + PLAN_FILES]]
            async for page in self._found(snapshot, {"_id": {"$in": some}}):
                yield await self._describe(page)

    async def _found(
        self, snapshot: Snapshot | None, query: Mapping[str, Any] | None
    ) -> AsyncIterator[list[dict[str, Any]]]:
        found: list[dict[str, Any]] = []
        async for batch in self._database.raw_batches(
            "attachments", batch_documents=PLAN_FILES, projection=_FIELDS, snapshot=snapshot, query=query
        ):
            for document in batch:
                found.append(bson.decode(document, DECODED))
                if len(found) == PLAN_FILES:
                    yield found
                    found = []
        if found:
            yield found

    async def present(self, rows: Sequence[FileRow], snapshot: Snapshot | None) -> set[str]:
        """Attachment ids of those of these rows whose documents are there (at a moment, if one is given)."""
        ids = [row.attachment_id for row in rows]
        named: list[Any] = [ObjectId(one) for one in ids if ObjectId.is_valid(one)] + ids
        there: set[str] = set()
        async for page in self._found(snapshot, {"_id": {"$in": named}}):
            there.update(str(document["_id"]) for document in page)
        return there

    async def fingerprint(self) -> bytes:
        """`fingerprint_of` all attachments that there are now."""
        total = EMPTY
        async for page in self._found(None, None):
            places = ((str(document["_id"]), _shown(_path(document), document)) for document in page)
            total = combine((total, _fingerprint(places)))
        return total

    async def _describe(self, documents: Sequence[dict[str, Any]]) -> list[Source]:
        ids = [str(document["_id"]) for document in documents]
        known = await self._ledger.get_files(Role.PUSHER, self._transfer_id, ids)
        left_out = await self._excluded.among(documents)
        paths = [_path(document) for document in documents]
        there = iter(await self._storage.stat_many([path for path in paths if isinstance(path, str)]))
        return [
            self._source(
                attachment_id,
                document,
                path,
                None if isinstance(path, NameIllegal) else next(there),
                known.get(attachment_id),
                left_out,
            )
            for attachment_id, document, path in zip(ids, documents, paths, strict=True)
        ]

    def _source(
        self,
        attachment_id: str,
        document: dict[str, Any],
        path: str | NameIllegal,
        found: StoredFile | None,
        known: FileRow | None,
        left_out: set[bson.ObjectId],
    ) -> Source:
        row = known or FileRow(
            role=Role.PUSHER,
            transfer_id=self._transfer_id,
            attachment_id=attachment_id,
            path="",
            size=0,
            state=ItemState.PENDING,
        )
        excluded = _stays(document, left_out, row)
        if isinstance(path, NameIllegal):
            return Source(replace(row, path=_shown(path, document)), None, path, excluded)
        size = row.size if found is None and not excluded else 0 if found is None else found.size
        if (row.path, row.size) != (path, size):
            moved = known is not None and row.path != path
            row = replace(row, path=path, size=size, state=ItemState.PENDING if moved else row.state)
        file = AttachmentFile.model_construct(
            id=attachment_id,
            file_name=str(document["fileName"]),
            has_page=document.get("page") is not None,
            size=size,
            sha256=None,
            content_type=str(document.get("fileFormat") or "")[:2000],
            original_name=str(document.get("originalName") or "")[:2000],
        )
        if found is None and not excluded:
            return Source(row, file, FileNotFound("The source has no file for this attachment."))
        return Source(row, file, excluded=excluded)


def _path(document: dict[str, Any]) -> str | NameIllegal:
    try:
        return attachment_path(document.get("fileName"), has_page=document.get("page") is not None)
    except NameIllegal as error:
        return error


def _shown(path: str | NameIllegal, document: dict[str, Any]) -> str:
    """The path, or what stands in the row of an attachment that can have none."""
    return path if isinstance(path, str) else repr(document.get("fileName"))[:300]


def _stays(document: dict[str, Any], left_out: set[bson.ObjectId], row: FileRow) -> bool:
    """Whether the file is left out; one that is over there already, because its page was elsewhere, is not."""
    page = document.get("page")
    return isinstance(page, bson.ObjectId) and page in left_out and row.state not in _THERE
