"""The JSON of a GROWI archive: documents as text, byte for byte as JavaScript writes them, and text back as values.

A collection's file is one JSON array without white space; each document is what `JSON.stringify` gives for the object
that the MongoDB driver of GROWI 7.3 (bson 4.7) makes of it. Types are lost by that; `growi_values` brings them back.
"""

from __future__ import annotations

import json
import math
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import bson
import orjson
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.int64 import Int64

from growi_transfer.archive.growi_values import javascript_number
from growi_transfer.protocol.errors import BsonInvalid, JsonInvalid
from growi_transfer.protocol.wire import DOCUMENT_LIMIT

TEXT_LIMIT: Final = 128 << 20
"""Bytes of JSON of one document. One of 16 MiB of BSON has at most 6 bytes of text for each of its own, and mostly
about as many: what is larger can hardly be stored."""
BATCH_BYTES: Final = 4 << 20
BATCH_DOCUMENTS: Final = 20_000
_NESTED_LIMIT: Final = DOCUMENT_LIMIT // 7
"""Objects and arrays in one document: an empty one takes 7 bytes in BSON, and far more while it is a Python value."""
_DECODED: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, uuid_representation=UuidRepresentation.UNSPECIFIED
)
_JS_INTEGER: Final = 1 << 53
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_0: Final = -62_167_219_200_000
_YEAR_10000: Final = 253_402_300_800_000
_CYCLE_MS: Final = 146_097 * 86_400_000
"""400 years."""
_INDEX: Final = re.compile(r"0|[1-9]\d{0,9}", re.ASCII)
_MARK: Final = re.compile(rb'["\[\]{}]')
_STRING_REST: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_SPACE: Final = b" \t\r\n"


def document_text(document: bytes | memoryview) -> bytes:
    """The JSON text of one BSON document. Raises BsonInvalid."""
    try:
        value = bson.decode(document, _DECODED)
    except (bson.errors.InvalidBSON, RecursionError) as error:
        raise BsonInvalid("A document is not valid BSON.") from error
    return orjson.dumps(_object(value))


def _object(value: dict[str, Any]) -> dict[str, Any]:
    made = {name: _plain(item) for name, item in value.items()}
    if any(name[:1].isdigit() for name in made):
        # JavaScript keeps names that are array indexes in front, in their order as numbers.
        indexes = sorted((name for name in made if _is_index(name)), key=int)
        if indexes:
            rest = {name: item for name, item in made.items() if not _is_index(name)}
            return {**{name: made[name] for name in indexes}, **rest}
    return made


def _is_index(name: str) -> bool:
    return _INDEX.fullmatch(name) is not None and int(name) < (1 << 32) - 1


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int or kind is Int64:
        return int(value) if -_JS_INTEGER <= value <= _JS_INTEGER else _long(value)
    if kind is float:
        return _double(value)
    if kind is dict:
        return _object(value)
    if kind is list:
        return [_plain(item) for item in value]
    if kind is DatetimeMS:
        return _instant(int(value))
    return _rare(value)


def _rare(value: Any) -> Any:
    if isinstance(value, bson.ObjectId):
        return str(value)
    if isinstance(value, bson.Binary):
        if value.subtype == bson.binary.UUID_SUBTYPE and len(value) == 16:
            return str(UUID(bytes=bytes(value)))
        return b64encode(value).decode()
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, bson.Decimal128):
        return {"$numberDecimal": str(value)}
    if isinstance(value, bson.Timestamp):
        return {"$timestamp": str(value.time << 32 | value.inc)}
    if isinstance(value, DBRef):
        return _object(dict(value.as_doc()))
    if isinstance(value, bson.Code):
        return {"code": str(value), **({} if value.scope is None else {"scope": _object(dict(value.scope))})}
    # Regular expressions, MinKey and MaxKey have nothing that JSON.stringify shows.
    return {}


def _long(value: int) -> dict[str, Any]:
    low, high = value & 0xFFFFFFFF, value >> 32
    return {"low": low - (1 << 32) if low >= 1 << 31 else low, "high": high, "unsigned": False}


def _double(value: float) -> Any:
    if not math.isfinite(value):
        return None
    if value.is_integer() and abs(value) < _JS_INTEGER:
        return int(value)
    return orjson.Fragment(javascript_number(value).encode())


def _instant(milliseconds: int) -> str | None:
    """As `Date.prototype.toISOString` has it; None for what no JavaScript Date can be."""
    if abs(milliseconds) > 8_640_000_000_000_000:
        return None
    cycles = 0 if _YEAR_0 + _CYCLE_MS <= milliseconds < _YEAR_10000 else (milliseconds - _YEAR_10000) // _CYCLE_MS + 1
    moment = _EPOCH + timedelta(milliseconds=milliseconds - cycles * _CYCLE_MS)
    year = moment.year + 400 * cycles
    shown = f"{year:04d}" if 0 <= year <= 9999 else f"{'-' if year < 0 else '+'}{abs(year):06d}"
    return f"{shown}-{moment:%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def read_array(pieces: Iterable[bytes]) -> Iterator[list[Any]]:
    """The elements of one JSON array that comes in pieces of any size: batches of about BATCH_BYTES of text.

    Memory is bounded by one batch and one element. White space is allowed everywhere. Raises JsonInvalid for anything
    else, at the latest after the last piece.
    """
    splitter = _Splitter()
    for piece in pieces:
        for batch in splitter.feed(piece):
            yield _values(batch)
    for batch in splitter.finish():
        yield _values(batch)


