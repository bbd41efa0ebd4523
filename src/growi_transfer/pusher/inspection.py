"""A source's attachments, held against the files in its storage: both in the order of names, one look at each.

Memory stays flat: a page of documents and a page of files are held at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId

from growi_transfer.mongo.client import Database
from growi_transfer.mongo.collections import CollectionInfo
from growi_transfer.mongo.inspection import attachments_by_name, unstorable_documents
from growi_transfer.protocol.errors import NameIllegal, TransferError
from growi_transfer.protocol.findings import SHOWN
from growi_transfer.protocol.names import check_file_name
from growi_transfer.protocol.source_facts import UnstorableDocument
from growi_transfer.pusher.excluded_pages import ExcludedPages
from growi_transfer.storage.base import Storage, StoredFile

_NAME = 300
"""Characters of a name that is shown; one that GROWI made has 36, one in a damaged document may have millions."""
_AT_ONCE = 8
"""Collections asked at once."""


@dataclass(slots=True)
class Tally:
    """How many there are, their bytes, and the names of the first ones."""

    count: int = 0
    bytes: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str, size: int = 0) -> None:
        self.count += 1
        self.bytes += size
        if len(self.names) < SHOWN:
            self.names.append(name[:_NAME])


@dataclass(slots=True)
class Attachments:
    """What became of each attachment document, and of each file."""

    moving: Tally = field(default_factory=Tally)
    missing: Tally = field(default_factory=Tally)
    """Documents without a file."""
    illegal: Tally = field(default_factory=Tally)
    """Documents with a name that is not sent (`protocol.names`)."""
    excluded: Tally = field(default_factory=Tally)
    """Documents whose page the operator left out."""
    duplicates: Tally = field(default_factory=Tally)
    """Names that more than one document has."""
    orphans: Tally = field(default_factory=Tally)
    """Files without a document."""

    @property
    def documents(self) -> int:
        return self.moving.count + self.missing.count + self.illegal.count + self.excluded.count


class _Shelf:
    """The files below one folder, in order; each is taken once."""

    def __init__(self, pages: AsyncIterator[list[StoredFile]], orphans: Tally) -> None:
        self._pages = pages
        self._orphans = orphans
        self._files: list[StoredFile] = []
        self._at = 0
        self._matched = ""

    async def find(self, path: str) -> StoredFile | None:
        """The file with this path. Paths are asked for in ascending order; what lies between two is an orphan."""
        while True:
            while self._at < len(self._files):
                file = self._files[self._at]
                if file.path == path:
                    self._matched = path
                    return file
                if file.path > path:
                    return None
                self._leave(file)
            if not await self._next_page():
                return None

    async def drain(self) -> None:
        """Whatever is left belongs to nothing."""
        while True:
            for file in self._files[self._at :]:
                self._leave(file)
            if not await self._next_page():
                return

    def _leave(self, file: StoredFile) -> None:
        self._at += 1
        if file.path != self._matched:
            self._orphans.add(file.path, file.size)

    async def _next_page(self) -> bool:
        self._files, self._at = await anext(self._pages, []), 0
        return bool(self._files)


async def look_at_attachments(database: Database, storage: Storage, excluded: ExcludedPages) -> Attachments:
    """Count what moves and what does not. Raises the storage's errors, if there is an attachment at all."""
    found = Attachments()
    folders = ("attachment/", "user/") if storage.features.has_folders else ("attachment/",)
    async with aclosing(_Listing(storage, folders, found.orphans)) as listing:
        last: object = None
        times = 0
        async for batch in attachments_by_name(database):
            left_out = await excluded.among(batch)
            for document in batch:
                name, page = document.get("fileName"), document.get("page")
                times = times + 1 if name == last else 1
                last = name
                if times == 2 and isinstance(name, str):
                    found.duplicates.add(name)
                if not isinstance(name, str):
                    found.illegal.add(repr(name)[:80])
                    continue
                file = await listing.find(name, has_page=page is not None)
                if isinstance(page, ObjectId) and page in left_out:
                    found.excluded.add(name, file.size if file else 0)
                elif not _is_legal(name):
                    found.illegal.add(repr(name)[:80])
                elif file is None:
                    found.missing.add(name)
                else:
                    found.moving.add(name, file.size)
        try:
            await listing.drain()
        except TransferError:
            if found.documents:
                raise
            # Without attachments nothing of the storage moves, and so it need not even be there.
    return found


def _is_legal(name: str) -> bool:
    try:
        check_file_name(name)
    except NameIllegal:
        return False
    return True


class _Listing:
    def __init__(self, storage: Storage, folders: tuple[str, ...], orphans: Tally) -> None:
        self._pages = [storage.list_files(folder) for folder in folders]
        self._folders = folders
        self._shelves = [_Shelf(pages, orphans) for pages in self._pages]

    async def find(self, name: str, *, has_page: bool) -> StoredFile | None:
        which = 0 if has_page or len(self._shelves) == 1 else 1
        return await self._shelves[which].find(self._folders[which] + name)

    async def drain(self) -> None:
        for shelf in self._shelves:
            await shelf.drain()

    async def aclose(self) -> None:
        for pages in self._pages:
            close: Any = getattr(pages, "aclose", None)
            if close is not None:
                await close()


async def look_for_unstorable(
    database: Database, collections: Sequence[CollectionInfo]
) -> tuple[int, list[UnstorableDocument]]:
    """How many documents the destination would refuse, and the first ones."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def look(name: str) -> tuple[int, list[UnstorableDocument]]:
        count = 0
        first: list[UnstorableDocument] = []
        async with gate:
            async for identity, reason in unstorable_documents(database, name):
                count += 1
                if len(first) < SHOWN:
                    first.append(UnstorableDocument(name, identity, reason))
        return count, first

    some = [info.name for info in collections if info.kind != "view" and info.documents]
    found = await asyncio.gather(*map(look, some))
    return sum(count for count, _ in found), [one for _, first in found for one in first][:SHOWN]
