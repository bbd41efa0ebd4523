"""A source's attachments, held against the files in its storage (`storage.matching`), and counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from bson import ObjectId

from growi_transfer.mongo.client import Database
from growi_transfer.mongo.collections import CollectionInfo
from growi_transfer.mongo.inspection import attachments_by_path, unstorable_documents
from growi_transfer.protocol.errors import TransferError
from growi_transfer.protocol.findings import SHOWN
from growi_transfer.protocol.places import layout_of
from growi_transfer.protocol.source_facts import UnstorableDocument
from growi_transfer.pusher.excluded_pages import ExcludedPages
from growi_transfer.storage.base import Storage
from growi_transfer.storage.matching import Match, matches

_NAME = 300
"""Characters of a name that is shown; one that GROWI made has 36, one in a damaged document may have millions."""
_PAGE = 2000
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
    """Names of files that more than one document has."""
    orphans: Tally = field(default_factory=Tally)
    """Files without a document."""
    other_size: Tally = field(default_factory=Tally)
    """Documents that say another size than their file has; they move as they are."""
    stored_twice: Tally = field(default_factory=Tally)
    """Files of which GridFS has older ones under the same name; `bytes` counts these older ones."""

    @property
    def documents(self) -> int:
        return self.moving.count + self.missing.count + self.illegal.count + self.excluded.count


async def look_at_attachments(database: Database, storage: Storage, excluded: ExcludedPages) -> Attachments:
    """Count what moves and what does not. Raises the storage's errors, if there is an attachment at all."""
    found = Attachments()
    documents = attachments_by_path(database, layout_of(storage.features.kind))
    try:
        async with aclosing(_some(matches(storage, documents))) as pages:
            async for page in pages:
                left_out = await excluded.among([match.document for match in page if match.document is not None])
                for match in page:
                    _count(found, match, left_out)
    except TransferError:
        if found.documents or await database.find("attachments", {}, {"_id": 1}, limit=1):
            raise
        # Without attachments nothing of the storage moves, and so it need not even be there.
    return found


def _count(found: Attachments, match: Match, left_out: set[ObjectId]) -> None:
    file, document = match.file, match.document
    if file is not None and file.copies > 1 and not match.is_repeated:
        found.stored_twice.add(file.path, file.copies - 1)
    if document is None:
        if file is not None:
            found.orphans.add(file.path, file.size)
        return
    name, page = document.get("fileName"), document.get("page")
    if match.is_repeated and isinstance(name, str):
        found.duplicates.add(name)
    if not isinstance(name, str):
        found.illegal.add(repr(name)[:80])
    elif isinstance(page, ObjectId) and page in left_out:
        found.excluded.add(name, file.size if file else 0)
    elif not match.is_legal:
        found.illegal.add(repr(name)[:80])
    elif file is None:
        found.missing.add(name)
    else:
        found.moving.add(name, file.size)
        if document.get("fileSize") not in (None, file.size):
            found.other_size.add(name)


async def _some(found: AsyncGenerator[Match, None]) -> AsyncGenerator[list[Match], None]:
    """Pages of them, so that their pages of the wiki are asked for together."""
    page: list[Match] = []
    async with aclosing(found):
        async for match in found:
            page.append(match)
            if len(page) >= _PAGE:
                yield page
                page = []
    yield page


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
