"""The documents of a cursor's reply, as views into the reply: no object of the driver's for each of them."""

from __future__ import annotations

from struct import Struct
from typing import Any, NamedTuple

from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp

from growi_transfer.protocol.documents import SMALLEST
from growi_transfer.protocol.errors import BsonInvalid

_STRING, _DOCUMENT, _ARRAY = 0x02, 0x03, 0x04
_FIXED = {0x01: 8, 0x08: 1, 0x10: 4, 0x11: 8, 0x12: 8}
"""Bytes of the other values that stand in a cursor: double, boolean, int32, timestamp, int64."""
_NAME_LIMIT = 40
_read_length = Struct("<i").unpack_from
_read_timestamp = Struct("<II").unpack_from


class Batch(NamedTuple):
    """One reply to `find` or `getMore`: the cursor's id (0 at its end), the moment it reads at, the documents."""

    cursor_id: int
    at_cluster_time: Any
    documents: list[memoryview]


def batch_of(reply: RawBSONDocument) -> Batch:
    """Take a reply apart. For a thread: it looks at every document's length.

    Decoding the cursor as a whole would make an object of every document in it, so its few elements are walked.
    """
    view = memoryview(reply["cursor"].raw)
    documents: list[memoryview] = []
    cursor_id, at_cluster_time = 0, None
    position, last = 4, len(view) - 1
    while position < last:
        kind = view[position]
        name = bytes(view[position + 1 : position + 1 + _NAME_LIMIT]).split(b"\x00", 1)[0]
        value = position + len(name) + 2
        (length,) = _read_length(view, value)
        position = value + {_ARRAY: length, _STRING: 4 + length}.get(kind, _FIXED.get(kind, len(view)))
        if position > last:
            raise BsonInvalid("A reply of the database is not one of a cursor.", offset=value)
        if name in (b"firstBatch", b"nextBatch"):
            documents = array_documents(view[value:position])
        elif name == b"id":
            cursor_id = int.from_bytes(view[value:position], "little", signed=True)
        elif name == b"atClusterTime":
            increment, seconds = _read_timestamp(view, value)
            at_cluster_time = Timestamp(seconds, increment)
    return Batch(cursor_id, at_cluster_time, documents)


def array_documents(array: memoryview) -> list[memoryview]:
    """The documents of a raw BSON array that has only documents. Raises BsonInvalid."""
    documents: list[memoryview] = []
    append = documents.append
    read_length = _read_length
    position, last, number, digits, next_power = 4, len(array) - 1, 0, 1, 10
    while position < last:
        if number == next_power:
            digits, next_power = digits + 1, next_power * 10
        # One byte of type, the number as text, NUL.
        begin = position + digits + 2
        if array[position] != _DOCUMENT or begin + SMALLEST > last:
            raise BsonInvalid("A reply of the database is not a list of documents.", offset=position)
        (length,) = read_length(array, begin)
        position = begin + length
        if length < SMALLEST or position > last:
            raise BsonInvalid("A reply of the database is cut.", offset=begin)
        append(array[begin:position])
        number += 1
    return documents
