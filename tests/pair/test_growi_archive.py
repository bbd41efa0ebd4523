"""A wiki's database as GROWI's own archive: out of one instance, and into another."""

from __future__ import annotations

import json
import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, ObjectId
from tests.pair.instances import Instance, Pair

from growi_transfer.archive.growi_archive import open_growi_archive
from growi_transfer.protocol.errors import (
    ArchiveInvalid,
    CollectionKindUnsupported,
    JsonInvalid,
    SettingInvalid,
    TransferError,
    VersionIncompatible,
)

SAMPLE = os.environ.get("GROWI_TRANSFER_SAMPLE_WIKI", "")
NOW = datetime(2026, 11, 21, 19, 11, 44, 852000, tzinfo=UTC)
VERSION = "7.3.0"


def page(path: str, **more: Any) -> dict[str, Any]:
    return {
        "_id": ObjectId(),
        "path": path,
        "parent": ObjectId(),
        "grant": 1,
        "grantedUsers": [ObjectId()],
        "grantedGroups": [{"type": "UserGroup", "item": ObjectId(), "_id": ObjectId()}],
        "descendantCount": 3,
        "updatedAt": NOW,
        "__v": 0,
        **more,
    }


def fill(wiki: Instance, tag: str, pages: int = 40) -> None:
    wiki.insert_raw("pages", [bson.encode(page(f"/{tag}/{number}")) for number in range(pages)])
    wiki.database["pages"].create_index("path")
    wiki.insert_raw("tags", [bson.encode({"_id": ObjectId(), "name": tag, "__v": 0})])
    wiki.insert_raw("yjs-writings", [bson.encode({"_id": ObjectId(), "docName": tag, "value": tag.encode()})])
    wiki.insert_raw("activities", [bson.encode({"_id": ObjectId(), "action": tag})])


async def exported(pair: Pair, path: Path) -> dict[str, Any]:
    assert pair.from_source.pusher is not None
    return await pair.from_source.pusher.export_growi_archive(path)


async def imported(pair: Pair, path: Path) -> dict[str, Any]:
    assert pair.to_destination.receiver is not None
    return await pair.to_destination.receiver.import_archive(path)


def without_tree(wiki: Instance) -> dict[str, Any]:
    """Pages by path, but for what the tree decides; None for those that the tree alone needs."""
    pages = list(wiki.database["pages"].find({}, {"parent": 0, "descendantCount": 0}))
    return {page["path"]: None if page.get("isEmpty") else page for page in pages}


async def test_out_and_in_again(pair: Pair, tmp_path: Path) -> None:
    fill(pair.source, "source")
    fill(pair.destination, "destination")
    of_destination = {name: pair.destination.documents(name) for name in ("yjs-writings", "activities")}
    path = tmp_path / "wiki.growi.zip"
    told = await exported(pair, path)
    assert (told["collections"], told["documents"]) == (2, 41)
    assert told["not_exported"] == ["activities", "yjs-writings"]
    answer = await imported(pair, path)
    assert answer["transfer"]["state"] == "completed"
    assert (answer["ignored"], answer["losses"]) == ([], {})
    assert pair.destination.documents("tags") == pair.source.documents("tags")
    assert without_tree(pair.destination) == {**without_tree(pair.source), "/": None, "/source": None}
    assert pair.destination.indexes("pages") == pair.source.indexes("pages")
    for name, documents in of_destination.items():
        assert pair.destination.documents(name) == documents, "what the archive does not have stays"


async def test_it_can_be_rolled_back(pair: Pair, tmp_path: Path) -> None:
    fill(pair.source, "source")
    fill(pair.destination, "destination")
    before = {name: pair.destination.documents(name) for name in ("pages", "tags", "yjs-writings")}
    await exported(pair, tmp_path / "a.zip")
    answer = await imported(pair, tmp_path / "a.zip")
    assert pair.to_destination.receiver is not None
    await pair.to_destination.receiver.rollback(answer["transfer"]["id"], epoch=None)
    assert {name: pair.destination.documents(name) for name in before} == before


