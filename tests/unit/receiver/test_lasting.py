"""What a TTL index deletes meanwhile is nobody's write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import bson
import pytest

from growi_transfer.receiver.merge.lasting import AHEAD, Expiry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
METADATA = {
    "indexes": [
        {"key": {"_id": 1}, "name": "_id_"},
        {"key": {"at": 1}, "name": "at_1", "expireAfterSeconds": 100},
        {"key": {"deep.at": 1}, "name": "deep", "expireAfterSeconds": 0},
    ]
}


@pytest.mark.parametrize(
    ("document", "lasts"),
    [
        ({"at": NOW}, False),
        ({"at": NOW + AHEAD}, True),
        ({"at": NOW + AHEAD - timedelta(seconds=100)}, False),
        ({"at": NOW + AHEAD - timedelta(seconds=99)}, True),
        ({"at": [NOW + 2 * AHEAD, NOW]}, False),
        ({"at": "a text"}, True),
        ({}, True),
        ({"deep": {"at": NOW + AHEAD}}, False),
        ({"deep": 1}, True),
    ],
)
def test_what_expires_within_a_day_is_left_out(document: dict[str, object], lasts: bool) -> None:
    raw = bson.encode(document)
    assert Expiry.of(METADATA, NOW).lasting([raw]) == ([raw] if lasts else [])


def test_without_such_an_index_everything_lasts() -> None:
    raw = bson.encode({"at": NOW})
    assert Expiry.of({"indexes": []}, NOW).lasting([raw, raw]) == [raw, raw]
