"""A wiki's database as GROWI's own archive: out of one instance, and into another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, ObjectId
from tests.pair.instances import Instance, Pair

from growi_transfer.archive import growi_json
from growi_transfer.archive.growi_archive import open_growi_archive
from growi_transfer.ledger.base import Role
from growi_transfer.ledger.process import process_name
from growi_transfer.protocol.errors import (
    ArchiveInvalid,
    CollectionKindUnsupported,
    DatabaseUnavailable,
    DestinationBusy,
    JsonInvalid,
    SettingInvalid,
    TransferError,
    VersionIncompatible,
)
from growi_transfer.receiver import abandoned
from growi_transfer.receiver.growi_import import import_growi_archive

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


async def test_duplicates_are_left_out_wherever_they_are_in_the_file(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growi_json, "BATCH_DOCUMENTS", 3)
    pair.destination.database["tags"].create_index("name", unique=True)
    path = tmp_path / "wiki.growi.zip"
    tags = [{"_id": str(ObjectId()), "name": f"tag {number % 7}", "number": number} for number in range(20)]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("tags.json", json.dumps(tags))
        file.writestr("meta.json", json.dumps({"version": VERSION}))
    answer = await imported(pair, path)
    assert answer["duplicates"] == {"tags": 13}
    assert sorted(one["number"] for one in pair.destination.database["tags"].find()) == list(range(7))


# imports that nobody goes on with


def gone() -> str:
    """The name of a process that has ended."""
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return f"{process_name().rsplit('|', 2)[0]}|{int(ended.stdout)}|1"


async def leave(pair: Pair, path: Path, monkeypatch: pytest.MonkeyPatch, process: str) -> None:
    """An import, cut off before its end as by kill -9."""

    async def nothing(*_: Any, **__: Any) -> None:
        raise DatabaseUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(pair.to_destination.receiver, "verify", nothing)
        patch.setattr(pair.to_destination.receiver, "cancel", nothing)
        patch.setattr(abandoned, "process_name", lambda: process)
        with pytest.raises(DatabaseUnavailable):
            await imported(pair, path)
    assert pair.destination.own_collections() != []


async def test_what_a_killed_import_left_is_cleared_away_by_the_next_one(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair.source, "source")
    path = tmp_path / "wiki.growi.zip"
    await exported(pair, path)
    await leave(pair, path, monkeypatch, process_name())
    with pytest.raises(DestinationBusy):  # who is at it is alive
        await imported(pair, path)
    [row] = await pair.to_destination.ledger.list_transfers(Role.RECEIVER)
    assert pair.to_destination.receiver is not None
    await pair.to_destination.receiver.cancel(row.id, epoch=None)
    await leave(pair, path, monkeypatch, gone())
    assert (await imported(pair, path))["transfer"]["state"] == "completed"
    assert pair.destination.own_collections() == []
    states = [row.position.state.value for row in await pair.to_destination.ledger.list_transfers(Role.RECEIVER)]
    assert sorted(states) == ["cancelled", "cancelled", "completed"]


async def test_a_starting_server_clears_away_what_nobody_goes_on_with(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair.source, "source")
    path = tmp_path / "wiki.growi.zip"
    await exported(pair, path)
    receiver: Any = pair.to_destination.receiver
    await leave(pair, path, monkeypatch, process_name())
    await receiver._endings.finish_interrupted()
    assert pair.destination.own_collections() != [], "a command is at it"
    [row] = await pair.to_destination.ledger.list_transfers(Role.RECEIVER)
    await receiver.cancel(row.id, epoch=None)
    monkeypatch.setattr(receiver, "_serving", True)
    await leave(pair, path, monkeypatch, "a server of another machine|boot|1|1")
    await receiver._endings.finish_interrupted()
    assert pair.destination.own_collections() == []


async def test_an_import_that_waits_for_its_commit_is_not_cleared_away(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair.source, "source")
    path = tmp_path / "wiki.growi.zip"
    await exported(pair, path)
    receiver: Any = pair.to_destination.receiver
    monkeypatch.setattr(abandoned, "process_name", gone)
    await import_growi_archive(receiver, receiver._database, path, "1" * 32, version=VERSION, commit=False)
    await receiver._endings.finish_interrupted()
    with pytest.raises(DestinationBusy):
        await imported(pair, path)
    assert (await receiver.commit("1" * 32, epoch=None))["transfer"]["state"] == "completed"
