"""From a document of a GROWI archive (plain JSON) back to one with BSON types, as GROWI's own import makes it.

GROWI's rules, in this order: null stays; a field of a known collection is cast to its type, and stays as it is if it
cannot be; `_id` becomes an ObjectId if it can be one; a top-level string that is an ISO date becomes a date; all else
stays. Sources: the observed behaviour of GROWI 7.3 and 8.x and the casts of mongoose 6.13.

What we do otherwise, because GROWI's way damages data: a number as `_id` is kept (GROWI makes an ObjectId with random
parts of it); a text that merely has an ISO date in it is kept (GROWI makes a date of it, mostly an invalid one); ids
in subdocuments become ObjectIds (GROWI leaves `grantedGroups.item` a string, so that a page's group finds it no more);
`yjs-writings.value` becomes bytes again (GROWI leaves the base64 text).
"""

from __future__ import annotations

import math
import re
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from growi_transfer.protocol.growi_fields import COLLECTIONS, ID, NUMBER, FieldType, Schema

_OBJECT_ID: Final = re.compile(r"[0-9A-Fa-f]{24}")
_ISO: Final = re.compile(
    r"(\d{4}|[+-]\d{6})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|[+-]\d\d:\d\d)", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS: Final = 8_640_000_000_000_000
"""The largest instant of a JavaScript Date, either way."""
_INT32: Final = 1 << 31
_TRUE: Final = (True, "true", 1, "1", "yes")
_FALSE: Final = (False, "false", 0, "0", "no")


class CannotCast(Exception):
    """The value is not one of its field's type."""


def restore(collection: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as GROWI's import would store it. Never raises for any JSON value."""
    if collection == "yjs-writings":
        document = {**document, "value": _bytes(document["value"])} if "value" in document else document
    fields = COLLECTIONS.get(collection)
    return {name: _restore(fields, name, value) for name, value in document.items()}


def _bytes(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return b64decode(value, validate=True)
        except ValueError:
            return value
    return value


def _restore(fields: Mapping[str, Schema] | None, name: str, value: Any) -> Any:
    if value is None or isinstance(value, bytes):
        return value
    schema = None if fields is None else fields.get(name)
    if fields is not None and name == "_id":
        schema = ID
    elif fields is not None and name == "__v":
        schema = NUMBER
    if schema is not None:
        try:
            return cast(schema, value)
        except CannotCast:
            return plain(value)
    if name == "_id" and isinstance(value, str) and _OBJECT_ID.fullmatch(value):
        return ObjectId(value)
    if isinstance(value, str):
        instant = iso_instant(value)
        if instant is not None:
            return instant
    return plain(value)


def cast(schema: Schema, value: Any) -> Any:
    """A JSON value as a value of a type. Raises CannotCast."""
    if isinstance(schema, list):
        if not isinstance(value, list):
            raise CannotCast
        return [cast(schema[0], item) for item in value]
    if value is None:
        return None
    if isinstance(schema, Mapping):
        if not isinstance(value, dict):
            raise CannotCast
        return {name: cast(schema[name], item) if name in schema else plain(item) for name, item in value.items()}
    return _CASTS[schema](value)


def plain(value: Any) -> Any:
    """A JSON value with its numbers as JavaScript's driver stores them: 32-bit integers, all others as doubles."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    return {name: plain(item) for name, item in value.items()}


def iso_instant(text: str, *, rolling: bool = False) -> datetime | DatetimeMS | None:
    """The instant of an ISO 8601 text with a zone, or None. Fractions below a millisecond are cut off.

    `rolling`: a day that its month does not have, up to the 31st, is one of the next month, as V8 has it.
    """
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour <= 24 and minute <= 59 and second <= 59):
        return None
    if hour == 24 and (minute or second):
        return None
    # Years outside those of `datetime` are moved by whole cycles of the calendar, which are of equal length.
    cycles = 0 if 1 < year < 9999 else (year - 2000) // 400
    moment = datetime(year - 400 * cycles, month, 1, tzinfo=UTC) + timedelta(days=day - 1)
    if moment.month != month and not rolling:
        return None
    milliseconds = int(((match[7] or "") + "000")[:3])
    offset = 0 if match[8] == "Z" else int(match[8][1:3]) * 60 + int(match[8][4:6])
    if match[8][0] == "-":
        offset = -offset
    moment += timedelta(hours=hour, minutes=minute - offset, seconds=second, milliseconds=milliseconds)
    instant = (moment - _EPOCH) // timedelta(milliseconds=1) + cycles * 146_097 * 86_400_000
    if abs(instant) > _LATEST_MS:
        return None
    return moment if not cycles else DatetimeMS(instant)


def _number(value: float) -> int | float:
    if isinstance(value, float):
        if not value.is_integer() or (value == 0 and math.copysign(1, value) < 0):
            return value
        value = int(value)
    return value if -_INT32 <= value < _INT32 else float(value)


def _to_string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return javascript_number(float(value))
    if isinstance(value, dict) and isinstance(value.get("_id"), str):
        return str(value["_id"])
    raise CannotCast


def _to_number(value: Any) -> int | float | None:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return _number(value)
    if not isinstance(value, str):
        raise CannotCast
    if value == "":
        return None
    text = value.strip()
    if not text:
        return 0
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
        raise CannotCast
    return _number(float(text))


def _to_boolean(value: Any) -> bool:
    if isinstance(value, bool | int | float | str):
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
    raise CannotCast


def _to_date(value: Any) -> datetime | DatetimeMS | None:
    if value == "":
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value) or abs(value) > _LATEST_MS:
            raise CannotCast
        return DatetimeMS(int(value))
    instant = iso_instant(value, rolling=True) if isinstance(value, str) else None
    if instant is None:
        raise CannotCast
    return instant


def _to_object_id(value: Any) -> ObjectId:
    if isinstance(value, dict) and value.get("_id"):
        value = value["_id"]  # a document that was put in the place of its id
    if isinstance(value, list) and len(value) == 1:
        return _to_object_id(value[0])
    if isinstance(value, str) and _OBJECT_ID.fullmatch(value):
        return ObjectId(value)
    raise CannotCast


_CASTS: Final = {
    FieldType.STRING: _to_string,
    FieldType.NUMBER: _to_number,
    FieldType.BOOLEAN: _to_boolean,
    FieldType.DATE: _to_date,
    FieldType.OBJECT_ID: _to_object_id,
    FieldType.ANYTHING: plain,
}


def javascript_number(value: float) -> str:
    """A finite number as JavaScript writes it (ECMA-262, Number::toString): the shortest digits that read back."""
    if value == 0:
        return "0"
    if abs(value) < 1e21 and value == int(value):
        return str(int(value)) if abs(value) < 1 << 53 else _digits(value)
    return _digits(value)


def _digits(value: float) -> str:
    mantissa, _, exponent = repr(value).replace("E", "e").partition("e")
    sign, mantissa = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    shown = point - 1
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if shown > 0 else '-'}{abs(shown)}"
