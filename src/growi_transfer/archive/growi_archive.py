"""The archive that GROWI itself exports and imports: a flat zip of JSON arrays, with `meta.json` at the end.

Source: what GROWI 7.3 and 8.x write and take (docs/growi.md). Each collection is `<collection>.json`. `meta.json` has
`version`, `url`, `passwordSeed`, `exportedAt` and `envVars`; the seed is never read here, and written only when it is
given.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bson
import orjson

from growi_transfer.archive.directory import Entry, read_directory
from growi_transfer.archive.entries import read_pieces, read_whole
from growi_transfer.archive.growi_json import document_text, read_array
from growi_transfer.archive.growi_values import restore
from growi_transfer.archive.reader import DEFAULT_LIMITS, ArchiveLimits, FileSource, in_thread, open_source
from growi_transfer.archive.sink import Sink
from growi_transfer.archive.zip_writer import ZipWriter
from growi_transfer.protocol.documents import split
from growi_transfer.protocol.errors import ArchiveInvalid, BsonInvalid, CollectionIllegal
from growi_transfer.protocol.names import check_collection
from growi_transfer.protocol.wire import DOCUMENT_LIMIT

META_NAME = "meta.json"
META_LIMIT = 1 << 20
_SUFFIX = ".json"
_TEXT_AT_ONCE = 512
"""Documents whose text is made in one step."""


@dataclass(frozen=True, slots=True)
class GrowiMeta:
    """What `meta.json` says. Empty strings where it says nothing."""

    version: str
    url: str = ""
    exported_at: str = ""
    env_vars: Mapping[str, Any] = field(default_factory=dict, repr=False)


class GrowiArchive:
    """An open archive of GROWI's. `ignored`: names of entries that are no collection's."""

    def __init__(
        self, source: FileSource, meta: GrowiMeta, collections: Mapping[str, Entry], ignored: Sequence[str]
    ) -> None:
        self._source = source
        self._entries = collections
        self.meta = meta
        self.ignored = tuple(ignored)

    @property
    def archived(self) -> tuple[str, ...]:
        """Names of all collections that the archive has, of operating state too."""
        flat = (name.removesuffix(_SUFFIX) for name in self.ignored if name.endswith(_SUFFIX) and "/" not in name)
        return (*self._entries, *flat)

    @property
    def collections(self) -> tuple[str, ...]:
        """Names, in the order of the archive."""
        return tuple(self._entries)

    def size_of(self, collection: str) -> int:
        """Bytes of its JSON."""
        return self._entries[collection].size

    def documents(self, collection: str, lost: Counter[str] | None = None) -> AsyncIterator[list[bytes]]:
        """Its documents with BSON types again, raw, in batches of some MiB. `lost` counts what `losses` tells.

        Raises ArchiveInvalid, JsonInvalid, or BsonInvalid for what MongoDB cannot hold.
        """
        return in_thread(self._documents(collection, lost))

    def _documents(self, collection: str, lost: Counter[str] | None) -> Iterator[list[bytes]]:
        for batch in read_array(map(bytes, read_pieces(self._source, self._entries[collection]))):
            if lost is not None:
                lost.update(kind for value in batch for kind in losses(value))
            yield [encode(collection, value) for value in batch]


def encode(collection: str, value: Mapping[str, Any]) -> bytes:
    """One document of JSON as raw BSON, with the types that GROWI's import gives it. Raises BsonInvalid."""
    try:
        document = bson.encode(restore(collection, value))
    except (bson.errors.BSONError, ValueError, OverflowError, RecursionError) as error:
        raise BsonInvalid(f"A document of {collection} cannot be stored in MongoDB.", collection=collection) from error
    if len(document) > DOCUMENT_LIMIT:
        raise BsonInvalid(f"A document of {collection} is larger than MongoDB stores.", collection=collection)
    return document


