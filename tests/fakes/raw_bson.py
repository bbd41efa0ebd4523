"""Hypothesis strategies for raw BSON documents: every type, any order, repeated names."""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack
from typing import Any

import bson
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)

_SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False),
    st.integers(-(2**31), 2**31 - 1),
    st.builds(Int64, st.integers(-(2**63), 2**63 - 1)),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.builds(Binary, st.binary(max_size=20), st.sampled_from([0, 1, 2, 3, 5, 6, 0x80])),
    st.builds(ObjectId, st.binary(min_size=12, max_size=12)),
    st.builds(DatetimeMS, st.integers(-(2**62), 2**62)),
    st.builds(Regex, TEXT, st.sampled_from(["", "i", "imx"])),
    st.builds(Timestamp, st.integers(0, 3), st.integers(0, 3)),
    st.sampled_from([MinKey(), MaxKey(), Decimal128("1.5"), Decimal128("NaN"), Timestamp(0, 0)]),
    st.builds(Code, TEXT),
    st.builds(Code, TEXT, st.dictionaries(TEXT, st.integers(0, 9), max_size=2)),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)


@dataclass(frozen=True)
class RawElement:
    """One element as its bytes, and what it was made of. The `value` of a type of old servers means nothing."""

    name: str
    value: Any
    raw: bytes


def element(name: str, value: Any) -> RawElement:
    return RawElement(name, value, bson.encode({name: value})[4:-1])


def _old(name: str, kind: int, value: bytes) -> RawElement:
    return RawElement(name, bytes, bytes([kind]) + name.encode() + b"\x00" + value)


NAMES = st.one_of(TEXT, st.sampled_from(["_id", "a", "", "a.b", "$a", "_id2"]))
ELEMENTS = st.one_of(
    st.builds(element, NAMES, VALUES),
    st.builds(_old, NAMES, st.just(0x06), st.just(b"")),
    st.builds(_old, NAMES, st.just(0x0E), st.just(pack("<i", 3) + b"ab\x00")),
    st.builds(_old, NAMES, st.just(0x0C), st.just(pack("<i", 2) + b"a\x00" + bytes(12))),
)


def document(elements: list[RawElement]) -> bytes:
    body = b"".join(one.raw for one in elements)
    return pack("<i", len(body) + 5) + body + b"\x00"


DOCUMENTS = st.builds(document, st.lists(ELEMENTS, max_size=6))


@st.composite
def damaged(draw: st.DrawFn, raw: bytes) -> bytes:
    """`raw` with a few bytes changed, put in or taken out."""
    data = bytearray(raw)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["flip", "set", "insert", "delete", "cut", "repeat"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "set" if data:
                data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "delete":
                del data[at : at + draw(st.integers(1, 8))]
            case "cut":
                del data[at:]
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
    return bytes(data)
