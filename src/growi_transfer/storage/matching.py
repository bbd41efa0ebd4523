"""Attachment documents and files held against each other, both in the order of paths: one look at each.

Memory stays flat: a page of documents and a page of files are held at a time. The documents come from the caller, as
`mongo.inspection.attachments_by_path` gives them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from growi_transfer.protocol.errors import NameIllegal
from growi_transfer.protocol.names import check_file_name
from growi_transfer.protocol.places import FOLDERS, layout_of, naming_of, storage_paths
from growi_transfer.storage.base import Storage, StoredFile

Documents = AsyncIterator[Sequence[Mapping[str, Any]]]
_AT_ONCE = 500
"""Documents whose file is looked for in a second place together."""


@dataclass(frozen=True, slots=True)
class Match:
    """A document with its file, if it has one; or a file that no document names (`document` is None)."""

    document: Mapping[str, Any] | None
    file: StoredFile | None
    is_legal: bool = True
    """Whether the document's name is one that GROWI makes; the file of another is not sent."""
    is_repeated: bool = False
    """A document before this one has the same file."""


async def matches(storage: Storage, documents: Documents) -> AsyncGenerator[Match, None]:
    """Every document once, and every file in GROWI's folders that belongs to none. Raises the storage's errors.

    Files in other places are not listed: they are another application's. The file of a document that has no path comes
    first; one that is found in a second place comes late.
    """
    kind = storage.features.kind
    elsewhere: list[Mapping[str, Any]] = []
    last: object = None
    async with aclosing(_Files(storage)) as files:
        async for page in documents:
            for document in page:
                path, is_first = document.get("path"), not document.get("rank")
                if path is None:
                    yield Match(document, None, is_legal=False)
                    continue
                async for orphan in files.up_to(path):
                    yield Match(None, orphan)
                file = files.take(path)
                if not is_first:
                    continue
                if file is None and len(_paths(document, kind)) > (1 if path.startswith(FOLDERS) else 0):
                    elsewhere.append(document)
                    if len(elsewhere) >= _AT_ONCE:
                        for match in await _look_elsewhere(storage, elsewhere):
                            yield match
                        elsewhere = []
                    continue
                yield Match(document, file, is_legal=_is_legal(document), is_repeated=path == last)
                last = path
        async for orphan in files.up_to(None):
            yield Match(None, orphan)
    for match in await _look_elsewhere(storage, elsewhere):
        yield match


async def _look_elsewhere(storage: Storage, documents: Sequence[Mapping[str, Any]]) -> list[Match]:
    """For documents whose file is not where GROWI of today looks for it."""
    places = [_paths(document, storage.features.kind) for document in documents]
    found = iter(await storage.stat_many([path for paths in places for path in paths]))
    matched: list[Match] = []
    for document, paths in zip(documents, places, strict=True):
        there = [next(found) for _ in paths]
        matched.append(Match(document, next((file for file in there if file is not None), None)))
    return matched


def _is_legal(document: Mapping[str, Any]) -> bool:
    try:
        check_file_name(document.get("fileName"))
    except NameIllegal:
        return False
    return True


def _paths(document: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """Where its file may be; nowhere, if its name is not sent."""
    try:
        return storage_paths(naming_of(document), kind)
    except NameIllegal:
        return ()


class _Files:
    """The files of GROWI's folders, in order; each is given out once as one of a document, or as an orphan."""

    def __init__(self, storage: Storage) -> None:
        folders = FOLDERS if layout_of(storage.features.kind).has_folders else FOLDERS[:1]
        self._pages = _pages(storage, folders)
        self._files: Sequence[StoredFile] = ()
        self._at = 0
        self._taken = ""
        """Path of the last one that a document had."""
        self._is_over = False

    async def up_to(self, path: str | None) -> AsyncIterator[StoredFile]:
        """Go on to the first file that is not before `path` (None: to the end). What lies between is nobody's."""
        while not self._is_over:
            while self._at < len(self._files):
                file = self._files[self._at]
                if path is not None and file.path >= path:
                    return
                self._at += 1
                if file.path != self._taken:
                    yield file
            self._files, self._at = await anext(self._pages, []), 0
            self._is_over = not self._files

    def take(self, path: str) -> StoredFile | None:
        """The file of this path, for a document. Two documents may have one file."""
        if self._at < len(self._files) and self._files[self._at].path == path:
            self._taken = path
            return self._files[self._at]
        return None

    async def aclose(self) -> None:
        await self._pages.aclose()


async def _pages(storage: Storage, folders: Sequence[str]) -> AsyncGenerator[list[StoredFile], None]:
    for folder in folders:
        pages = storage.list_files(folder)
        try:
            async for page in pages:
                yield page
        finally:
            close = getattr(pages, "aclose", None)
            if close is not None:
                await close()
