"""What a real server does to a document on insert is what protocol/elements.py says it does."""

from __future__ import annotations

import bson
import pytest
from bson import MaxKey, MinKey, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from growi_transfer.protocol.elements import id_first, zero_timestamps

DOCUMENTS = [
    {"_id": 1, "a": 2},
    {"a": 2, "_id": 1, "b": 3},
    {"a": {"_id": 5}, "_id": {"b": 1, "a": 2}},
    {"a": 1, "_id": MinKey()},
    {"_id": MaxKey(), "t": Timestamp(1, 0)},
    {"_id": Timestamp(0, 0), "a": 1},
    {"a": 1, "_id": Timestamp(0, 0)},
    {"_id": 1, "a": Timestamp(0, 0)},
    {"a": Timestamp(0, 0), "_id": Timestamp(0, 0)},
    {"_id": 1, "a": {"b": Timestamp(0, 0)}, "c": [Timestamp(0, 0)]},
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_the_server_stores_a_document_as_expected(
    mongo_uri: str, mongo_database_name: str, document: dict[str, object]
) -> None:
    raw = bson.encode(document)
    with MongoClient[dict[str, object]](mongo_uri) as client:
        collection = client[mongo_database_name]["documents"]
        collection.insert_one(RawBSONDocument(raw))
        stored = next(collection.find_raw_batches({}))
    assert (stored != id_first(raw)) is zero_timestamps(raw)
    assert list(bson.decode(stored)) == list(bson.decode(id_first(raw)))
