"""Zips beyond what their 16 and 32 bits can count. The data are holes in the file, so nothing large is written."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import pytest

from growi_transfer.archive import zip_format as zf
from growi_transfer.archive.directory import MemorySource, read_directory
from growi_transfer.archive.entries import read_whole
from growi_transfer.archive.reader import FileSource

GIB = 1 << 30


def record(name: str, data: bytes, offset: int) -> zf.Record:
    return zf.Record(name.encode(), zf.UTF8_FLAG, zf.STORED, zlib.crc32(data), len(data), len(data), offset)


def with_a_hole(path: Path, size: int) -> None:
    """A zip of a streamed entry of `size` zeros (its CRC is wrong) and a small one behind it."""
    hole = zf.Record(b"hole", zf.UTF8_FLAG | zf.STREAMED_FLAG, zf.STORED, 1, size, size, 0)
    with path.open("wb") as file:
        file.write(zf.local_header(hole))
        file.seek(size, 1)
        file.write(zf.descriptor(hole))
        small = record("small", b"one", file.tell())
        file.write(zf.local_header(small) + b"one")
        directory = zf.central_record(hole) + zf.central_record(small)
        file.write(directory + zf.directory_end(2, len(directory), file.tell()))


@pytest.mark.parametrize("size", [GIB, 4 * GIB - 100, 4 * GIB - 2, 4 * GIB - 1, 4 * GIB, 4 * GIB + 1, 9 * GIB])
def test_entries_and_offsets_of_any_size_are_written_and_read(tmp_path: Path, size: int) -> None:
    path = tmp_path / "large.zip"
    with_a_hole(path, size)
    with path.open("rb") as file:
        source = FileSource(file)
        hole, small = read_directory(source, max_entries=2, max_bytes=size + 3)
        assert (hole.name, hole.size, hole.packed) == ("hole", size, size)
        assert read_whole(source, small, 3) == b"one"
    with zipfile.ZipFile(path) as opened:
        assert [one.file_size for one in opened.infolist()] == [size, 3]
        assert opened.read("small") == b"one"


@pytest.mark.parametrize("count", [65534, 65535, 65536])
def test_any_number_of_entries_is_written_and_read(tmp_path: Path, count: int) -> None:
    body, directory = bytearray(), bytearray()
    for number in range(count):
        one = record(f"{number:x}", b"", len(body))
        body += zf.local_header(one)
        directory += zf.central_record(one)
    end = zf.directory_end(count, len(directory), len(body))
    whole = bytes(body + directory + end)
    assert len(read_directory(MemorySource(whole), max_entries=count, max_bytes=0)) == count
    (tmp_path / "many.zip").write_bytes(whole)
    with zipfile.ZipFile(tmp_path / "many.zip") as opened:
        assert len(opened.namelist()) == count
    # Programs that look for the zip64 end only where a number is at its maximum must find one there.
    assert (zf.ZIP64_END_SIGNATURE in end) is (count >= 65535)


def test_an_entry_of_4_gib_cannot_have_its_size_in_a_plain_header() -> None:
    for packed, size in ((4 * GIB - 1, 0), (0, 4 * GIB - 1)):
        with pytest.raises(ValueError, match="streamed"):
            zf.local_header(zf.Record(b"a", 0, zf.DEFLATED, 0, packed, size, 0))
    assert zf.local_header(zf.Record(b"a", 0, zf.DEFLATED, 0, 4 * GIB - 2, 0, 0))
