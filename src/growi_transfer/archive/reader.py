"""Reads an archive of a wiki from a file: first all of its structure, then its contents in bounded pieces.

Nothing of the file is believed: see archive/directory.py and archive/contents.py for what is checked on opening. What
can only be known by reading the contents (CRC, digests, whole documents) is checked while they are read, and raised at
the latest after the last piece: until an iteration has ended without an error, what it gave must not be made visible.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, TypeVar

from growi_transfer.archive import layout
from growi_transfer.archive.contents import ArchivedCollection, Contents, examine
from growi_transfer.archive.directory import Entry, read_directory, truncated
from growi_transfer.archive.entries import read_pieces, read_whole
from growi_transfer.protocol.digest import EMPTY, combine, set_digest
from growi_transfer.protocol.documents import regroup
from growi_transfer.protocol.errors import (
    ArchiveInvalid,
    DigestMismatch,
    InvalidRequest,
    OperatorFault,
    SizeMismatch,
    TransferError,
)
from growi_transfer.protocol.wire import AttachmentFile, parse

T = TypeVar("T")
_FILES_PER_PAGE = 1000


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Absolute, because no ratio tells a bomb from a wiki: valid documents pack to a thousandth."""

    entries: int = 500_000
    """About 400 bytes of memory each."""
    bytes: int = 1 << 40
    """Unpacked, all entries together."""


DEFAULT_LIMITS = ArchiveLimits()


