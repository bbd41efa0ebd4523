from __future__ import annotations

from struct import pack

import bson
import pytest
from bson import Binary, Code, MaxKey, MinKey, Regex, Timestamp
from hypothesis import example, given
from hypothesis import strategies as st
from tests.fakes.raw_bson import DOCUMENTS, ELEMENTS, VALUES, RawElement, damaged, document, element

from growi_transfer.protocol.elements import (
    elements,
    id_document,
    id_first,
    may_have_zero_timestamps,
    zero_timestamps,
)
from growi_transfer.protocol.errors import BsonInvalid

LISTS = st.lists(ELEMENTS, max_size=6)


SHORTEST = [
    element("a", ""),
    element("b", Binary(b"", 0)),
    element("c", {}),
    element("d", []),
    element("e", Code("")),
    element("f", Code("", {})),
    element("g", Regex("")),
    RawElement("h", bytes, b"\x0eh\x00" + pack("<i", 1) + b"\x00"),
    RawElement("i", bytes, b"\x0ci\x00" + pack("<i", 1) + b"\x00" + bytes(12)),
]


@given(LISTS)
@example(SHORTEST)
def test_every_element_is_found_where_it_is(made: list[RawElement]) -> None:
    raw = document(made)
    found = list(elements(raw))
    assert [raw[one.start : one.end] for one in found] == [one.raw for one in made]
    assert [one.name.decode() for one in found] == [one.name for one in made]
    assert all(raw[one.start] == one.kind for one in found)


@given(VALUES, LISTS, LISTS, st.booleans())
@example(MinKey(), [], [], True)
@example(MaxKey(), [], [], True)
@example({"a": 1, "_id": 2}, [element("a", 1)], [element("_id", 3)], True)
def test_the_id_is_taken_as_it_is(value: object, before: list[RawElement], after: list[RawElement], view: bool) -> None:
    before = [one for one in before if one.name != "_id"]
    raw = document([*before, element("_id", value), *after])
    assert id_document(memoryview(raw) if view else raw) == bson.encode({"_id": value})


@given(VALUES, LISTS, LISTS, st.booleans())
def test_the_id_moves_to_the_front_and_the_rest_keeps_its_order(
    value: object, before: list[RawElement], after: list[RawElement], view: bool
) -> None:
    before = [one for one in before if one.name != "_id"]
    identity = element("_id", value)
    raw = document([*before, identity, *after])
    given_in = memoryview(raw) if view else raw
    moved = id_first(given_in)
    assert moved == document([identity, *before, *after])
    if not before:
        assert moved is given_in


@given(st.lists(ELEMENTS.filter(lambda one: one.name != "_id"), max_size=4))
def test_a_document_without_id_is_refused(made: list[RawElement]) -> None:
    for function in (id_document, id_first):
        with pytest.raises(BsonInvalid, match="no _id"):
            function(document(made))


def test_a_nested_id_is_not_the_documents_own() -> None:
    with pytest.raises(BsonInvalid, match="no _id"):
        id_document(bson.encode({"a": {"_id": 1}}))


@given(LISTS)
@example([element("_id", Timestamp(0, 0))])
@example([element("a", {"b": Timestamp(0, 0)})])
@example([element("a", Timestamp(0, 0))])
@example([element("a", Timestamp(0, 1)), element("b", Timestamp(0, 0))])
def test_empty_timestamps_are_found(made: list[RawElement]) -> None:
    raw = document(made)
    expected = any(one.value == Timestamp(0, 0) and one.name != "_id" for one in made)
    assert zero_timestamps(raw) is expected
    assert zero_timestamps(memoryview(raw)) is expected
    if expected:
        assert may_have_zero_timestamps(b"before" + raw + b"after")


def test_most_documents_need_no_second_look() -> None:
    plain = bson.encode({"_id": bson.ObjectId(b"\x01" * 12), "body": "text", "n": 5, "__v": 0})
    assert not may_have_zero_timestamps(plain * 100)


@given(DOCUMENTS.flatmap(damaged))
def test_damaged_documents_raise_only_our_error(raw: bytes) -> None:
    for data in (raw, memoryview(raw)):
        for function in (id_document, id_first, zero_timestamps):
            try:
                result = function(data)
            except BsonInvalid:
                continue
            if not isinstance(result, bool):
                assert len(result) <= len(raw)
                assert int.from_bytes(result[:4], "little") == len(result)


@pytest.mark.parametrize(
    "inside",
    [
        b"\x02_id\x00" + pack("<i", 100) + b"a\x00",
        b"\x02_id\x00" + pack("<i", 0) + b"\x00",
        b"\x02_id\x00" + pack("<i", -1) + b"\x00",
        b"\x03_id\x00" + pack("<i", 4) + b"\x00",
        b"\x03_id\x00" + pack("<i", 2**31 - 1),
        b"\x05_id\x00" + pack("<i", -5) + b"\x00" * 9,
        b"\x05_id\x00" + pack("<i", 2**31 - 1) + b"\x00",
        b"\x07_id\x00" + b"\x00" * 11,
        b"\x10_id\x00\x00",
        b"\x0b_id\x00abc",
        b"\x0b_id\x00abc\x00i",
        b"\x0c_id\x00" + pack("<i", 2) + b"a\x00" + bytes(11),
        b"\x42_id\x00" + bytes(8),
        b"\x00_id\x00" + bytes(8),
        b"\x01_id",
        b"\x01",
    ],
)
def test_values_that_leave_their_document_are_refused(inside: bytes) -> None:
    for before in (b"", element("a", 1).raw):
        body = before + inside
        raw = pack("<i", len(body) + 5) + body + b"\x00"
        for data in (raw, memoryview(raw)):
            with pytest.raises(BsonInvalid):
                id_document(data)


@pytest.mark.parametrize("raw", [b"", b"\x05\x00\x00\x00", b"\x06\x00\x00\x00\x00", b"\x05\x00\x00\x00\x01"])
def test_what_is_not_one_document_is_refused(raw: bytes) -> None:
    for function in (id_document, id_first):
        with pytest.raises(BsonInvalid):
            function(raw)


def test_a_document_that_does_not_end_with_nul_is_refused() -> None:
    raw = bson.encode({"_id": 1, "a": 1})[:-1] + b"\x01"
    for function in (id_document, id_first):
        with pytest.raises(BsonInvalid, match="not one whole document"):
            function(raw)


def test_a_document_full_of_type_bytes_is_looked_at_once() -> None:
    # Quadratic work on this would not end within the time limit of a test.
    raw = bson.encode({"_id": 1, "body": "\x11" * (4 << 20), "zero": bson.Int64(0)})
    assert may_have_zero_timestamps(raw)
    assert not zero_timestamps(raw)
