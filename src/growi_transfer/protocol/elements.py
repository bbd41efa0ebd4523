"""Looks at the top-level elements of one raw document: its `_id`, and the two things a server changes on insert.

An element is one byte of type, a name that ends with NUL, and a value whose length follows from the type
(bsonspec.org, version 1.1). Values are skipped, never decoded, so that what goes on is byte for byte what came.

The server moves a top-level `_id` to the front, and replaces a top-level Timestamp(0, 0) by its clock unless it is
the `_id` (measured on mongod 6.0). Every function raises nothing but BsonInvalid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from struct import Struct, error, pack
from typing import NamedTuple

from growi_transfer.protocol.documents import SMALLEST
from growi_transfer.protocol.errors import BsonInvalid

TIMESTAMP = 0x11

_FIXED = {
    0x01: 8,  # double
    0x06: 0,  # undefined
    0x07: 12,  # ObjectId
    0x08: 1,  # boolean
    0x09: 8,  # date
    0x0A: 0,  # null
    0x10: 4,  # int32
    TIMESTAMP: 8,
    0x12: 8,  # int64
    0x13: 16,  # decimal128
    0x7F: 0,  # MaxKey
    0xFF: 0,  # MinKey
}
_TEXT = frozenset({0x02, 0x0D, 0x0E})  # string, JavaScript, symbol: length, bytes, NUL
_NESTED = frozenset({0x03, 0x04, 0x0F})  # document, array, JavaScript with scope: a length that counts itself
_BINARY, _REGEX, _POINTER = 0x05, 0x0B, 0x0C

_read_length = Struct("<i").unpack_from
_ZEROS = bytes(8)
_ID_NAME = b"_id\x00"
_NAME_END_AND_ZEROS = re.compile(rb"\x00" * 9)
"""The NUL of a name and eight bytes of zeros. A pattern that began with the type byte would be exact, but a hostile
document full of type bytes makes it quadratic."""


class Element(NamedTuple):
    """One top-level element as positions in its document: [start] is the type, [value:end] the value."""

    kind: int
    name: bytes
    start: int
    value: int
    end: int


def elements(document: bytes) -> Iterator[Element]:
    """The top-level elements in order. Raises BsonInvalid where the document stops being one."""
    last = _check_frame(document)
    position = 4
    while position < last:
        start = position
        position = document.find(b"\x00", start + 1, last)
        if position < 0:
            raise BsonInvalid("The name of an element does not end.", offset=start)
        value = position + 1
        position = _value_end(document, document[start], value, last)
        yield Element(document[start], document[start + 1 : value - 1], start, value, position)


def id_document(document: bytes | memoryview) -> bytes:
    """The raw document {"_id": value} with the top-level `_id` of `document` (the first one, should there be two).

    Elements behind the `_id` are not looked at. Raises BsonInvalid, also when there is no `_id`.
    """
    last = _check_frame(document)
    if document[5:9] == _ID_NAME:
        end = _value_end(document, document[4], 9, last)
        return pack("<i", end + 1) + bytes(document[4:end]) + b"\x00"
    data = bytes(document)
    found = _find_id(data)
    return pack("<i", found.end - found.start + 5) + data[found.start : found.end] + b"\x00"


def id_first(document: bytes | memoryview) -> bytes | memoryview:
    """The document with its `_id` moved to the front, as the server stores it; the very same object if it is there.

    Raises BsonInvalid, also when there is no `_id`.
    """
    _check_frame(document)
    if document[5:9] == _ID_NAME:
        return document
    data = bytes(document)
    found = _find_id(data)
    return data[:4] + data[found.start : found.end] + data[4 : found.start] + data[found.end :]


def may_have_zero_timestamps(raw: bytes | memoryview) -> bool:
    """False if no document in `raw` can have a Timestamp(0, 0). Much faster than to ask each; True means nothing."""
    return _NAME_END_AND_ZEROS.search(raw) is not None


def zero_timestamps(document: bytes | memoryview) -> bool:
    """Whether a top-level element other than `_id` is Timestamp(0, 0), which the server would replace on insert."""
    if not may_have_zero_timestamps(document):
        return False
    data = bytes(document)
    return any(
        element.kind == TIMESTAMP and element.name != b"_id" and data[element.value : element.end] == _ZEROS
        for element in elements(data)
    )


def _check_frame(document: bytes | memoryview) -> int:
    """Position of the closing NUL of one whole document."""
    length = len(document)
    if length < SMALLEST or _read_length(document)[0] != length or document[length - 1]:
        raise BsonInvalid("This is not one whole document.", length=length)
    return length - 1


def _find_id(data: bytes) -> Element:
    for element in elements(data):
        if element.name == b"_id":
            return element
    raise BsonInvalid("A document has no _id.")


def _value_end(data: bytes | memoryview, kind: int, value: int, last: int) -> int:
    """Where the value that begins at `value` ends; not beyond `last`, the document's closing NUL."""
    try:
        end = _unchecked_end(data, kind, value, last)
    except error:
        end = -1
    if not value <= end <= last:
        raise BsonInvalid("An element is longer than its document.", offset=value)
    return end


def _unchecked_end(data: bytes | memoryview, kind: int, value: int, last: int) -> int:
    """As `_value_end`, but a wrong length gives any number: -1 where it is impossible in itself."""
    fixed = _FIXED.get(kind)
    if fixed is not None:
        return value + fixed
    if kind == _REGEX:
        text = bytes(data)
        pattern_end = text.find(b"\x00", value, last)
        options_end = text.find(b"\x00", pattern_end + 1, last)
        return options_end + 1 if 0 <= pattern_end < options_end else -1
    (length,) = _read_length(data, value)
    if kind in _TEXT:
        return value + 4 + length if length >= 1 else -1
    if kind in _NESTED:
        return value + length if length >= SMALLEST else -1
    if kind == _BINARY:
        return value + 5 + length if length >= 0 else -1
    if kind == _POINTER:
        return value + 4 + length + 12 if length >= 1 else -1
    raise BsonInvalid("An element has a type that BSON does not have.", type=kind, offset=value)
