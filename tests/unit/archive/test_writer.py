from __future__ import annotations

import asyncio
import os
import zipfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from tests.fakes.archives import (
    LARGE,
    METADATA,
    ONE,
    TWO,
    Memory,
    Wiki,
    attachment,
    each,
    read,
    write,
)

from growi_transfer.archive.layout import ArchiveManifest
from growi_transfer.archive.sink import FileSink, new_file
from growi_transfer.archive.writer import ArchiveWriter
from growi_transfer.archive.zip_writer import SMALL_ENTRY
from growi_transfer.protocol.errors import (
    ArchiveInvalid,
    ArchiveTooLarge,
    BsonInvalid,
    CollectionIllegal,
    InsufficientSpace,
    JsonInvalid,
    NameIllegal,
    OperatorFault,
    StorageUnavailable,
)
from growi_transfer.protocol.wire import JSON_LIMIT, AttachmentFile, SourceInfo


def test_the_manifest_says_what_is_there(tmp_path: Path) -> None:
    async def run() -> ArchiveManifest:
        async with new_file(tmp_path / "wiki.zip") as sink:
            writer = ArchiveWriter(sink, database="growi")
            await writer.add_collection("pages", "collection", METADATA, each([ONE + TWO]))
            await writer.add_file(attachment(1, b"one"), each([b"one"]))
            return await writer.finish(source=SourceInfo(version="7.3.0"), missing_files=2, created_at="2026-11-21")

    manifest = asyncio.run(run())
    (pages,) = manifest.collections
    total = sum(int.from_bytes(sha256(one).digest()) for one in (ONE, TWO)) % (1 << 256)
    assert (pages.documents, pages.bytes, pages.digest) == (2, len(ONE + TWO), f"{total:064x}")
    assert (manifest.files, manifest.file_bytes, manifest.missing_files) == (1, 3, 2)
    with zipfile.ZipFile(tmp_path / "wiki.zip") as opened:
        assert ArchiveManifest.model_validate_json(opened.read("manifest.json")) == manifest
        lines = opened.read("attachments.jsonl")
    assert sha256(lines).hexdigest() == manifest.files_sha256
    assert AttachmentFile.model_validate_json(lines).sha256 == sha256(b"one").hexdigest()


def test_a_file_is_recorded_as_it_is_and_not_as_it_was_announced() -> None:
    async def run() -> list[AttachmentFile]:
        writer = ArchiveWriter(Memory(), database="growi")
        return [
            await writer.add_file(attachment(1, b"announced"), each([b"true"])),
            *await writer.add_files([(attachment(2, b"announced"), b"true")]),
        ]

    for file in asyncio.run(run()):
        assert (file.size, file.sha256) == (4, sha256(b"true").hexdigest())


def test_what_fails_before_it_is_written_can_be_left_out(tmp_path: Path) -> None:
    async def run() -> None:
        async with new_file(tmp_path / "wiki.zip") as sink:
            writer = ArchiveWriter(sink, database="growi")
            with pytest.raises(StorageUnavailable):
                await writer.add_file(attachment(1, b""), each([b"some"], StorageUnavailable()))
            with pytest.raises(CollectionIllegal):
                await writer.add_collection("sessions", "collection", METADATA, each([ONE]))
            with pytest.raises(StorageUnavailable):
                await writer.add_collection("pages", "collection", METADATA, each([ONE], StorageUnavailable()))
            with pytest.raises(JsonInvalid):
                await writer.add_collection("pages", "collection", "{}", each([ONE]))
            large = METADATA.replace("{}", '{"a":"' + "x" * JSON_LIMIT + '"}', 1)
            with pytest.raises(ArchiveTooLarge):
                await writer.add_collection("pages", "collection", large, each([ONE]))
            await writer.add_file(attachment(3, b"a", file_name="a.png"), each([b"a"]))
            for again in ("a.png", "A.png"):
                with pytest.raises(NameIllegal):
                    await writer.add_file(attachment(4, b"a", file_name=again), each([b"b"]))
                with pytest.raises(NameIllegal):
                    await writer.add_files([(attachment(4, b"a", file_name=again), b"b")])
            same = [(attachment(5, b"", file_name=name), b"") for name in ("b", "B")]
            with pytest.raises(NameIllegal):
                await writer.add_files(same)
            await writer.finish()

    asyncio.run(run())
    assert asyncio.run(read(tmp_path / "wiki.zip")) == Wiki(files={"a.png": b"a"})


def test_a_collection_is_written_once() -> None:
    async def run() -> None:
        writer = ArchiveWriter(Memory(), database="growi")
        for name in ("pages", "Pages"):
            await writer.add_collection(name, "collection", METADATA, each([ONE]))
        with pytest.raises(ArchiveInvalid, match="two entries"):
            await writer.add_collection("pages", "collection", METADATA, each([ONE]))

    asyncio.run(run())


def test_a_batch_that_is_not_whole_documents_is_refused() -> None:
    writer = ArchiveWriter(Memory(), database="growi")
    with pytest.raises(BsonInvalid):
        asyncio.run(writer.add_collection("pages", "collection", METADATA, each([ONE[:-1]])))


def test_an_archive_with_half_an_entry_cannot_be_finished() -> None:
    async def run() -> None:
        writer = ArchiveWriter(Memory(), database="growi")
        large = os.urandom(SMALL_ENTRY)
        with pytest.raises(StorageUnavailable):
            await writer.add_file(attachment(1, b""), each([large] * 3, StorageUnavailable()))
        with pytest.raises(RuntimeError):
            await writer.finish()

    asyncio.run(run())


class Full:
    """A disk that takes some writes and then no more."""

    def __init__(self, room: int) -> None:
        self.room = room

    def writelines(self, pieces: Sequence[bytes]) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("room", range(9))
def test_a_full_disk_is_told_wherever_it_comes(room: int) -> None:
    with pytest.raises(InsufficientSpace):
        asyncio.run(write(LARGE, FileSink(Full(room))))  # type: ignore[arg-type]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "wiki.zip"
    path.write_bytes(b"former")

    async def run(error: Exception | None) -> None:
        async with new_file(path) as sink:
            await sink.write([b"one", b"two"])
            assert path.read_bytes() == b"former"
            if error is not None:
                raise error

    with pytest.raises(StorageUnavailable):
        asyncio.run(run(StorageUnavailable()))
    assert path.read_bytes() == b"former"
    asyncio.run(run(None))
    assert path.read_bytes() == b"onetwo"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    async def run(path: Path) -> None:
        async with new_file(path):
            pass

    with pytest.raises(OperatorFault):
        asyncio.run(run(tmp_path / "missing" / "wiki.zip"))
    with pytest.raises(OperatorFault):
        asyncio.run(read(tmp_path / "missing.zip"))


def test_a_folder_in_the_way_is_told_before_anything_is_written(tmp_path: Path) -> None:
    async def run() -> None:
        async with new_file(tmp_path):
            raise AssertionError("this would be written in vain")

    with pytest.raises(OperatorFault, match="folder"):
        asyncio.run(run())
