"""The forms in which values are kept, alike in every ledger: what goes in is what comes out, whichever ledger it is.

Times have whole milliseconds, as in BSON. Facts and set-ups are JSON, kept as text: their names may be anything (`.`,
`$`, empty), their numbers of any size, their order stays. Payloads of the journal are BSON documents.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import bson
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion

_LOSSLESS: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
"""UUIDs stay Binary and dates that Python cannot hold stay DatetimeMS, so that they encode to the same bytes again."""

# Made once: `json.dumps` with options makes an encoder for each call.
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def milliseconds(moment: datetime) -> datetime:
    """The same moment in UTC, without what is below a millisecond."""
    return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)


def json_text(values: Mapping[str, Any]) -> str:
    """JSON as pure ASCII, so that even half a surrogate pair survives. TypeError or ValueError for what is not JSON."""
    return _encode(values)


def from_json_text(text: str) -> dict[str, Any]:
    """What `json_text` was given."""
    values: dict[str, Any] = json.loads(text)
    return values


def bson_bytes(payload: Mapping[str, Any]) -> bytes:
    """A payload as BSON. bson.errors.InvalidDocument for values that BSON does not have."""
    return bson.encode(payload, codec_options=_LOSSLESS)


def from_bson_bytes(data: bytes) -> dict[str, Any]:
    """What `bson_bytes` was given."""
    return bson.decode(data, codec_options=_LOSSLESS)


def storable(text: str) -> str:
    """A text for people (a reason) that UTF-8 can hold: messages of the system may quote names that are not Unicode."""
    return text.encode("utf-8", "backslashreplace").decode()


def check_fact_names(facts: Mapping[str, Any]) -> None:
    """ValueError for a name that cannot be set by itself."""
    for name in facts:
        if not name or "." in name or name.startswith("$") or "\x00" in name:
            raise ValueError(f"a fact cannot be named {name!r}")
