"""Types back from GROWI's JSON. The expected values were found with mongoose 6.13 on the same input."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.archive.growi_values import javascript_number, restore
from growi_transfer.protocol.growi_fields import COLLECTIONS, FieldType, Schema

ID = "6b01ecf0afe6dd931e5220eb"
WHEN = "2026-11-21T19:11:44.852Z"
MOMENT = datetime(2026, 11, 21, 19, 11, 44, 852000, tzinfo=UTC)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text() | st.just(WHEN),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("creator", ID, ObjectId(ID)),
        ("creator", ID.upper(), ObjectId(ID)),
        ("creator", [ID], ObjectId(ID)),
        ("creator", {"_id": ID}, ObjectId(ID)),
        ("creator", "admin", "admin"),
        ("creator", None, None),
        ("creator", "", ""),
        ("updatedAt", WHEN, MOMENT),
        ("updatedAt", "2026-11-21T19:11:44Z", MOMENT.replace(microsecond=0)),
        ("updatedAt", "2026-11-21T19:11:44.8529+09:00", MOMENT.replace(hour=10)),
        ("updatedAt", "+010000-01-01T00:00:00.000Z", DatetimeMS(253402300800000)),
        ("updatedAt", "-000001-01-01T00:00:00.000Z", DatetimeMS(-62198755200000)),
        ("updatedAt", "2026-02-31T00:00:00.000Z", datetime(2026, 3, 3, tzinfo=UTC)),
        ("updatedAt", 1500, DatetimeMS(1500)),
        ("updatedAt", "soon", "soon"),
        ("updatedAt", "2026-13-01T00:00:00.000Z", "2026-13-01T00:00:00.000Z"),
        ("updatedAt", "+999999-01-01T00:00:00.000Z", "+999999-01-01T00:00:00.000Z"),
        ("grant", 4, 4),
        ("grant", "4", 4),
        ("grant", " 1e3 ", 1000),
        ("grant", True, 1),
        ("grant", "many", "many"),
        ("grant", 2**40, float(2**40)),
        ("grant", 2.0, 2),
        ("isEmpty", "yes", True),
        ("isEmpty", 0, False),
        ("isEmpty", "maybe", "maybe"),
        ("path", 12, "12"),
        ("path", 1.5, "1.5"),
        ("path", True, "true"),
        ("path", {"a": 1}, {"a": 1}),
        ("grantedUsers", [ID, None], [ObjectId(ID), None]),
        ("grantedUsers", [ID, "x"], [ID, "x"]),
        ("grantedUsers", ID, ID),
        (
            "grantedGroups",
            [{"type": "UserGroup", "item": ID, "_id": ID, "more": WHEN}],
            [{"type": "UserGroup", "item": ObjectId(ID), "_id": ObjectId(ID), "more": WHEN}],
        ),
        ("extended", {"when": WHEN, "_id": ID}, {"when": WHEN, "_id": ID}),
        ("unknown", WHEN, MOMENT),
        ("unknown", f"since {WHEN}", f"since {WHEN}"),
        ("unknown", ID, ID),
        ("__v", "3", 3),
        ("_id", ID, ObjectId(ID)),
        ("_id", 7, 7),
    ],
)
def test_a_field_of_a_page(field: str, value: Any, expected: Any) -> None:
    restored = restore("pages", {field: value})[field]
    assert (type(restored), restored) == (type(expected), expected)


def test_a_collection_that_growi_does_not_know() -> None:
    document = {
        "_id": ID,
        "at": WHEN,
        "nested": {"at": WHEN, "_id": ID},
        "list": [WHEN],
        "user": ID,
        "n": 3_000_000_000,
    }
    assert restore("plugins-of-mine", document) == {
        **document,
        "_id": ObjectId(ID),
        "at": MOMENT,
        "n": 3e9,
    }


def test_bytes_of_the_editor_come_back() -> None:
    assert restore("yjs-writings", {"_id": ID, "value": "AAEC", "docName": ID}) == {
        "_id": ObjectId(ID),
        "value": b"\x00\x01\x02",
        "docName": ID,
    }
    assert restore("yjs-writings", {"value": "no base64!"}) == {"value": "no base64!"}
    assert restore("yjs-writings", {"_id": ID}) == {"_id": ObjectId(ID)}


def test_the_order_of_fields_is_kept() -> None:
    document = {"path": "/", "_id": ID, "grant": 1, "aaa": 1}
    assert list(restore("pages", document)) == list(document)


@given(st.sampled_from([*COLLECTIONS, "yjs-writings", "other"]), st.dictionaries(st.text(), json_values, max_size=5))
def test_whatever_comes_is_restored(collection: str, document: dict[str, Any]) -> None:
    restored = restore(collection, document)
    assert restored.keys() == document.keys()


@st.composite
def typed(draw: st.DrawFn, schema: Schema) -> tuple[Any, Any]:
    """A JSON value of a type, and what it has to become."""
    if isinstance(schema, list):
        pairs = draw(st.lists(typed(schema[0]), max_size=3))
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if isinstance(schema, FieldType):
        if schema is FieldType.OBJECT_ID:
            value = draw(st.binary(min_size=12, max_size=12)).hex()
            return value, ObjectId(value)
        if schema is FieldType.DATE:
            milliseconds = draw(st.integers(-60_000 * 10**9, 250_000 * 10**9))
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
            return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"), moment
        strategy = {
            FieldType.NUMBER: st.integers(-(2**31), 2**31 - 1),
            FieldType.BOOLEAN: st.booleans(),
            FieldType.STRING: st.text(),
            FieldType.ANYTHING: st.text(),
        }
        value = draw(strategy[schema])
        return value, value
    pairs = {name: draw(typed(inner)) for name, inner in schema.items()}
    return {name: pair[0] for name, pair in pairs.items()}, {name: pair[1] for name, pair in pairs.items()}


@given(st.data())
def test_every_field_of_every_collection_gets_its_type_back(data: st.DataObject) -> None:
    collection = data.draw(st.sampled_from(sorted(COLLECTIONS)))
    plain, expected = data.draw(typed(COLLECTIONS[collection]))
    restored = restore(collection, plain)
    assert restored == expected
    assert bson.encode(restored)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.5, "1.5"),
        (-1.5, "-1.5"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.5e-9, "1.5e-9"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (0.1 + 0.2, "0.30000000000000004"),
        (2.0**53, "9007199254740992"),
        (2.0**64, "18446744073709552000"),
        (-1e22, "-1e+22"),
    ],
)
def test_numbers_look_as_in_javascript(value: float, text: str) -> None:
    assert javascript_number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back(value: float) -> None:
    assert float(javascript_number(value)) == value
