"""Reads the directory of a zip and believes nothing of it: whatever passes here can be read without surprises.

A zip says everything twice (central directory and local headers), and programs differ in which they believe; that
is how one file shows different contents to different readers. So both must agree, the entries must lie one behind
the other and fill the file, and nothing may stand before, between or after them. Comments of the archive, second
names, encryption, links and devices are refused. What the entries are called is checked here for safety; which
names are wanted is up to the caller.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from growi_transfer.archive import zip_format as zf
from growi_transfer.protocol.errors import ArchiveInvalid, ArchiveTooLarge

NAME_LIMIT = 1024
"""Bytes of an entry's name."""
_EXTRA_LIMIT = 4096
_BLOCK = 1 << 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Source(Protocol):
    """Bytes that can be read at any place, any number of times."""

    @property
    def size(self) -> int: ...

    def read_at(self, offset: int, length: int) -> bytes | memoryview:
        """Exactly `length` bytes. Raises ArchiveInvalid when there are not as many."""


class Entry(NamedTuple):
    """One file in a zip whose headers agree; folders are not kept."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    start: int
    """Where its data begin."""


class MemorySource:
    """A zip that is in memory. Reads are views, not copies."""

    def __init__(self, body: bytes | bytearray | memoryview) -> None:
        self.view = memoryview(body)

    @property
    def size(self) -> int:
        return len(self.view)

    def read_at(self, offset: int, length: int) -> memoryview:
        if offset + length > len(self.view):
            raise truncated()
        return self.view[offset : offset + length]


def truncated() -> ArchiveInvalid:
    return ArchiveInvalid("The archive is truncated.")


def read_directory(source: Source, *, max_entries: int, max_bytes: int) -> list[Entry]:
    """The files of a zip, in their order. `max_bytes` bounds the sum of their unpacked sizes.

    Raises ArchiveInvalid or ArchiveTooLarge. Reads the directory and every local header, and no data. The directory
    must be in the order of the data, as all common programs write it: then it need not be held twice to be checked.
    """
    count, directory, end = _find_directory(source)
    if count > max_entries:
        raise ArchiveTooLarge(f"The archive has more than {max_entries} entries.", entries=count)
    entries: list[Entry] = []
    names: set[str] = set()
    total = 0
    expected = 0
    for record in _central_records(source, count, directory, end):
        total += record.size
        if total > max_bytes:
            raise ArchiveTooLarge(f"The archive unpacks to more than {max_bytes} bytes.")
        if record.offset != expected:
            raise ArchiveInvalid("Entries of the archive overlap, are out of order, or have something between them.")
        name = _name(record)
        if name in names:
            raise ArchiveInvalid(f"The archive has two entries of one name: {name[:200]}")
        names.add(name)
        start = _data_start(source, record)
        if not _check_mode(record, name):
            entries.append(Entry(name, record.method, record.crc, record.packed, record.size, start))
        expected = _next_entry(source, record, start)
    if expected != directory:
        raise ArchiveInvalid("The entries of the archive do not end where its directory begins.")
    return entries


def _find_directory(source: Source) -> tuple[int, int, int]:
    """Number of records, where they begin, where they end."""
    tail = source.size - zf.END.size
    if tail < 0:
        raise ArchiveInvalid("This is not a zip archive.")
    signature, disk, first_disk, here, count, size, offset, comment = zf.END.unpack(source.read_at(tail, zf.END.size))
    if signature != zf.END_SIGNATURE:
        raise ArchiveInvalid("The archive is truncated, or not a zip, or has something behind its end.")
    if disk or first_disk or here != count or comment:
        raise ArchiveInvalid("The archive has several parts or a comment.")
    end = tail
    locator_at = tail - zf.ZIP64_LOCATOR.size
    if locator_at >= zf.ZIP64_END.size:
        signature, first_disk, wide_at, disks = zf.ZIP64_LOCATOR.unpack(
            source.read_at(locator_at, zf.ZIP64_LOCATOR.size)
        )
        if signature == zf.ZIP64_LOCATOR_SIGNATURE:
            end = locator_at - zf.ZIP64_END.size
            if wide_at != end or first_disk or disks != 1:
                raise ArchiveInvalid("The zip64 end of the archive is not where it says.")
            count, size, offset = _wide_end(source, end, (count, size, offset))
    if offset + size != end:
        raise ArchiveInvalid("The directory of the archive is not where it says.")
    return int(count), int(offset), end


def _wide_end(source: Source, at: int, short: tuple[int, int, int]) -> tuple[int, int, int]:
    signature, rest, _, _, disk, first_disk, here, count, size, offset = zf.ZIP64_END.unpack(
        source.read_at(at, zf.ZIP64_END.size)
    )
    if signature != zf.ZIP64_END_SIGNATURE or rest != zf.ZIP64_END.size - 12:
        raise ArchiveInvalid("The zip64 end of the archive is not well formed.")
    if disk or first_disk or here != count:
        raise ArchiveInvalid("The archive has several parts.")
    wide = (count, size, offset)
    maxima = (zf.MAXIMUM_16, zf.MAXIMUM_32, zf.MAXIMUM_32)
    if any(old not in (new, maximum) for old, new, maximum in zip(short, wide, maxima, strict=True)):
        raise ArchiveInvalid("The two ends of the archive disagree.")
    return wide


def _central_records(source: Source, count: int, start: int, end: int) -> Iterator[zf.Record]:
    """Parses the directory block by block, so that its size never sets how much memory is used."""
    block = b""
    block_at = start
    position = start
    longest = zf.CENTRAL.size + NAME_LIMIT + _EXTRA_LIMIT
    for _ in range(count):
        if position + longest > block_at + len(block):
            block_at = position
            block = bytes(source.read_at(position, min(_BLOCK, end - position)))
        record, length = _central_record(block, position - block_at)
        position += length
        yield record
    if position != end:
        raise ArchiveInvalid("The directory of the archive has more than its entries.")


def _central_record(block: bytes, at: int) -> tuple[zf.Record, int]:
    if at + zf.CENTRAL.size > len(block):
        raise truncated()
    fixed = zf.CENTRAL.unpack_from(block, at)
    signature, _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = fixed[:12]
    comment_length, disk, _, attributes, offset = fixed[12:]
    if signature != zf.CENTRAL_SIGNATURE or disk:
        raise ArchiveInvalid("The directory of the archive is not well formed.")
    if name_length > NAME_LIMIT or extra_length > _EXTRA_LIMIT or comment_length:
        raise ArchiveInvalid("An entry of the archive has a comment, or a name or extra field that is too long.")
    name_at = at + zf.CENTRAL.size
    extra_at = name_at + name_length
    length = extra_at + extra_length - at
    if at + length > len(block):
        raise truncated()
    name = block[name_at:extra_at]
    extra = zf.extra_fields(block[extra_at : extra_at + extra_length])
    if zf.UNICODE_PATH_EXTRA in extra:
        raise ArchiveInvalid("An entry of the archive has two names.")
    size, packed, offset = zf.widen((size, packed, offset), extra)
    return zf.Record(name, flags, method, crc, packed, size, offset, attributes >> 16), length


def _data_start(source: Source, record: zf.Record) -> int:
    """Checks the local header against the directory; where the data begin."""
    fixed = zf.LOCAL.unpack(source.read_at(record.offset, zf.LOCAL.size))
    signature, _, flags, method, _, _, crc, packed, size, name_length, extra_length = fixed
    if signature != zf.LOCAL_SIGNATURE or extra_length > _EXTRA_LIMIT:
        raise ArchiveInvalid("The header of an entry is not where the directory says, or is damaged.")
    name_at = record.offset + zf.LOCAL.size
    if source.read_at(name_at, name_length) != record.name:
        raise ArchiveInvalid("An entry has another name in its header than in the directory.")
    start = name_at + name_length + extra_length
    extra = zf.extra_fields(bytes(source.read_at(name_at + name_length, extra_length)))
    size, packed = zf.widen((size, packed), extra)
    # A streamed entry tells later what it does not know yet; some programs know the size, and tell it here too.
    told = zip((crc, packed, size), (record.crc, record.packed, record.size), strict=True)
    if (flags, method) != (record.flags, record.method) or zf.UNICODE_PATH_EXTRA in extra:
        raise ArchiveInvalid("An entry is described differently in its header and in the directory.")
    if any(here != there and not (record.streamed and here == 0) for here, there in told):
        raise ArchiveInvalid("An entry has another size or CRC in its header than in the directory.")
    return int(start)


def _next_entry(source: Source, record: zf.Record, start: int) -> int:
    """Where the entry ends, its descriptor included."""
    end = start + record.packed
    if not record.streamed:
        return end
    for form in zf.possible_descriptors(record):
        if end + len(form) <= source.size and source.read_at(end, len(form)) == form:
            return end + len(form)
    raise ArchiveInvalid("What follows an entry of the archive is not its size and CRC.")


def _name(record: zf.Record) -> str:
    """The name as a safe relative path with forward slashes; a folder's ends with one."""
    if record.flags & zf.ENCRYPTED_FLAG:
        raise ArchiveInvalid("The archive is encrypted.")
    if record.flags & ~zf.KNOWN_FLAGS:
        raise ArchiveInvalid("The archive uses a feature that is not supported.", flags=record.flags)
    if record.method not in (zf.STORED, zf.DEFLATED):
        raise ArchiveInvalid("The archive uses a compression other than deflate.", method=record.method)
    if record.method == zf.STORED and record.packed != record.size:
        raise ArchiveInvalid("A stored entry has two different sizes.")
    try:
        name = record.name.decode("utf-8" if record.flags & zf.UTF8_FLAG else "ascii")
    except UnicodeDecodeError:
        raise ArchiveInvalid("The name of an entry is neither ASCII nor marked as UTF-8.") from None
    path = name.removesuffix("/")
    if (
        _CONTROL.search(name)
        or "\\" in name
        or ":" in name
        or any(segment in ("", ".", "..") for segment in path.split("/"))
    ):
        raise ArchiveInvalid(f"The archive has a name that it must not have: {name[:200]!a}")
    return name


def _check_mode(record: zf.Record, name: str) -> bool:
    """Whether the entry is a folder. Raises ArchiveInvalid for what is neither folder nor file."""
    kind = stat.S_IFMT(record.mode)
    folder = name.endswith("/")
    if kind not in (0, stat.S_IFDIR if folder else stat.S_IFREG):
        raise ArchiveInvalid(f"The archive has a link or a device: {name[:200]}")
    if folder and (record.size or record.packed):
        raise ArchiveInvalid(f"The archive has a folder with content: {name[:200]}")
    return folder
