"""Whole archives: written and read back, damaged, and unpacked by other programs."""

from __future__ import annotations

import asyncio
import subprocess
import tracemalloc
import zipfile
from pathlib import Path

import bson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.archives import (
    LARGE,
    METADATA,
    ONE,
    WIKIS,
    Wiki,
    archive_of,
    attachment,
    each,
    read,
)
from tests.fakes.raw_bson import damaged

from growi_transfer.archive.contents import ArchivedCollection
from growi_transfer.archive.reader import ArchiveLimits, ArchiveReader, open_archive
from growi_transfer.archive.sink import new_file
from growi_transfer.archive.writer import ArchiveWriter
from growi_transfer.protocol.errors import (
    ArchiveInvalid,
    ArchiveTooLarge,
    TransferError,
)

SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SLOW
@given(WIKIS, st.booleans())
def test_a_wiki_comes_out_as_it_went_in(tmp_path: Path, wiki: Wiki, deflate: bool) -> None:
    path = archive_of(wiki, tmp_path / "wiki.zip", deflate=deflate)
    assert asyncio.run(read(path)) == wiki
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None


@pytest.mark.parametrize("deflate", [False, True])
def test_large_entries_are_streamed_and_come_out_as_they_went_in(tmp_path: Path, deflate: bool) -> None:
    path = archive_of(LARGE, tmp_path / "wiki.zip", deflate=deflate, batch=50)
    with zipfile.ZipFile(path) as opened:
        streamed = {one.filename for one in opened.infolist() if one.flag_bits & 8}
    assert streamed == {"growi/pages.bson", "attachments/attachment/d"}
    assert asyncio.run(read(path)) == LARGE


@pytest.mark.parametrize("deflate", [False, True])
def test_other_programs_unpack_it_into_a_mongodump_directory(tmp_path: Path, deflate: bool) -> None:
    path = archive_of(LARGE, tmp_path / "wiki.zip", deflate=deflate)
    with zipfile.ZipFile(path) as opened:
        opened.extractall(tmp_path / "zipfile")
    folders = [tmp_path / "zipfile"]
    try:
        subprocess.run(["unzip", "-q", path, "-d", tmp_path / "unzip"], check=True)
        folders.append(tmp_path / "unzip")
    except FileNotFoundError:
        pass
    for folder in folders:
        assert {one.name for one in (folder / "growi").iterdir()} == {
            *[f"{name}.{suffix}" for name in ("empty", "log", "pages") for suffix in ("bson", "metadata.json")],
            "v.metadata.json",
            "%E6%97%A5%E6%9C%AC+%E8%AA%9E%2F%25.bson",
            "%E6%97%A5%E6%9C%AC+%E8%AA%9E%2F%25.metadata.json",
        }
        assert (folder / "growi" / "pages.bson").read_bytes() == b"".join(LARGE.collections["pages"][2])
        for name, content in LARGE.files.items():
            assert (folder / "attachments" / "attachment" / name).read_bytes() == content


@SLOW
@given(WIKIS, st.booleans(), st.data())
def test_damage_is_refused_or_changes_nothing(tmp_path: Path, wiki: Wiki, deflate: bool, data: st.DataObject) -> None:
    path = archive_of(wiki, tmp_path / "wiki.zip", deflate=deflate)
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    try:
        found = asyncio.run(read(path))
    except TransferError:
        return
    assert found == wiki


def test_every_cut_is_refused(tmp_path: Path) -> None:
    small = Wiki({"pages": ("collection", METADATA, [ONE])}, {"a": b"one"})
    body = archive_of(small, tmp_path / "wiki.zip").read_bytes()
    for length in range(0, len(body), 7):
        (tmp_path / "cut.zip").write_bytes(body[:length])
        with pytest.raises(ArchiveInvalid):
            asyncio.run(read(tmp_path / "cut.zip"))


@pytest.mark.parametrize("limits", [ArchiveLimits(entries=3), ArchiveLimits(bytes=10_000)])
def test_limits_are_absolute(tmp_path: Path, limits: ArchiveLimits) -> None:
    path = archive_of(LARGE, tmp_path / "wiki.zip")
    with pytest.raises(ArchiveTooLarge):
        asyncio.run(read(path, limits))


def test_memory_is_flat_both_ways(tmp_path: Path) -> None:
    # 160 MiB of documents and one file of 64 MiB, which pack to almost nothing.
    batch = bson.encode({"_id": 1, "body": "x" * 99_950}) * 40
    chunk = bytes(1 << 20)

    async def run() -> tuple[int, int]:
        tracemalloc.start()
        async with new_file(tmp_path / "wiki.zip") as sink:
            writer = ArchiveWriter(sink, database="growi")
            await writer.add_collection("pages", "collection", METADATA, each(batch for _ in range(40)))
            await writer.add_file(attachment(1, b""), each(chunk for _ in range(64)))
            await writer.finish()
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        async with open_archive(tmp_path / "wiki.zip") as archive:
            async for one in archive.documents(archive.contents.collections[0]):
                assert one
                del one
            async for page in archive.files():
                async for piece in archive.read_file(page[0]):
                    assert piece
        return written, tracemalloc.get_traced_memory()[1]

    try:
        written, read_back = asyncio.run(run())
    finally:
        tracemalloc.stop()
    assert written < 24 << 20
    assert read_back < 40 << 20


def test_several_contents_are_read_at_once(tmp_path: Path) -> None:
    path = archive_of(LARGE, tmp_path / "wiki.zip", deflate=True, batch=50)

    async def documents(archive: ArchiveReader, one: ArchivedCollection) -> list[bytes]:
        return [bytes(document) async for batch in archive.documents(one) for document in batch]

    async def run() -> dict[str, list[bytes]]:
        async with open_archive(path) as archive:
            collections = archive.contents.collections * 3
            found = await asyncio.gather(*(documents(archive, one) for one in collections))
            return dict(zip([one.name for one in collections], found, strict=True))

    assert asyncio.run(run()) == {name: documents for name, (_, _, documents) in LARGE.collections.items()}
