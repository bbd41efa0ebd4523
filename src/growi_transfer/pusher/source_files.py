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
from growi_transfer.storage.base import Storage

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
    return set_digest(f"{row.attachment_id}\n{row.path}".encode() for row in rows)


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
            total = combine((total, fingerprint_of(self._source(document, None, set()).row for document in page)))
        return total

    async def _describe(self, documents: Sequence[dict[str, Any]]) -> list[Source]:
        known = await self._ledger.get_files(
            Role.PUSHER, self._transfer_id, [str(document["_id"]) for document in documents]
        )
        left_out = await self._excluded.among(documents)
        sources = [self._source(document, known.get(str(document["_id"])), left_out) for document in documents]
        there = await self._storage.stat_many([source.row.path for source in sources if source.file is not None])
        sizes = iter(there)
        result: list[Source] = []
        for source in sources:
            if source.file is None:
                result.append(source)
                continue
            found = next(sizes)
            if found is None and not source.excluded:
                result.append(replace(source, error=FileNotFound("The source has no file for this attachment.")))
                continue
            size = found.size if found is not None else 0
            file = source.file.model_copy(update={"size": size})
            result.append(replace(source, row=replace(source.row, size=size), file=file))
        return result

    def _source(self, document: dict[str, Any], known: FileRow | None, left_out: set[bson.ObjectId]) -> Source:
        attachment_id = str(document["_id"])
        has_page = document.get("page") is not None
        name = document.get("fileName")
        row = known or FileRow(
            role=Role.PUSHER,
            transfer_id=self._transfer_id,
            attachment_id=attachment_id,
            path="",
            size=0,
            state=ItemState.PENDING,
        )
        excluded = _stays(document, left_out, row)
        try:
            path = attachment_path(name, has_page=has_page)
        except NameIllegal as error:
            return Source(replace(row, path=repr(name)[:300]), None, error, excluded)
        file = AttachmentFile.model_construct(
            id=attachment_id,
            file_name=str(name),
            has_page=has_page,
            size=0,
            sha256=None,
            content_type=str(document.get("fileFormat") or "")[:2000],
            original_name=str(document.get("originalName") or "")[:2000],
        )
        if known is not None and known.path != path:
            row = replace(row, state=ItemState.PENDING)
        return Source(replace(row, path=path), file, excluded=excluded)


def _stays(document: dict[str, Any], left_out: set[bson.ObjectId], row: FileRow) -> bool:
    """Whether the file is left out; one that is over there already, because its page was elsewhere, is not."""
    page = document.get("page")
    return isinstance(page, bson.ObjectId) and page in left_out and row.state not in _THERE