def _values(texts: Sequence[bytes]) -> list[Any]:
    joined = b"[" + b",".join(texts) + b"]"
    try:
        values = orjson.loads(joined)
    except orjson.JSONDecodeError:
        values = _lenient(joined)
    if len(values) != len(texts) or not all(isinstance(value, dict) for value in values):
        raise JsonInvalid("The file is not an array of documents.")
    return list(values)


def _lenient(joined: bytes) -> list[Any]:
    """As JavaScript reads it: halves of surrogate pairs are no error, and become U+FFFD when they are stored."""
    try:
        found: list[Any] = _mended(json.loads(joined, parse_constant=_no_constant))
    except (ValueError, RecursionError):
        raise JsonInvalid("The file is not valid JSON.") from None
    return found


def _no_constant(_: str) -> Any:
    raise ValueError


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(item) for name, item in value.items()}
    return value


class _Splitter:
    """Finds where the elements of the array begin and end, without looking at what is in them."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0
        """Everything before it has been looked at."""
        self._begin = 0
        """Where the element under way begins, or what stands between two of them."""
        self._depth = 0
        self._in_string = False
        self._closing = 0
        """The bracket that ends it all; 0 before the first one came."""
        self._nested = 0
        """Objects and arrays in the element under way."""
        self._elements = 0
        self._found: list[bytes] = []
        self._found_bytes = 0

    def feed(self, piece: bytes) -> Iterator[list[bytes]]:
        self._buffer += piece
        while self._step():
            if self._found_bytes >= BATCH_BYTES or len(self._found) >= BATCH_DOCUMENTS:
                yield self._batch()
        del self._buffer[: self._begin]
        self._position -= self._begin
        self._begin = 0
        if len(self._buffer) > TEXT_LIMIT:
            raise JsonInvalid(f"A document of the archive has more than {TEXT_LIMIT} bytes of JSON.")

    def finish(self) -> Iterator[list[bytes]]:
        if not self._closing or self._depth or self._in_string or self._buffer[self._begin :].strip(_SPACE):
            raise JsonInvalid("The file ends in the middle of its JSON, or goes on behind it.")
        if self._found:
            yield self._batch()

    def _batch(self) -> list[bytes]:
        batch, self._found, self._found_bytes = self._found, [], 0
        return batch

    def _step(self) -> bool:
        """Go on to the next quote or bracket; False when the buffer has no further one."""
        if self._in_string:
            rest = _STRING_REST.match(self._buffer, self._position)
            assert rest is not None  # it matches nothing, too
            self._position = rest.end()
            if self._buffer[self._position : self._position + 1] != b'"':
                return False
            self._position += 1
            self._in_string = False
        found = _MARK.search(self._buffer, self._position)
        if found is None:
            self._position = len(self._buffer)
            return False
        self._position = found.end()
        mark = found[0]
        if mark == b'"':
            self._in_string = True
        elif mark in b"[{":
            if self._depth == 0:
                self._open(mark, found.start())
            elif self._depth == 1:
                self._next(mark, found.start())
            self._depth += 1
            self._nested += 1
            if self._nested > _NESTED_LIMIT:
                raise JsonInvalid("A document of the archive has more values than MongoDB stores.")
        else:
            self._depth -= 1
            if self._depth == 1:
                self._take()
            elif self._depth == 0:
                self._close(mark, found.start())
            elif self._depth < 0:
                raise JsonInvalid("The file has more closing brackets than opening ones.")
        return True

    def _between(self, end: int) -> bytes:
        text = bytes(self._buffer[self._begin : end]).strip(_SPACE)
        self._begin = end
        return text

    def _open(self, mark: bytes, start: int) -> None:
        if self._closing or mark != b"[" or self._between(start):
            raise JsonInvalid("The file is not one array of documents.")
        self._closing = ord("]")
        self._begin = start + 1

    def _next(self, mark: bytes, start: int) -> None:
        if mark != b"{" or self._between(start) != (b"," if self._elements else b""):
            raise JsonInvalid("The file is not an array of documents.")
        self._nested = 0

    def _take(self) -> None:
        text = bytes(self._buffer[self._begin : self._position])
        # A comma takes at least one byte of BSON too, in a text or between two values.
        if len(text) > DOCUMENT_LIMIT and text.count(b",") > DOCUMENT_LIMIT:
            raise JsonInvalid("A document of the archive has more values than MongoDB stores.")
        self._found.append(text)
        self._found_bytes += self._position - self._begin
        self._begin = self._position
        self._elements += 1

    def _close(self, mark: bytes, start: int) -> None:
        if ord(mark) != self._closing or self._between(start):
            raise JsonInvalid("The file is not an array of documents.")
        self._begin = start + 1
