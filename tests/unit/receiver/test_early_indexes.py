"""Which indexes are made before the documents: those that cannot be in their way."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Int64

from growi_transfer.receiver.early_indexes import SMALL, early_indexes

ID = {"v": 2, "key": {"_id": 1}, "name": "_id_"}


def index(key: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"v": 2, "key": key, "name": "n", **options}


@pytest.mark.parametrize("key", [{"path": 1}, {"page": -1, "at": Int64(1)}, {"a.b": 1.0}])
def test_plain_ones_are(key: dict[str, Any]) -> None:
    wanted = index(key, sparse=True)
    assert early_indexes({"indexes": [ID, wanted]}, 10) == [wanted]


def test_a_ttl_index_would_delete_and_is_plain() -> None:
    assert early_indexes({"indexes": [index({"at": 1}, expireAfterSeconds=1)]}, 10) == [index({"at": 1})]


@pytest.mark.parametrize(
    "wanted",
    [
        index({"path": 1}, unique=True),
        index({"path": 1}, partialFilterExpression={"a": 1}),
        index({"path": 1}, collation={"locale": "ja"}),
        index({"body": "text"}),
        index({"place": "2dsphere", "at": 1}),
        index({"$**": 1}),
        index({"a.$**": 1}),
        index({"path": True}),
    ],
)
def test_others_are_not(wanted: dict[str, Any]) -> None:
    assert early_indexes({"indexes": [ID, wanted]}, 10) == []


def test_those_of_large_collections_are_not() -> None:
    wanted = index({"path": 1})
    assert early_indexes({"indexes": [wanted]}, SMALL) == [wanted]
    assert early_indexes({"indexes": [wanted]}, SMALL + 1) == []