@asynccontextmanager
async def open_growi_archive(path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> AsyncIterator[GrowiArchive]:
    """Open an archive and check its structure and `meta.json`.

    Raises ArchiveInvalid, ArchiveTooLarge, OperatorFault.
    """
    source = await asyncio.to_thread(open_source, path)
    try:
        yield await asyncio.to_thread(_examine, source, limits)
    finally:
        await asyncio.to_thread(source.close)


async def is_growi_archive(path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> bool:
    """Whether a zip has GROWI's `meta.json`. Raises as `open_growi_archive` for what is no zip."""
    source = await asyncio.to_thread(open_source, path)
    try:
        entries = await asyncio.to_thread(
            lambda: read_directory(source, max_entries=limits.entries, max_bytes=limits.bytes)
        )
        return any(entry.name == META_NAME for entry in entries)
    finally:
        await asyncio.to_thread(source.close)


def _examine(source: FileSource, limits: ArchiveLimits) -> GrowiArchive:
    entries = {
        entry.name: entry for entry in read_directory(source, max_entries=limits.entries, max_bytes=limits.bytes)
    }
    meta = entries.pop(META_NAME, None)
    if meta is None:
        raise ArchiveInvalid(f"The archive has no {META_NAME}.", entry=META_NAME)
    collections: dict[str, Entry] = {}
    ignored: list[str] = []
    for name, entry in entries.items():
        collection = name.removesuffix(_SUFFIX)
        if collection != name and _is_legal(collection):
            collections[collection] = entry
        else:
            ignored.append(name)
    return GrowiArchive(source, _meta(bytes(read_whole(source, meta, META_LIMIT))), collections, ignored)


def _is_legal(collection: str) -> bool:
    if "/" in collection or "\\" in collection:
        return False  # it is flat
    try:
        check_collection(collection)
    except CollectionIllegal:
        return False
    return True


def _meta(text: bytes) -> GrowiMeta:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("version"), str):
        raise ArchiveInvalid(f"{META_NAME} does not tell the version of GROWI.", entry=META_NAME)
    variables = value.get("envVars")
    return GrowiMeta(
        value["version"],
        _text(value.get("url")),
        _text(value.get("exportedAt")),
        variables if isinstance(variables, dict) else {},
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


class GrowiArchiveWriter:
    """Writes an archive that GROWI's importer takes. End with `finish`."""

    def __init__(self, sink: Sink) -> None:
        self._zip = ZipWriter(sink)
        self.documents: dict[str, int] = {}
        """Counts by collection, of what was written so far."""

    async def add_collection(self, name: str, batches: AsyncIterable[bytes | memoryview]) -> int:
        """Write a collection from batches of whole raw documents; how many there were.

        Raises CollectionIllegal, BsonInvalid, the sink's errors and those of `batches`.
        """
        counted = _Counted()
        await self._zip.add(check_collection(name) + _SUFFIX, counted.text(batches), deflate=True)
        self.documents[name] = counted.documents
        return counted.documents

    async def finish(self, meta: GrowiMeta, *, password_seed: str | None = None) -> None:
        """Write `meta.json` and what closes the zip."""
        text = orjson.dumps(
            {
                "version": meta.version,
                "url": meta.url,
                "passwordSeed": password_seed,
                "exportedAt": meta.exported_at,
                "envVars": dict(meta.env_vars),
            }
        )
        await self._zip.add_whole(META_NAME, text, deflate=True)
        await self._zip.finish()


class _Counted:
    def __init__(self) -> None:
        self.documents = 0

    async def text(self, batches: AsyncIterable[bytes | memoryview]) -> AsyncIterator[bytes]:
        opening = b"["
        async for batch in batches:
            documents = split(batch)
            for start in range(0, len(documents), _TEXT_AT_ONCE):
                some = documents[start : start + _TEXT_AT_ONCE]
                yield opening + b",".join(await asyncio.to_thread(_texts, some))
                opening = b","
                self.documents += len(some)
        yield b"]" if self.documents else b"[]"


def _texts(documents: Sequence[bytes | memoryview]) -> list[bytes]:
    return [document_text(document) for document in documents]


def losses(value: Any) -> Iterator[str]:
    """Kinds of values in a document's JSON that came from a BSON type which the format cannot carry."""
    pending = [value]  # not by recursion: a document may be nested deeper than Python calls
    while pending:
        one = pending.pop()
        if isinstance(one, list):
            pending.extend(one)
        elif isinstance(one, dict):
            keys = one.keys()
            if keys == {"low", "high", "unsigned"}:
                yield "int64"
            elif keys == {"$numberDecimal"}:
                yield "decimal128"
            elif keys == {"$timestamp"}:
                yield "timestamp"
            else:
                pending.extend(one.values())
