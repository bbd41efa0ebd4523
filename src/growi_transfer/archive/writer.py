"""Writes an archive of a whole wiki: collections, then attachments, then the manifest and the zip's directory.

Only forwards, in pieces, with flat memory apart from some 350 bytes per attachment. What is packed, hashed and written
overlaps with reading the next piece. The layout is in archive/layout.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Sequence
from hashlib import sha256

from growi_transfer import __version__
from growi_transfer.archive import layout
from growi_transfer.archive.entries import Packer
from growi_transfer.archive.sink import Sink
from growi_transfer.archive.zip_writer import ZipWriter
from growi_transfer.protocol.digest import EMPTY, combine, set_digest
from growi_transfer.protocol.documents import split
from growi_transfer.protocol.errors import ArchiveTooLarge, NameIllegal
from growi_transfer.protocol.names import check_collection, check_file_name
from growi_transfer.protocol.wire import JSON_LIMIT, AttachmentFile, SourceInfo


class ArchiveWriter:
    """One archive on its way into a sink. Use it from one task at a time, and end with `finish`.

    What fails leaves the archive as it was, and others can follow, as `ZipWriter` says of its entries.
    """

    def __init__(self, sink: Sink, *, database: str, deflate: bool = True) -> None:
        """`database` names the folder of the collections. `deflate` is for them; attachments are always stored."""
        self._zip = ZipWriter(sink, _same_name)
        self._database = layout.check_database(database)
        self._deflate = deflate
        self._collections: list[layout.ManifestCollection] = []
        self._listing = _Listing()

    async def add_collection(
        self, name: str, kind: layout.Kind, metadata: str, batches: AsyncIterable[bytes | memoryview], *, uuid: str = ""
    ) -> layout.ManifestCollection:
        """Write a collection, and say what was written.

        `metadata` is canonical Extended JSON {"options", "indexes"}; `batches` are raw BSON, each whole documents; a
        view has none. Raises CollectionIllegal, JsonInvalid, ArchiveTooLarge, BsonInvalid, the sink's errors and those
        of `batches`.
        """
        stem = f"{self._database}/{layout.stem_of(check_collection(name))}"
        described_in = stem + layout.METADATA_SUFFIX
        text = _bounded(layout.metadata_file(metadata, name=name, uuid=uuid, kind=kind), described_in)
        proof = _DocumentsProof(ordered=kind == "capped")
        if kind != "view":
            await self._zip.add(stem + layout.BSON_SUFFIX, batches, proof, deflate=self._deflate)
        await self._zip.add_whole(described_in, text, deflate=self._deflate)
        described = layout.ManifestCollection(
            name=name,
            kind=kind,
            documents=proof.documents,
            bytes=proof.bytes,
            digest=proof.digest().hex(),
            ordered=proof.ordered,
        )
        self._collections.append(described)
        return described

    async def add_file(self, file: AttachmentFile, chunks: AsyncIterable[bytes | memoryview]) -> AttachmentFile:
        """Write one attachment of any size. Returns it with the size and SHA-256 that its content has in truth.

        Raises NameIllegal (also if another one differs only in its letters' case), the sink's errors and those of
        `chunks`.
        """
        proof = _FileProof()
        await self._zip.add(self._file_name(file), chunks, proof, deflate=False)
        return self._listing.add(file, proof.bytes, proof.hasher.hexdigest())

    async def add_files(self, files: Sequence[tuple[AttachmentFile, bytes | memoryview]]) -> list[AttachmentFile]:
        """As `add_file`, for several small ones in one step. If it raises NameIllegal, none of them was written."""
        names = [self._file_name(file) for file, _ in files]
        if len({name.casefold() for name in names}) != len(names):
            raise NameIllegal("Two of the files have the same name.")
        pieces, written = await asyncio.to_thread(self._stored_files, files, names)
        await self._zip.write_entries(pieces)
        return written

    async def finish(
        self, *, source: SourceInfo | None = None, missing_files: int = 0, created_at: str = ""
    ) -> layout.ArchiveManifest:
        """Write what closes the archive. Nothing can follow."""
        listed = None
        if self._listing.files:
            listed = await asyncio.to_thread(self._listing.finish)
            await self._zip.add_packed(layout.FILES_NAME, self._listing.packer, listed)
        manifest = layout.ArchiveManifest(
            created_by=f"growi-transfer {__version__}",
            created_at=created_at,
            database=self._database,
            source=source,
            collections=tuple(self._collections),
            files=self._listing.files,
            file_bytes=self._listing.bytes,
            files_sha256=self._listing.hasher.hexdigest() if listed is not None else None,
            missing_files=missing_files,
        )
        text = _bounded(manifest.model_dump_json(), layout.MANIFEST_NAME)
        await self._zip.add_whole(layout.MANIFEST_NAME, text, deflate=self._deflate)
        await self._zip.finish()
        return manifest

    def _file_name(self, file: AttachmentFile) -> str:
        check_file_name(file.file_name)
        name = layout.file_entry(file)
        if self._zip.has(name):
            raise NameIllegal("There is a file of this name in the archive already.", file_name=file.file_name)
        return name

    def _stored_files(
        self, files: Sequence[tuple[AttachmentFile, bytes | memoryview]], names: Sequence[str]
    ) -> tuple[list[bytes | memoryview], list[AttachmentFile]]:
        pieces: list[bytes | memoryview] = []
        written: list[AttachmentFile] = []
        at = self._zip.offset
        for name, (file, content) in zip(names, files, strict=True):
            packer = Packer(deflate=False)
            packer.feed(content)
            header = self._zip.header_of(name, packer, at)
            pieces += [header, content]
            at += len(header) + len(content)
            written.append(self._listing.add(file, len(content), sha256(content).hexdigest()))
        return pieces, written


def _same_name(name: str) -> str:
    """Collections may differ in their letters' case only; MongoDB keeps them apart, and they never become files."""
    return name.casefold() if name.startswith(layout.FILES_FOLDER + "/") else name


class _DocumentsProof:
    """Counts and digest of a collection, from batches of whole documents."""

    def __init__(self, *, ordered: bool) -> None:
        self.ordered = ordered
        self.documents = 0
        self.bytes = 0
        self._sequence = sha256()
        self._set = EMPTY

    def feed(self, piece: bytes | memoryview) -> None:
        documents = split(piece)
        self.documents += len(documents)
        self.bytes += len(piece)
        if self.ordered:
            self._sequence.update(piece)
        else:
            self._set = combine([self._set, set_digest(documents)])

    def digest(self) -> bytes:
        return self._sequence.digest() if self.ordered else self._set


class _FileProof:
    """Size and digest of one attachment."""

    def __init__(self) -> None:
        self.bytes = 0
        self.hasher = sha256()

    def feed(self, piece: bytes | memoryview) -> None:
        self.bytes += len(piece)
        self.hasher.update(piece)


class _Listing:
    """FILES_NAME, kept packed until the end: a line for each attachment that was written."""

    def __init__(self) -> None:
        self.files = 0
        self.bytes = 0
        self.hasher = sha256()
        self.packer = Packer(deflate=True)
        self._packed: list[bytes | memoryview] = []

    def add(self, file: AttachmentFile, size: int, digest: str) -> AttachmentFile:
        written = file.model_copy(update={"size": size, "sha256": digest})
        line = written.model_dump_json().encode() + b"\n"
        self.files += 1
        self.bytes += size
        self.hasher.update(line)
        packed = self.packer.feed(line)
        if packed:
            self._packed.append(packed)
        return written

    def finish(self) -> list[bytes | memoryview]:
        return [*self._packed, self.packer.finish()]


def _bounded(text: str, name: str) -> bytes:
    """A text as bytes that a reader will take."""
    raw = text.encode()
    if len(raw) > JSON_LIMIT:
        raise ArchiveTooLarge(f"{name[:200]} would be longer than {JSON_LIMIT} bytes.")
    return raw