async def test_types_that_the_format_loses_are_counted(pair: Pair, tmp_path: Path) -> None:
    pair.source.insert_raw(
        "plugin-data",
        [bson.encode({"_id": ObjectId(), "a": Int64(2**60), "b": [Decimal128("1.5")], "at": NOW, "in": {"at": NOW}})],
    )
    await exported(pair, tmp_path / "a.zip")
    answer = await imported(pair, tmp_path / "a.zip")
    assert answer["losses"] == {"int64": 1, "decimal128": 1}
    (raw,) = pair.destination.documents("plugin-data")
    document = bson.decode(raw, bson.CodecOptions(tz_aware=True))
    assert document["at"] == NOW
    assert document["in"] == {"at": "2026-11-21T19:11:44.852Z"}


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ({"meta.json": {"version": "7.3.1"}, "tags.json": []}, VersionIncompatible),
        ({"meta.json": {"version": VERSION}}, ArchiveInvalid),
        ({"meta.json": {"version": VERSION}, "sessions.json": []}, ArchiveInvalid),
        ({"meta.json": {"version": VERSION}, "tags.json": {"a": 1}}, JsonInvalid),
        ({"meta.json": {"version": VERSION}, "tags.json": [{"_id": 1}, 7]}, JsonInvalid),
        ({"meta.json": {"version": VERSION}, "a-view.json": []}, CollectionKindUnsupported),
        ({"meta.json": {"version": VERSION}, "tags.json": [{"_id": 1}, {"_id": 1}]}, TransferError),
    ],
)
async def test_what_cannot_be_brought_in_changes_nothing(
    pair: Pair, tmp_path: Path, entries: dict[str, Any], error: type[TransferError]
) -> None:
    fill(pair.destination, "destination")
    pair.destination.database.create_collection("a-view", viewOn="tags", pipeline=[])
    before = {name: pair.destination.documents(name) for name in ("pages", "tags")}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name, value in entries.items():
            file.writestr(name, json.dumps(value))
    with pytest.raises(error):
        await imported(pair, tmp_path / "a.zip")
    assert {name: pair.destination.documents(name) for name in before} == before
    assert not pair.destination.own_collections()


async def test_without_a_version_no_archive_is_made(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pair.from_source.pusher is not None
    monkeypatch.setattr(pair.from_source.pusher._growi_exporter, "_version", None)
    with pytest.raises(SettingInvalid, match="GROWI_VERSION"):
        await exported(pair, tmp_path / "a.zip")
    assert list(tmp_path.glob("*.zip")) == []


@pytest.mark.skipif(not SAMPLE, reason="GROWI_TRANSFER_SAMPLE_WIKI is not set: no data of a real GROWI are here")
async def test_the_archive_of_a_real_growi() -> None:
    """Beside what GROWI itself made of it: equal, but for what GROWI damages or makes anew."""
    sample = Path(SAMPLE)
    after = sample / "destination-after" / "growi_d"
    compared = 0
    differing: set[tuple[str, str]] = set()
    async with open_growi_archive(sample / "pushed.growi.zip") as archive:
        for name in archive.collections:
            theirs = {one["_id"]: one for one in bson.decode_all((after / f"{name}.bson").read_bytes())}
            async for batch in archive.documents(name):
                for document in map(bson.decode, batch):
                    if document["_id"] not in theirs:
                        continue
                    compared += 1
                    other = theirs[document["_id"]]
                    assert document.keys() == other.keys()
                    differing |= {(name, field) for field in document if document[field] != other[field]}
    assert compared > 50
    assert differing <= {
        ("configs", "updatedAt"),  # of the settings that GROWI's receiver keeps
        ("pages", "parent"),  # GROWI builds the tree anew
        ("pages", "descendantCount"),
        ("pages", "grantedGroups"),  # ids in subdocuments stay strings in GROWI
        ("yjs-writings", "value"),  # bytes stay base64 text in GROWI
    }
