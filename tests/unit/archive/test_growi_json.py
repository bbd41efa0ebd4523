"""GROWI's JSON: the same text as JavaScript's, and values from a text that comes in any pieces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.archive import growi_json
from growi_transfer.archive.growi_json import document_text, read_array
from growi_transfer.protocol.errors import BsonInvalid, JsonInvalid


def cut(text: bytes, size: int) -> Iterator[bytes]:
    return (text[start : start + size] for start in range(0, len(text), size))


def read(text: bytes, size: int = 1 << 20) -> list[Any]:
    return [value for batch in read_array(cut(text, size)) for value in batch]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (ObjectId("6b01ecf0afe6dd931e5220eb"), '"6b01ecf0afe6dd931e5220eb"'),
        (datetime(2026, 11, 21, 19, 11, 44, 852999, tzinfo=UTC), '"2026-11-21T19:11:44.852Z"'),
        (DatetimeMS(-1), '"1969-12-31T23:59:59.999Z"'),
        (DatetimeMS(-62167219200000), '"0000-01-01T00:00:00.000Z"'),
        (DatetimeMS(-62167219200001), '"-000001-12-31T23:59:59.999Z"'),
        (DatetimeMS(253402300800000), '"+010000-01-01T00:00:00.000Z"'),
        (DatetimeMS(8640000000000000), '"+275760-09-13T00:00:00.000Z"'),
        (DatetimeMS(-8640000000000000), '"-271821-04-20T00:00:00.000Z"'),
        (DatetimeMS(8640000000000001), "null"),
        (b"\x00\x01\x02", '"AAEC"'),
        (bson.Binary(bytes(range(16)), 4), '"00010203-0405-0607-0809-0a0b0c0d0e0f"'),
        (bson.Binary(b"ab", 5), '"YWI="'),
        (bson.Int64(2**53), "9007199254740992"),
        (bson.Int64(2**53 + 1), '{"low":1,"high":2097152,"unsigned":false}'),
        (bson.Int64(-(2**63)), '{"low":0,"high":-2147483648,"unsigned":false}'),
        (bson.Int64(-(2**53) - 1), '{"low":-1,"high":-2097153,"unsigned":false}'),
        (bson.Decimal128("1.50"), '{"$numberDecimal":"1.50"}'),
        (bson.Timestamp(2**31 + 5, 7), '{"$timestamp":"9223372058329612295"}'),
        (bson.Regex("a", "i"), "{}"),
        (bson.MinKey(), "{}"),
        (float("nan"), "null"),
        (float("inf"), "null"),
        (2.0, "2"),
        (-0.0, "0"),
        (1e21, "1e+21"),
        ('a\u2028\x7f"\\\n\x1f\b/<日😀', '"a\u2028\x7f\\"\\\\\\n\\u001f\\b/<日😀"'),
        (["x", None, {"y": True}], '["x",null,{"y":true}]'),
        ({"b": 1, "10": 2, "2": 3, "01": 4, "4294967295": 5}, '{"2":3,"10":2,"b":1,"01":4,"4294967295":5}'),
        (bson.Code("f()"), '{"code":"f()"}'),
        (bson.dbref.DBRef("c", 1), '{"$ref":"c","$id":1}'),
    ],
)
def test_a_value_as_javascript_writes_it(value: Any, text: str) -> None:
    assert document_text(bson.encode({"v": value})).decode() == f'{{"v":{text}}}'


def test_what_is_no_bson() -> None:
    with pytest.raises(BsonInvalid):
        document_text(b"\x05\x00\x00\x00\x01")


documents = st.lists(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=6,
        ),
        max_size=4,
    ),
    max_size=6,
)


@given(documents, st.integers(1, 40), st.booleans(), st.booleans())
def test_documents_come_out_as_they_went_in(values: list[Any], size: int, spaced: bool, ascii_only: bool) -> None:
    text = json.dumps(values, indent=2 if spaced else None, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert read(text, size) == values


def test_batches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growi_json, "BATCH_BYTES", 1000)
    values = [{"n": number, "text": "x" * 90} for number in range(1000)]
    text = json.dumps(values).encode()
    batches = list(read_array(cut(text, 300_000)))
    assert [value for batch in batches for value in batch] == values
    assert max(map(len, batches)) < 20


def test_batches_of_tiny_documents_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growi_json, "BATCH_DOCUMENTS", 10)
    batches = list(read_array([b"[" + b",".join([b"{}"] * 95) + b"]"]))
    assert [len(batch) for batch in batches] == [10] * 9 + [5]


@pytest.mark.parametrize(("value", "allowed"), [("[],", 9), ("{},", 9), ("0,", 99)])
def test_more_values_than_a_document_can_have_are_not_made(
    value: str, allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growi_json, "_NESTED_LIMIT", 10)
    monkeypatch.setattr(growi_json, "DOCUMENT_LIMIT", 100)

    def text(count: int) -> bytes:
        return f'[{{"a":[{value * (count - 1)}{value[:-1]}]}},{{"b":1}}]'.encode()

    assert len(read(text(allowed - 1))) == 2
    with pytest.raises(JsonInvalid, match="more values"):
        read(text(allowed + 5))


@given(documents.filter(bool), st.data())
def test_a_cut_file_is_never_taken(values: list[Any], data: st.DataObject) -> None:
    text = json.dumps(values).encode()
    length = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(JsonInvalid):
        read(text[:length])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"  ",
        b"{}",
        b'{"a":{}}',
        b"null",
        b"[1]",
        b'["a"]',
        b"[[]]",
        b"[null]",
        b"[{},]",
        b"[,{}]",
        b"[{}{}]",
        b"[{},,{}]",
        b"[{} x {}]",
        b"[{}] x",
        b"[{}][{}]",
        b"[{}]]",
        b"[{]]",
        b"x[{}]",
        b"]",
        b"[{}}",
        b'[{"a":}]',
        b'[{"a":NaN}]',
        b'[{"a":1,}]',
        b'[{"a" 1}]',
        b'[{"a":"\x01"}]',
        b'[{"a":"\xff"}]',
        b"[" + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"]",
        b'[{"b":"\\ud800","a":' + b"[" * 3000 + b"]" * 3000 + b"}]",
    ],
)
def test_what_is_no_array_of_documents(text: bytes) -> None:
    for size in (1, 1 << 20):
        with pytest.raises(JsonInvalid):
            read(text, size)


def test_half_of_a_surrogate_pair_is_read_as_in_javascript() -> None:
    assert read(b'[{"a":"x\\ud800y","\\udc00":["\\ud83d\\ude00"]}]') == [{"a": "x\ufffdy", "\ufffd": ["😀"]}]


def test_a_document_without_an_end_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growi_json, "TEXT_LIMIT", 10_000)
    fed = 0

    def endless() -> Iterator[bytes]:
        nonlocal fed
        yield b'[{"a":"'
        while True:
            fed += 1000
            yield b"x" * 1000

    with pytest.raises(JsonInvalid, match="more than"):
        list(read_array(endless()))
    assert fed < 20_000


def test_empty_arrays() -> None:
    assert read(b"[]") == read(b" [\n] ") == []