class FileSource:
    """A file that is read at any place by several threads."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._size = file.seek(0, 2)

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        with self._lock:
            try:
                self._file.seek(offset)
                data = self._file.read(length)
            except OSError as error:
                raise OperatorFault(f"The archive cannot be read: {error.strerror or error}") from error
        if len(data) != length:
            raise truncated()
        return data

    def close(self) -> None:
        with self._lock:
            self._file.close()


class ArchiveReader:
    """An open archive. Its contents can be read in any order, several at once, and again."""

    def __init__(self, source: FileSource, contents: Contents) -> None:
        self._source = source
        self.contents = contents

    def documents(self, collection: ArchivedCollection) -> AsyncIterator[list[memoryview]]:
        """A collection's documents, in batches of about 8 MiB; drop one before taking the next.

        Raises ArchiveInvalid, BsonInvalid, SizeMismatch or DigestMismatch, the last two only with a manifest.
        """
        return in_thread(_documents(self._source, collection))

    def files(self) -> AsyncIterator[list[AttachmentFile]]:
        """Pages of the attachments, each with its size and SHA-256. Raises ArchiveInvalid or DigestMismatch."""
        return in_thread(_files(self._source, self.contents))

    async def read_files(self, files: Sequence[AttachmentFile], limit: int) -> list[bytes | TransferError]:
        """The contents of small attachments in one step, in order; an error value for each that is not good.

        One of more than `limit` bytes gives ArchiveTooLarge.
        """
        return await asyncio.to_thread(lambda: [self._read_small(file, limit) for file in files])

    def read_file(self, file: AttachmentFile) -> AsyncIterator[bytes]:
        """The content of one attachment in pieces. Raises ArchiveInvalid or DigestMismatch, the latter at the end."""
        return in_thread(_pieces(self._source, self._entry(file), file))

    def _read_small(self, file: AttachmentFile, limit: int) -> bytes | TransferError:
        try:
            content = bytes(read_whole(self._source, self._entry(file), limit))
        except TransferError as error:
            return error
        return content if sha256(content).hexdigest() == file.sha256 else DigestMismatch(file_name=file.file_name)

    def _entry(self, file: AttachmentFile) -> Entry:
        entry = self.contents.files.get(layout.file_entry(file))
        if entry is None or entry.size != file.size:
            raise ArchiveInvalid(f"{layout.FILES_NAME} names a file that is not there: {file.file_name}")
        return entry


@asynccontextmanager
async def open_archive(path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> AsyncIterator[ArchiveReader]:
    """Open an archive and check all of its structure. Raises as `read_directory` and `examine`, or OperatorFault."""
    source = await asyncio.to_thread(open_source, path)
    try:
        yield ArchiveReader(source, await asyncio.to_thread(_contents, source, limits))
    finally:
        await asyncio.to_thread(source.close)


def open_source(path: Path) -> FileSource:
    try:
        file = path.open("rb")
        try:
            return FileSource(file)
        except OSError:
            file.close()
            raise
    except OSError as error:
        raise OperatorFault(f"The archive cannot be opened: {error.strerror or error}") from error


def _contents(source: FileSource, limits: ArchiveLimits) -> Contents:
    return examine(source, read_directory(source, max_entries=limits.entries, max_bytes=limits.bytes))


def _documents(source: FileSource, collection: ArchivedCollection) -> Iterator[list[memoryview]]:
    if collection.entry is None:
        return
    promised = collection.promised
    ordered = promised is not None and promised.ordered
    count, total, sequence = 0, EMPTY, sha256()
    for batch in regroup(read_pieces(source, collection.entry)):
        count += len(batch)
        if ordered:
            for document in batch:
                sequence.update(document)
        elif promised is not None:
            total = combine([total, set_digest(batch)])
        yield batch
        del batch
    if promised is None:
        return
    if count != promised.documents:
        raise SizeMismatch(
            f"{collection.name} does not have as many documents as announced.",
            documents=count,
            announced=promised.documents,
        )
    if (sequence.hexdigest() if ordered else total.hex()) != promised.digest:
        raise DigestMismatch(collection=collection.name)


def _files(source: FileSource, contents: Contents) -> Iterator[list[AttachmentFile]]:
    if contents.listing is None or contents.manifest is None:
        return
    hasher = sha256()
    seen: set[str] = set()
    page: list[AttachmentFile] = []
    for line in _lines(source, contents.listing):
        hasher.update(line)
        file = _listed(line)
        name = layout.file_entry(file)
        entry = contents.files.get(name)
        if entry is None or entry.size != file.size or file.sha256 is None or name in seen:
            raise ArchiveInvalid(f"{layout.FILES_NAME} has a line that does not fit with the archive: {name}")
        seen.add(name)
        page.append(file)
        if len(page) == _FILES_PER_PAGE:
            yield page
            page = []
    if page:
        yield page
    if len(seen) != len(contents.files):
        raise ArchiveInvalid(f"The archive has attachments that {layout.FILES_NAME} does not name.")
    if hasher.hexdigest() != contents.manifest.files_sha256:
        raise DigestMismatch(f"{layout.FILES_NAME} is not the one that the manifest announces.")


def _listed(line: bytes) -> AttachmentFile:
    try:
        return parse(AttachmentFile, line)
    except InvalidRequest as error:
        raise ArchiveInvalid(f"{layout.FILES_NAME} has a line that is not valid: {error.message}") from None


def _lines(source: FileSource, entry: Entry) -> Iterator[bytes]:
    """The lines of an entry, with their ends; none is longer than LINE_LIMIT."""
    rest = b""
    for piece in read_pieces(source, entry):
        *lines, rest = (rest + bytes(piece)).split(b"\n")
        for line in lines:
            if len(line) > layout.LINE_LIMIT:
                raise ArchiveInvalid(f"A line of {entry.name} is too long.")
            yield line + b"\n"
        if len(rest) > layout.LINE_LIMIT:
            raise ArchiveInvalid(f"A line of {entry.name} is too long.")
    if rest:
        raise ArchiveInvalid(f"The last line of {entry.name} does not end.")


def _pieces(source: FileSource, entry: Entry, file: AttachmentFile) -> Iterator[bytes]:
    hasher = sha256()
    for piece in read_pieces(source, entry):
        hasher.update(piece)
        yield bytes(piece)
    if hasher.hexdigest() != file.sha256:
        raise DigestMismatch(file_name=file.file_name)


async def in_thread(items: Iterator[T]) -> AsyncIterator[T]:
    """Each step of `items` in a thread, one ahead of what is asked for. No step is under way when this is closed."""
    ahead = asyncio.ensure_future(asyncio.to_thread(next, items, None))
    try:
        while (item := await asyncio.shield(ahead)) is not None:
            ahead = asyncio.ensure_future(asyncio.to_thread(next, items, None))
            yield item
            del item
    finally:
        await asyncio.wait([ahead])
        if not ahead.cancelled():
            ahead.exception()  # an error that nobody asked for any more
