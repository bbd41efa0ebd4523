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
from growi_transfer.mongo.inspection import ATTACHMENT_FIELDS
from growi_transfer.protocol.digest import EMPTY, combine, set_digest
from growi_transfer.protocol.errors import FileNotFound, NameIllegal, TransferError
from growi_transfer.protocol.places import naming_of, storage_paths
from growi_transfer.protocol.wire import PLAN_FILES, AttachmentFile
from growi_transfer.pusher.excluded_pages import ExcludedPages
from growi_transfer.storage.base import Storage, StoredFile

_FIELDS = {"_id": 1, **ATTACHMENT_FIELDS, "fileFormat": 1, "originalName": 1}
_THERE = (ItemState.STORED, ItemState.VERIFIED)


@dataclass(frozen=True, slots=True)
class Source:
    """An attachment of the source: its announcement and the path of its file; or why it cannot be announced."""

    row: FileRow
    file: AttachmentFile | None
    error: TransferError | None = None
    excluded: bool = False
    """The operator left its page out: the file stays behind."""
    place: str = ""
    """Where GROWI looks for the file; `row.path` is where it is found."""
    stored: StoredFile | None = None
    """The file, as it was found."""

    @property
    def paths(self) -> set[str]:
        """Where the file is, and where it may be at a destination, whatever its storage."""
        return {self.row.path, *(storage_paths(self.file.naming, "aws") if self.file is not None else ())}


def fingerprint_of(sources: Iterable[Source]) -> bytes:
    """A sum of hashes over the attachments' ids and the places of their files: the same for the same set in any order,
    and, unlike a count, another one when one was removed and another one added."""
    return _fingerprint((source.row.attachment_id, source.place) for source in sources)


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

    async def unchanged(self, rows: Sequence[FileRow]) -> set[str]:
        """Attachment ids of those of these rows whose documents are there now and name the file of the row."""
        places = {row.attachment_id: row.path for row in rows}
        named: list[Any] = [ObjectId(one) for one in places if ObjectId.is_valid(one)] + list(places)
        same: set[str] = set()
        async for page in self._found(None, {"_id": {"$in": named}}):
            for document in page:
                if _shown(self._paths(document), document) == places[str(document["_id"])]:
                    same.add(str(document["_id"]))
        return same

    async def fingerprint(self) -> bytes:
        """`fingerprint_of` all attachments that there are now."""
        total = EMPTY
        async for page in self._found(None, None):
            places = ((str(document["_id"]), _shown(self._paths(document), document)) for document in page)
            total = combine((total, _fingerprint(places)))
        return total

    async def _describe(self, documents: Sequence[dict[str, Any]]) -> list[Source]:
        ids = [str(document["_id"]) for document in documents]
        known = await self._ledger.get_files(Role.PUSHER, self._transfer_id, ids)
        left_out = await self._excluded.among(documents)
        paths = [self._paths(document) for document in documents]
        there = await self._find([[] if isinstance(one, NameIllegal) else list(one) for one in paths])
        return [
            self._source(attachment_id, document, places, found, known.get(attachment_id), left_out)
            for attachment_id, document, places, found in zip(ids, documents, paths, there, strict=True)
        ]

    def _paths(self, document: Mapping[str, Any]) -> tuple[str, ...] | NameIllegal:
        try:
            return storage_paths(naming_of(document), self._storage.features.kind)
        except NameIllegal as error:
            return error

    async def _find(self, places: Sequence[list[str]]) -> list[StoredFile | None]:
        """For each, the file at the first of these places that has one. Nearly all have one place."""
        found: list[StoredFile | None] = [None] * len(places)
        for turn in range(max(map(len, places), default=0)):
            left = [index for index, some in enumerate(places) if found[index] is None and len(some) > turn]
            looked = await self._storage.stat_many([places[index][turn] for index in left])
            for index, file in zip(left, looked, strict=True):
                found[index] = file
        return found

    def _source(
        self,
        attachment_id: str,
        document: dict[str, Any],
        places: tuple[str, ...] | NameIllegal,
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
        place = _shown(places, document)
        if isinstance(places, NameIllegal):
            return Source(replace(row, path=place), None, places, excluded, place)
        path = place if found is None else found.path
        size = row.size if found is None and not excluded else 0 if found is None else found.size
        if (row.path, row.size) != (path, size):
            moved = known is not None and row.path != path
            row = replace(row, path=path, size=size, state=ItemState.PENDING if moved else row.state)
        naming = naming_of(document)
        file = AttachmentFile.model_construct(
            id=attachment_id,
            file_name=naming.file_name,
            has_page=naming.has_page,
            is_export=naming.is_export,
            file_path=naming.file_path,
            size=size,
            sha256=None,
            content_type=str(document.get("fileFormat") or "")[:2000],
            original_name=str(document.get("originalName") or "")[:2000],
        )
        if naming.file_path:
            # What a GROWI lists of it depends on its storage.
            row = replace(row, facts={**row.facts, "paths": sorted({path, *storage_paths(naming, "aws")})})
        if found is None and not excluded:
            error = FileNotFound("The source has no file for this attachment.")
            return Source(row, file, error, place=place)
        return Source(row, file, excluded=excluded, place=place, stored=found)


def _shown(places: tuple[str, ...] | NameIllegal, document: Mapping[str, Any]) -> str:
    """Where GROWI looks for the file, or what stands in the row of an attachment that can have none."""
    return repr(document.get("fileName"))[:300] if isinstance(places, NameIllegal) else places[0]


def _stays(document: dict[str, Any], left_out: set[bson.ObjectId], row: FileRow) -> bool:
    """Whether the file is left out; one that is over there already, because its page was elsewhere, is not."""
    page = document.get("page")
    return isinstance(page, bson.ObjectId) and page in left_out and row.state not in _THERE
