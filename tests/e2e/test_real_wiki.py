"""The database and files of a real GROWI, moved and compared by code that shares nothing with the transfer.

`GROWI_TRANSFER_SAMPLE_WIKI` names a folder with `source/growi_a` and `destination-before/growi_d` (mongodump
directories) and `source/uploads`. The data are not part of the project.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import json_util
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from growi_transfer.demo.compare import remember
from growi_transfer.demo.run import judge, push
from growi_transfer.demo.servers import Pair, open_pair

SAMPLE = os.environ.get("GROWI_TRANSFER_SAMPLE_WIKI", "")


def load(uri: str, folder: Path) -> None:
    """A mongodump directory into the database of a URI."""
    with MongoClient[dict[str, Any]](uri) as client:
        database = client.get_default_database()
        for description in sorted(folder.glob("*.metadata.json")):
            metadata = json_util.loads(description.read_text())
            name = metadata["collectionName"]
            database.create_collection(name, **metadata.get("options", {}))
            raw = description.with_name(description.name.replace(".metadata.json", ".bson")).read_bytes()
            documents = bson.decode_all(raw, bson.CodecOptions(document_class=RawBSONDocument))
            if documents:
                database[name].insert_many(documents)
            indexes = [index for index in metadata["indexes"] if index["name"] != "_id_"]
            if indexes:
                database.command({"createIndexes": name, "indexes": indexes})


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with open_pair(tmp_path) as opened:
        yield opened


@pytest.mark.skipif(not SAMPLE, reason="GROWI_TRANSFER_SAMPLE_WIKI is not set: no data of a real GROWI are here")
def test_a_real_growi_wiki_arrives_as_it_was(pair: Pair) -> None:
    sample = Path(SAMPLE)
    load(pair.source.mongod.uri, sample / "source" / "growi_a")
    load(pair.destination.mongod.uri, sample / "destination-before" / "growi_d")
    shutil.copytree(sample / "source" / "uploads", pair.source.uploads, dirs_exist_ok=True)
    former = remember(pair.destination.side)
    pair.start_servers()
    comparison = judge(pair, push(pair, lambda _: None), former)
    assert comparison.identical, comparison.mismatches
    assert comparison.documents == 76
    assert comparison.collections == 36
    assert comparison.indexes == 107
    assert comparison.attachments == 2
