from __future__ import annotations

import io
import subprocess
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.raw_bson import damaged
from tests.fakes.zips import Part, build, deflated

from growi_transfer.archive.directory import MemorySource, read_directory
from growi_transfer.archive.entries import CHUNK, read_pieces, read_whole
from growi_transfer.protocol.errors import ArchiveInvalid, ArchiveTooLarge, TransferError

MANY = 1 << 40
TEXT = b"some text, some text, some text. " * 20


def contents(body: bytes, *, max_entries: int = 100, max_bytes: int = MANY) -> dict[str, bytes]:
    """Everything in a zip, read in both ways."""
    source = MemorySource(body)
    found = {}
    for entry in read_directory(source, max_entries=max_entries, max_bytes=max_bytes):
        found[entry.name] = bytes(read_whole(source, entry, 1 << 30))
        assert b"".join(read_pieces(source, entry)) == found[entry.name]
    return found


def zlib_without_end(data: bytes) -> bytes:
    """A deflate stream whose last block is not marked as such."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


def test_entries_are_read() -> None:
    parts = [Part("a", b"one"), Part("b/c", TEXT, deflate=True), Part("d", b""), Part("e", b"", deflate=True)]
    assert contents(build(parts)) == {"a": b"one", "b/c": TEXT, "d": b"", "e": b""}
    assert contents(build([])) == contents(build([], wide={})) == {}


def test_folders_are_passed_over() -> None:
    folder = Part("b/", central={"mode": 0o040755})
    assert contents(build([folder, Part("b/c", b"x")])) == {"b/c": b"x"}


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("zeros", [True, False])
def test_streamed_entries_of_all_programs_are_read(signed: bool, wide: bool, zeros: bool) -> None:
    packed = deflated(TEXT)
    crc = zlib.crc32(TEXT)
    after = (b"PK\7\10" if signed else b"") + pack("<LQQ" if wide else "<LLL", crc, len(packed), len(TEXT))
    local: dict[str, object] = {"crc": 0, "packed": 0, "size": 0} if zeros else {}
    if wide and zeros:
        local.update(packed=0xFFFFFFFF, size=0xFFFFFFFF, extra=pack("<HHQQ", 1, 16, 0, 0))
    part = Part("a", TEXT, deflate=True, flags=0x808, after=after, local=local)
    assert contents(build([part, Part("b", b"x")])) == {"a": TEXT, "b": b"x"}


def test_zip64_sizes_and_offsets_are_read() -> None:
    wide = {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF, "offset": 0xFFFFFFFF, "extra": pack("<HHQQQ", 1, 24, 3, 3, 0)}
    local = {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF, "extra": pack("<HHQQ", 1, 16, 3, 3)}
    body = build([Part("a", b"one", central=wide, local=local), Part("b", b"two")], wide={})
    assert contents(body) == {"a": b"one", "b": b"two"}
    assert zipfile.ZipFile(io.BytesIO(body)).read("a") == b"one"


def test_what_zipfile_makes_is_read() -> None:
    class Pipe(io.RawIOBase):
        """Not seekable, so that zipfile must stream."""

        def __init__(self) -> None:
            self.body = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.body += bytes(data)
            return len(data)

    for target in (io.BytesIO(), Pipe()):
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:  # type: ignore[arg-type]
            made.writestr("a", TEXT)
            made.writestr(zipfile.ZipInfo("ページ/b"), b"two")
            with made.open("c", "w", force_zip64=True) as large:
                large.write(TEXT)
        body = target.getvalue() if isinstance(target, io.BytesIO) else target.body
        assert contents(body) == {"a": TEXT, "ページ/b": b"two", "c": TEXT}


def test_what_zip_makes_is_read(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_bytes(TEXT * 100)
    (tmp_path / "in" / "deep" / "empty").write_bytes(b"")
    wanted = {"in/a.txt": TEXT * 100, "in/deep/empty": b""}
    try:
        subprocess.run(["zip", "-qr", "file.zip", "in"], cwd=tmp_path, check=True)
    except FileNotFoundError:
        pytest.skip("no `zip` on PATH")
    assert contents((tmp_path / "file.zip").read_bytes()) == wanted
    streamed = subprocess.run(["zip", "-qr", "-", "in"], cwd=tmp_path, check=True, stdout=subprocess.PIPE).stdout
    assert contents(streamed) == wanted


SAFE, OTHER = Part("a", b"one"), Part("b", b"two")
LONG = {"size": 999, "packed": 999}
LARGE_EXTRA = pack("<HH", 9, 4996) + bytes(4996)
RECORD = build([OTHER])[34:81]
STRUCTURE: dict[str, tuple[str, bytes]] = {
    "nothing": ("not a zip", b""),
    "no zip": ("not a zip", b"x" * 1000),
    "zeros": ("not a zip", bytes(1000)),
    "a comment": ("truncated, or not a zip", build([SAFE], comment=b"hello")),
    "a comment that is not there": ("comment", build([SAFE], end={"comment": 5})),
    "something behind": ("something behind", build([SAFE]) + b"\0"),
    "no end": ("something behind", build([SAFE]).replace(b"PK\5\6", b"PK\5\7")),
    "something before": ("not where it says", b"\0" + build([SAFE])),
    "something before, offsets right": ("between", build([Part("a", b"one", before=b"#!/bin/sh\n")])),
    "something between": ("between", build([SAFE, Part("b", b"two", before=b"x")])),
    "something before the directory": ("do not end", build([SAFE], between=b"x")),
    "an entry without a record": ("do not end", build([Part("a", b"one", after=build([SAFE])[:34])])),
    "two of one name": ("two entries", build([SAFE, Part("a", b"two")])),
    "two records for one entry": ("overlap", build([SAFE, Part("b", central={"offset": 0, "name": b"a"})])),
    "overlapping entries": ("overlap", build([SAFE, Part("b", b"two", central={"offset": 0})])),
    "out of order": ("order", build([Part("a", central={"offset": 31}), Part("a", central={"offset": 0})])),
    "encrypted": ("encrypted", build([Part("a", b"one", flags=0x801)])),
    "strongly encrypted": ("not supported", build([Part("a", b"one", flags=0x840)])),
    "masked headers": ("not supported", build([Part("a", b"one", flags=0x2800)])),
    "patch data": ("not supported", build([Part("a", b"one", flags=0x820)])),
    "bzip2": ("deflate", build([Part("a", b"one", local={"method": 12}, central={"method": 12})])),
    "stored with two sizes": ("two different", build([Part("a", b"one", local={"size": 4}, central={"size": 4})])),
    "another name inside": ("another name", build([Part("a", b"one", local={"name": b"b"})])),
    "a longer name inside": ("another name", build([Part("a", b"one", local={"name": b"a/b"})])),
    "another size inside": ("another size", build([Part("a", b"one", local={"size": 2, "packed": 2})])),
    "another crc inside": ("another size or CRC", build([Part("a", b"one", local={"crc": 1})])),
    "another method inside": ("differently", build([Part("a", TEXT, deflate=True, local={"method": 0})])),
    "other flags inside": ("differently", build([Part("a", b"one", local={"flags": 0})])),
    "no header": ("damaged", build([SAFE]).replace(b"PK\3\4", b"PK\3\5")),
    "a link": ("link", build([Part("l", b"/etc/passwd", central={"mode": 0o120777})])),
    "a device": ("device", build([Part("a", central={"mode": 0o020644})])),
    "a folder that is a file": ("link", build([Part("a/", central={"mode": 0o100644})])),
    "a file that is a folder": ("link", build([Part("a", central={"mode": 0o040755})])),
    "a folder with content": ("folder with", build([Part("a/", b"x", central={"mode": 0o040755})])),
    "a folder with hidden content": (
        "folder with",
        build([Part("a/", deflate=True, central={"mode": 0o040755})]),
    ),
    "a second name": ("two names", build([Part("a", b"one", central={"extra": pack("<HH", 0x7075, 1) + b"x"})])),
    "a second name inside": (
        "differently",
        build([Part("a", b"one", local={"extra": pack("<HH", 0x7075, 1) + b"x"})]),
    ),
    "a cut extra field": ("is cut", build([Part("a", b"one", central={"extra": b"\1"})])),
    "a cut extra field inside": ("is cut", build([Part("a", b"one", local={"extra": b"\1\0\0"})])),
    "an extra field beyond its end": ("well formed", build([Part("a", b"one", central={"extra": pack("<HH", 9, 99)})])),
    "an extra field twice": ("well formed", build([Part("a", b"one", central={"extra": pack("<HHHH", 9, 0, 9, 0)})])),
    "a long extra field": ("too long", build([Part("a", b"one", central={"extra": LARGE_EXTRA + pack("<HH", 8, 0)})])),
    "a long extra field inside": (
        "damaged",
        build([Part("a", b"one", local={"extra": LARGE_EXTRA + pack("<HH", 8, 0)})]),
    ),
    "a long name": ("too long", build([Part("a" * 1025, b"one")])),
    "zip64 without its value": (
        "too short",
        build([Part("a", b"one", central={"size": 0xFFFFFFFF, "extra": pack("<HH", 1, 0)})]),
    ),
    "zip64 with half its value": (
        "too short",
        build([Part("a", b"one", central={"size": 0xFFFFFFFF, "extra": pack("<HHQL", 1, 12, 3, 0)})]),
    ),
    "zip64 size missing": ("size", build([Part("a", b"one", central={"size": 0xFFFFFFFF})])),
    "a comment on an entry": ("comment", build([Part("a", b"one", central={"comment": b"x"})])),
    "an entry on another disk": ("well formed", build([Part("a", b"one", central={"disk": 1})])),
    "no record": ("well formed", build([SAFE]).replace(b"PK\1\2", b"PK\1\3")),
    "too few counted": ("more than its entries", build([SAFE, OTHER], end={"here": 1, "count": 1})),
    "too many counted": ("truncated", build([SAFE], end={"here": 2, "count": 2})),
    "a record that is cut": ("truncated", build([SAFE], end={"here": 2, "count": 2}, behind=RECORD[:40])),
    "a record whose name is cut": ("truncated", build([SAFE], end={"here": 2, "count": 2}, behind=RECORD[:46])),
    "something behind the records": ("more than its entries", build([SAFE], behind=b"x")),
    "another disk": ("several parts", build([SAFE], end={"disk": 1})),
    "begun on another disk": ("several parts", build([SAFE], end={"first_disk": 1})),
    "records on another disk": ("several parts", build([SAFE], end={"here": 0})),
    "directory elsewhere": ("not where it says", build([SAFE], end={"offset": 0})),
    "directory size wrong": ("not where it says", build([SAFE], end={"size": 1})),
    "longer than the zip": ("do not end", build([Part("a", b"one", local=LONG, central=LONG)])),
    "an entry behind the end": (
        "truncated",
        build([Part("a", b"one", local=LONG, central=LONG), Part("b", central={"offset": 31 + 999})]),
    ),
    "streamed without descriptor": ("not its size", build([Part("a", b"one", flags=0x808)])),
    "streamed with another descriptor": (
        "not its size",
        build([Part("a", b"one", flags=0x808, after=pack("<LLL", 1, 3, 3))]),
    ),
    "streamed beyond the end": (
        "not its size",
        build([Part("a", b"one", flags=0x808, local=LONG, central=LONG)]),
    ),
    "not ASCII and not marked": ("neither ASCII", build([Part("日本", flags=0)])),
    "not UTF-8 but marked": ("neither ASCII", build([Part(b"\xff\xfe")])),
    "zip64 end that disagrees": ("disagree", build([SAFE], wide={}, end={"here": 2, "count": 2})),
    "zip64 end elsewhere": ("zip64 end of the archive is not where", build([SAFE], wide={"at": 0})),
    "zip64 end on another disk": ("zip64 end of the archive is not where", build([SAFE], wide={"locator_disk": 1})),
    "zip64 of several disks": ("zip64 end of the archive is not where", build([SAFE], wide={"disks": 2})),
    "zip64 end with more": ("well formed", build([SAFE], wide={"rest": 45})),
    "no zip64 end": ("well formed", build([SAFE], wide={}).replace(b"PK\6\6", b"PK\6\5")),
    "zip64 disk": ("several parts", build([SAFE], wide={"disk": 1})),
    "zip64 first disk": ("several parts", build([SAFE], wide={"first_disk": 1})),
    "zip64 records on another disk": ("several parts", build([SAFE], wide={"here": 0})),
}
CONTENT: dict[str, bytes] = {
    "wrong crc": build([Part("a", b"one", local={"crc": 1}, central={"crc": 1})]),
    "wrong crc of deflated": build([Part("a", b"one", deflate=True, local={"crc": 1}, central={"crc": 1})]),
    "deflate that is none": build([Part("a", b"one", deflate=True, stored_as=b"\xff\xff\xff\xff")]),
    "deflate that is cut": build([Part("a", TEXT, deflate=True, stored_as=deflated(TEXT)[:-3])]),
    "deflate and more": build([Part("a", TEXT, deflate=True, stored_as=deflated(TEXT) + b"more")]),
    "deflate and much more": build([Part("a", TEXT, deflate=True, stored_as=deflated(TEXT) + bytes(CHUNK))]),
    "deflate of more": build([Part("a", b"one", deflate=True, stored_as=deflated(b"one and a half"))]),
    "deflate of less": build([Part("a", TEXT, deflate=True, stored_as=deflated(b"one"))]),
    "deflate of nothing": build([Part("a", b"", deflate=True, stored_as=b"")]),
    "deflate without an end": build([Part("a", TEXT, deflate=True, stored_as=zlib_without_end(TEXT))]),
}
NAMES = [
    "../a", "a/../b", "/a", "a//b", "./a", "a/.", "..", ".", "", "C:/a", "a:b", "a\\b", "a\0b", "a\nb", "a\x7f", "\x85",
    "a/..", "/", "//",
]  # fmt: skip


@pytest.mark.parametrize("what", STRUCTURE)
def test_a_structure_that_is_not_sound_is_refused_before_anything_is_read(what: str) -> None:
    message, body = STRUCTURE[what]
    with pytest.raises(ArchiveInvalid, match=message):
        read_directory(MemorySource(body), max_entries=100, max_bytes=MANY)


@pytest.mark.parametrize("what", CONTENT)
def test_contents_that_are_not_what_the_headers_say_are_refused(what: str) -> None:
    source = MemorySource(CONTENT[what])
    (entry,) = read_directory(source, max_entries=1, max_bytes=MANY)
    with pytest.raises(ArchiveInvalid):
        read_whole(source, entry, MANY)
    with pytest.raises(ArchiveInvalid):
        for _ in read_pieces(source, entry):
            pass


def test_more_than_the_limit_is_not_read_at_once() -> None:
    source = MemorySource(build([SAFE]))
    (entry,) = read_directory(source, max_entries=1, max_bytes=MANY)
    assert read_whole(source, entry, 3) == b"one"
    with pytest.raises(ArchiveTooLarge):
        read_whole(source, entry, 2)


def test_long_names_and_extra_fields_have_a_limit_and_not_less() -> None:
    extra = {"extra": pack("<HH", 9, 4092) + bytes(4092)}
    part = Part("a" * 1024, b"one", central=extra, local=extra)
    assert contents(build([part, OTHER])) == {"a" * 1024: b"one", "b": b"two"}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ArchiveInvalid):
        contents(build([Part(name, b"one")]))


@pytest.mark.parametrize("body", [build([SAFE, Part("b", TEXT, deflate=True)]), build([SAFE], wide={})])
def test_every_cut_is_refused(body: bytes) -> None:
    assert contents(body)
    for length in range(len(body)):
        with pytest.raises(ArchiveInvalid):
            contents(body[:length])


def test_limits_are_absolute() -> None:
    body = build([Part(str(number), bytes(1000), deflate=True) for number in range(10)])
    assert len(contents(body, max_entries=10, max_bytes=10_000)) == 10
    with pytest.raises(ArchiveTooLarge):
        contents(body, max_entries=9)
    with pytest.raises(ArchiveTooLarge):
        contents(body, max_bytes=9_999)


def test_unpacking_stops_at_the_first_byte_too_many() -> None:
    source = MemorySource(build([Part("a", b"one", deflate=True, stored_as=deflated(bytes(64 << 20)))]))
    (entry,) = read_directory(source, max_entries=1, max_bytes=3)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveInvalid, match="size"):
            read_whole(source, entry, 3)
        with pytest.raises(ArchiveInvalid, match="size"):
            list(read_pieces(source, entry))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20


def test_no_piece_is_longer_than_a_chunk() -> None:
    data = bytes(5 * CHUNK + 1)
    for part in (Part("a", data), Part("a", data, deflate=True)):
        source = MemorySource(build([part]))
        (entry,) = read_directory(source, max_entries=1, max_bytes=MANY)
        assert [len(piece) for piece in read_pieces(source, entry)] == [CHUNK] * 5 + [1]


@given(
    st.dictionaries(st.text("abc/é日", min_size=1, max_size=6), st.binary(max_size=200), max_size=4),
    st.booleans(),
    st.data(),
)
@settings(max_examples=300)
def test_damage_is_refused_or_changes_nothing(parts: dict[str, bytes], deflate: bool, data: st.DataObject) -> None:
    good = build([Part(name, content, deflate=deflate) for name, content in parts.items()])
    try:
        whole = contents(good)
    except ArchiveInvalid:
        return
    assert whole == {name: content for name, content in parts.items() if not name.endswith("/")}
    try:
        found = contents(data.draw(damaged(good)))
    except TransferError:
        return
    # What the names are is not protected by a CRC, but said twice.
    assert sorted(found.values()) == sorted(whole.values())
