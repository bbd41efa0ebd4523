"""The data of one entry of a zip: packed piece by piece, and unpacked in bounded pieces that are checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from isal import isal_zlib

from growi_transfer.archive.directory import Entry, Source
from growi_transfer.archive.zip_format import DEFLATED, STORED
from growi_transfer.protocol.errors import ArchiveInvalid, ArchiveTooLarge

CHUNK = 1 << 20
"""Bytes of a piece, unpacked; a last one is smaller."""
RAW_DEFLATE = -15
LEVEL = 2
"""Of isal's 0 to 3: on wiki text both faster and smaller than 0 and 1; 3 is a third slower for two percent."""
_DAMAGED = cast("type[Exception]", isal_zlib.error)
"""The stubs of isal take the class for an instance."""


class Packer:
    """Packs one entry; `crc`, `size` and `packed` are right after each step. For a thread, one at a time."""

    def __init__(self, *, deflate: bool) -> None:
        self.method = DEFLATED if deflate else STORED
        self.crc = self.size = self.packed = 0
        self._deflater = isal_zlib.compressobj(LEVEL, DEFLATED, RAW_DEFLATE) if deflate else None

    def feed(self, piece: bytes | memoryview) -> bytes | memoryview:
        """The next of the data, packed; the very same object if the entry is stored."""
        self.crc = isal_zlib.crc32(piece, self.crc)
        self.size += len(piece)
        packed = piece if self._deflater is None else self._deflater.compress(piece)
        self.packed += len(packed)
        return packed

    def finish(self) -> bytes:
        """What is still to be written; nothing may be fed after it."""
        rest = b"" if self._deflater is None else self._deflater.flush()
        self.packed += len(rest)
        return rest


def read_pieces(source: Source, entry: Entry) -> Iterator[bytes | memoryview]:
    """The data in pieces of at most CHUNK bytes. Never gives more than `entry.size` bytes in all.

    Raises ArchiveInvalid, at the latest after the last piece, unless all of it is as the headers say.
    """
    crc = 0
    for piece in _inflated(source, entry) if entry.method == DEFLATED else _stored(source, entry):
        crc = isal_zlib.crc32(piece, crc)
        yield piece
    if crc != entry.crc:
        raise ArchiveInvalid(f"{_shown(entry)} is damaged: its CRC is wrong.")


def read_whole(source: Source, entry: Entry, limit: int) -> bytes | memoryview:
    """All the data at once; a stored entry of a zip in memory is not copied.

    Raises ArchiveTooLarge if there are more than `limit` bytes, ArchiveInvalid as `read_pieces`.
    """
    if entry.size > limit:
        raise ArchiveTooLarge(f"{_shown(entry)} unpacks to more than {limit} bytes.")
    packed = source.read_at(entry.start, entry.packed)
    data = _inflate_once(entry, packed) if entry.method == DEFLATED else packed
    if isal_zlib.crc32(data) != entry.crc:
        raise ArchiveInvalid(f"{_shown(entry)} is damaged: its CRC is wrong.")
    return data


def _stored(source: Source, entry: Entry) -> Iterator[bytes | memoryview]:
    for position in range(0, entry.size, CHUNK):
        yield source.read_at(entry.start + position, min(CHUNK, entry.size - position))


def _inflated(source: Source, entry: Entry) -> Iterator[bytes]:
    inflater = isal_zlib.decompressobj(RAW_DEFLATE)
    left = entry.size
    position = 0
    waiting: bytes | memoryview = b""
    while not inflater.eof:
        if not waiting and position < entry.packed:
            waiting = source.read_at(entry.start + position, min(CHUNK, entry.packed - position))
            position += len(waiting)
        fed = len(waiting)
        # One byte more than may come, so that too much shows without being made.
        piece = _inflate(entry, inflater, waiting, min(CHUNK, left + 1))
        waiting = inflater.unconsumed_tail
        left -= len(piece)
        if left < 0:
            break
        if piece:
            yield piece
        elif len(waiting) == fed:
            # The inflater can hold back output when all input is in; now nothing goes in and nothing comes out.
            break
    if left or not inflater.eof or inflater.unused_data or position != entry.packed:
        raise _wrong_size(entry)


def _inflate_once(entry: Entry, packed: bytes | memoryview) -> bytes:
    inflater = isal_zlib.decompressobj(RAW_DEFLATE)
    data = _inflate(entry, inflater, packed, entry.size + 1)
    if len(data) != entry.size or not inflater.eof or inflater.unused_data:
        raise _wrong_size(entry)
    return data


def _inflate(entry: Entry, inflater: isal_zlib.Decompress, packed: bytes | memoryview, limit: int) -> bytes:
    try:
        return inflater.decompress(packed, limit)
    except _DAMAGED:
        raise ArchiveInvalid(f"{_shown(entry)} is damaged: it cannot be unpacked.") from None


def _wrong_size(entry: Entry) -> ArchiveInvalid:
    return ArchiveInvalid(f"{_shown(entry)} does not unpack to the size that is given.")


def _shown(entry: Entry) -> str:
    return f"The entry {entry.name[:200]}"
