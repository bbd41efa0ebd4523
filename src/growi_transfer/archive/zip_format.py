"""The structures of a zip file that we write and read, as bytes. No I/O, no compression, no judgement of content.

Source: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7 (local file header), 4.3.9 (data descriptor), 4.3.12 (central
directory), 4.3.14 to 4.3.16 (the ends of it, with and without zip64) and 4.5.3 (zip64 extra field). All numbers are
little endian. Two methods exist for us: stored and deflated.

What we write is reproducible: one fixed date (1 January 1980), no comment, and no extra field but zip64's.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from growi_transfer.protocol.errors import ArchiveInvalid

STORED = 0
DEFLATED = 8

ENCRYPTED_FLAG = 0x0001
STREAMED_FLAG = 0x0008
"""Sizes and CRC are not in the local header; they follow the data in a descriptor."""
UTF8_FLAG = 0x0800
KNOWN_FLAGS = STREAMED_FLAG | UTF8_FLAG | 0x0006
"""The two others tell how hard a deflater tried; a reader need not know."""

LOCAL_SIGNATURE = b"PK\x03\x04"
DESCRIPTOR_SIGNATURE = b"PK\x07\x08"
CENTRAL_SIGNATURE = b"PK\x01\x02"
END_SIGNATURE = b"PK\x05\x06"
ZIP64_END_SIGNATURE = b"PK\x06\x06"
ZIP64_LOCATOR_SIGNATURE = b"PK\x06\x07"

LOCAL = Struct("<4s5H3L2H")
CENTRAL = Struct("<4s6H3L5H2L")
END = Struct("<4s4H2LH")
ZIP64_END = Struct("<4sQ2H2L4Q")
ZIP64_LOCATOR = Struct("<4sLQL")
_EXTRA = Struct("<2H")
_SHORT_SIZES = Struct("<3L")
_LONG_SIZES = Struct("<L2Q")

MAXIMUM_16 = 0xFFFF
MAXIMUM_32 = 0xFFFFFFFF
"""A field that holds its maximum refers to the zip64 field."""
ZIP64_EXTRA = 0x0001
UNICODE_PATH_EXTRA = 0x7075
"""Info-ZIP's second name of an entry."""

_VERSION = 20
_VERSION_ZIP64 = 45
_MADE_BY_UNIX = 3 << 8
_FILE_MODE = 0o100600 << 16
_TIME = 0
_DATE = (1 << 5) | 1


class Record(NamedTuple):
    """What a zip's central directory says of one entry, or its local header (then `offset` and `mode` are 0)."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    """Bytes in the zip."""
    size: int
    """Bytes unpacked."""
    offset: int
    """Where the local header begins."""
    mode: int = 0
    """Unix file mode, 0 where the zip has none."""

    @property
    def streamed(self) -> bool:
        return bool(self.flags & STREAMED_FLAG)


def local_header(record: Record) -> bytes:
    """The header before an entry's data. That of a streamed entry always announces zip64 sizes in its descriptor."""
    extra = b""
    crc, packed, size = record.crc, record.packed, record.size
    version = _VERSION
    if record.streamed:
        extra = _EXTRA.pack(ZIP64_EXTRA, 16) + bytes(16)
        crc, packed, size, version = 0, MAXIMUM_32, MAXIMUM_32, _VERSION_ZIP64
    elif max(packed, size) >= MAXIMUM_32:
        raise ValueError("An entry of 4 GiB or more must be streamed.")
    fixed = LOCAL.pack(
        LOCAL_SIGNATURE,
        version,
        record.flags,
        record.method,
        _TIME,
        _DATE,
        crc,
        packed,
        size,
        len(record.name),
        len(extra),
    )
    return fixed + record.name + extra


def descriptor(record: Record) -> bytes:
    """What follows the data of a streamed entry whose local header we wrote."""
    return DESCRIPTOR_SIGNATURE + _LONG_SIZES.pack(record.crc, record.packed, record.size)


def possible_descriptors(record: Record) -> Iterator[bytes]:
    """The four forms in which programs write the descriptor of this entry, the longest first."""
    forms = [_LONG_SIZES.pack(record.crc, record.packed, record.size)]
    if max(record.packed, record.size) <= MAXIMUM_32:
        forms.append(_SHORT_SIZES.pack(record.crc, record.packed, record.size))
    for form in forms:
        yield DESCRIPTOR_SIGNATURE + form
        yield form


def central_record(record: Record) -> bytes:
    """The entry's record in the central directory."""
    wide = [value for value in (record.size, record.packed, record.offset) if value >= MAXIMUM_32]
    extra = _EXTRA.pack(ZIP64_EXTRA, 8 * len(wide)) if wide else b""
    extra += b"".join(value.to_bytes(8, "little") for value in wide)
    version = _VERSION_ZIP64 if wide or record.streamed else _VERSION
    fixed = CENTRAL.pack(
        CENTRAL_SIGNATURE,
        _MADE_BY_UNIX | version,
        version,
        record.flags,
        record.method,
        _TIME,
        _DATE,
        record.crc,
        min(record.packed, MAXIMUM_32),
        min(record.size, MAXIMUM_32),
        len(record.name),
        len(extra),
        0,
        0,
        0,
        _FILE_MODE,
        min(record.offset, MAXIMUM_32),
    )
    return fixed + record.name + extra


def directory_end(count: int, size: int, offset: int) -> bytes:
    """What closes a zip whose central directory has `count` records in `size` bytes from `offset` on."""
    closing = END.pack(
        END_SIGNATURE,
        0,
        0,
        min(count, MAXIMUM_16),
        min(count, MAXIMUM_16),
        min(size, MAXIMUM_32),
        min(offset, MAXIMUM_32),
        0,
    )
    if count < MAXIMUM_16 and size < MAXIMUM_32 and offset < MAXIMUM_32:
        return closing
    version = _MADE_BY_UNIX | _VERSION_ZIP64
    wide = ZIP64_END.pack(
        ZIP64_END_SIGNATURE, ZIP64_END.size - 12, version, _VERSION_ZIP64, 0, 0, count, count, size, offset
    )
    return wide + ZIP64_LOCATOR.pack(ZIP64_LOCATOR_SIGNATURE, 0, offset + size, 1) + closing


def extra_fields(extra: bytes) -> dict[int, bytes]:
    """The extra fields of a header by their id. Raises ArchiveInvalid if they do not fill it or one comes twice."""
    fields: dict[int, bytes] = {}
    position = 0
    while position < len(extra):
        if len(extra) - position < _EXTRA.size:
            raise ArchiveInvalid("An extra field of the archive is cut.")
        kind, length = _EXTRA.unpack_from(extra, position)
        position += _EXTRA.size
        if kind in fields or length > len(extra) - position:
            raise ArchiveInvalid("The extra fields of the archive are not well formed.")
        fields[kind] = extra[position : position + length]
        position += length
    return fields


def widen(values: tuple[int, ...], extra: dict[int, bytes]) -> tuple[int, ...]:
    """Header values with those at their 32-bit maximum taken from the zip64 field, in the field's order.

    Raises ArchiveInvalid if the field is too short or has more than it should.
    """
    field = extra.get(ZIP64_EXTRA)
    if field is None:
        return values
    wide = [int.from_bytes(field[start : start + 8], "little") for start in range(0, len(field) - 7, 8)]
    wanted = sum(value == MAXIMUM_32 for value in values)
    if len(field) % 8 or len(wide) < wanted:
        raise ArchiveInvalid("A zip64 field of the archive is too short.")
    replacements = iter(wide)
    return tuple(next(replacements) if value == MAXIMUM_32 else value for value in values)
