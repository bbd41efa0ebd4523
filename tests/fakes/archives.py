"""A small wiki as it goes into an archive and comes out of one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bson
from hypothesis import strategies as st
from tests.fakes.raw_bson import DOCUMENTS

from growi_transfer.archive.layout import ArchiveManifest
from growi_transfer.archive.reader import DEFAULT_LIMITS, ArchiveLimits, ArchiveReader, open_archive
from growi_transfer.archive.writer import ArchiveWriter
from growi_transfer.archive.zip_writer import SMALL_ENTRY
from growi_transfer.protocol.errors import (
    TransferError,
)
from growi_transfer.protocol.wire import AttachmentFile

METADATA = '{"options":{},"indexes":[{"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"}]}'
CAPPED = METADATA.replace("{}", '{"capped":true,"size":{"$numberInt":"4096"}}', 1)
CLUSTERED = METADATA.replace("{}", '{"clusteredIndex":{"key":{"_id":1},"unique":true}}', 1)
VIEW = '{"options":{"viewOn":"pages","pipeline":[]},"indexes":[]}'
ONE, TWO = bson.encode({"_id": 1, "body": "wiki"}), bson.encode({"_id": 2})


class Memory:
    """A sink that keeps everything, and cannot be sought in."""

    def __init__(self) -> None:
        self.body = b""

    async def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        self.body += b"".join(pieces)


async def each(items: Iterable[Any], error: Exception | None = None) -> AsyncIterator[Any]:
    for item in items:
        yield item
    if error is not None:
        raise error


def attachment(number: int, content: bytes, *, has_page: bool = True, **more: str) -> AttachmentFile:
    name = more.pop("file_name", f"{number:032x}.png")
    return AttachmentFile(id=f"{number:024x}", file_name=name, has_page=has_page, size=len(content), **more)


@dataclass
class Wiki:
    """What goes into an archive, and what came out of one."""

    collections: dict[str, tuple[str, str, list[bytes]]] = field(default_factory=dict)
    """Name -> kind, metadata, documents."""
    files: dict[str, bytes] = field(default_factory=dict)


async def write(wiki: Wiki, sink: Any, *, deflate: bool = True, batch: int = 2) -> ArchiveManifest:
    writer = ArchiveWriter(sink, database="growi", deflate=deflate)
    for name, (kind, metadata, documents) in wiki.collections.items():
        batches = [b"".join(documents[start : start + batch]) for start in range(0, len(documents), batch)]
        await writer.add_collection(name, kind, metadata, each(batches), uuid="a" * 32)  # type: ignore[arg-type]
    files = [(attachment(number, wiki.files[name], file_name=name), name) for number, name in enumerate(wiki.files)]
    half = len(files) // 2
    await writer.add_files([(file, wiki.files[name]) for file, name in files[:half]])
    for file, name in files[half:]:
        await writer.add_file(file, each([wiki.files[name][:3], wiki.files[name][3:]]))
    return await writer.finish()


async def read(path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> Wiki:
    async with open_archive(path, limits) as archive:
        return await read_all(archive)


async def read_all(archive: ArchiveReader) -> Wiki:
    wiki = Wiki()
    for one in archive.contents.collections:
        documents = [bytes(document) async for batch in archive.documents(one) for document in batch]
        wiki.collections[one.name] = (one.kind, one.metadata, documents)
    async for page in archive.files():
        for file, content in zip(page, await archive.read_files(page, 1 << 30), strict=True):
            if isinstance(content, TransferError):
                raise content
            assert content == b"".join([piece async for piece in archive.read_file(file)])
            wiki.files[file.file_name] = content
    return wiki


def archive_of(wiki: Wiki, path: Path, **how: Any) -> Path:
    sink = Memory()
    asyncio.run(write(wiki, sink, **how))
    path.write_bytes(sink.body)
    return path


LARGE = Wiki(
    {
        "empty": ("collection", METADATA, []),
        "log": ("capped", CAPPED, [ONE, TWO, ONE]),
        "pages": ("collection", METADATA, [bson.encode({"_id": n, "body": os.urandom(9000)}) for n in range(400)]),
        "v": ("view", VIEW, []),
        "日本 語/%": ("collection", METADATA, [TWO]),
    },
    {"a.png": os.urandom(3 * SMALL_ENTRY), "b.txt": b"", "c.日本": b"text", "d": os.urandom(3 * SMALL_ENTRY)},
)


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00$"), min_size=1, max_size=60).filter(
    lambda name: not name.startswith((".", "system.")) and not name.endswith(".") and len(name.encode()) <= 200
)
KINDS = st.sampled_from([("collection", METADATA), ("capped", CAPPED), ("clustered", CLUSTERED)])
COLLECTIONS = st.dictionaries(
    NAMES, st.tuples(KINDS, st.lists(DOCUMENTS, max_size=4)).map(lambda two: (*two[0], two[1])), max_size=3
)
FILES = st.dictionaries(
    st.builds("{:032x}{}".format, st.integers(0, 2**128 - 1), st.sampled_from(["", ".png", ".日本"])),
    st.binary(max_size=50),
    max_size=3,
)
WIKIS = st.builds(Wiki, COLLECTIONS, FILES)
