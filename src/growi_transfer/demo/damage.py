"""Damage done on purpose to a wiki, to show that the comparison finds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from growi_transfer.demo.compare import Side


def flip_document(side: Side) -> None:
    """One byte of one document."""
    with MongoClient[dict[str, Any]](side.uri) as client:
        revisions = client[side.database]["revisions"]
        for revision in revisions.find({"body": {"$ne": ""}}, {"body": 1}).sort("_id", 1).limit(1):
            body = revision["body"]
            revisions.update_one({"_id": revision["_id"]}, {"$set": {"body": chr(ord(body[0]) ^ 1) + body[1:]}})


def drop_index(side: Side) -> None:
    with MongoClient[dict[str, Any]](side.uri) as client:
        client[side.database]["pages"].drop_index("path_1")


def truncate_file(side: Side) -> None:
    """The last byte of the largest attachment."""
    assert side.uploads is not None
    files = (path for path in Path(side.uploads, "attachment").iterdir() if path.is_file())
    largest = max(files, key=lambda path: path.stat().st_size)
    with largest.open("r+b") as file:
        file.truncate(largest.stat().st_size - 1)


DAMAGES: Mapping[str, Callable[[Side], None]] = {
    "flip-document": flip_document,
    "drop-index": drop_index,
    "truncate-file": truncate_file,
}
