"""Whole transfers between storages in which GROWI names files differently: legacy paths, exports, images, the logo."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from tests.fakes.object_servers import ObjectServer
from tests.pair.instances import Pair, open_pair

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.machine import State
from growi_transfer.storage.base import SmallFile, Storage

LARGE = (4 << 20) + 5
"""Bytes of a file that goes alone."""


def md5(number: int) -> str:
    return f"{number:032x}"


OLD_PAGE = bson.ObjectId("5bbf1d2f8f1b2c0015a3c111")
LEGACY = f"attachment/{OLD_PAGE}/{md5(40)}.png"
WHERE: dict[str, dict[str, str]] = {
    # Where GROWI 7.3 and 8.x look for each, by storage; in GridFS the `filename` stands behind the folder.
    "page": dict.fromkeys(("local", "mongodb", "aws"), f"attachment/{md5(1)}.png"),
    "image": {"local": f"user/{md5(2)}.png", "mongodb": f"attachment/{md5(2)}.png", "aws": f"user/{md5(2)}.png"},
    "logo": {"local": f"user/{md5(3)}.svg", "mongodb": f"attachment/{md5(3)}.svg", "aws": f"user/{md5(3)}.svg"},
    "legacy": {"local": f"attachment/{md5(4)}.png", "mongodb": f"attachment/{md5(4)}.png", "aws": LEGACY},
    "legacy, large": {
        "local": f"attachment/{md5(5)}.mp4",
        "mongodb": f"attachment/{md5(5)}.mp4",
        "aws": f"attachment/{OLD_PAGE}/{md5(50)}.mp4",
    },
    "export": {
        "local": f"user/{md5(6)}.zip",
        "mongodb": f"attachment/{md5(6)}.zip",
        "aws": f"page-bulk-export/{md5(6)}.zip",
    },
    "audit log": {
        "local": f"user/{md5(7)}.zip",
        "mongodb": f"attachment/{md5(7)}.zip",
        "aws": f"user/{md5(7)}.zip",
    },
}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "page": {"fileName": f"{md5(1)}.png", "page": bson.ObjectId(), "attachmentType": "WIKI_PAGE"},
    "image": {"fileName": f"{md5(2)}.png", "page": None, "attachmentType": "PROFILE_IMAGE"},
    "logo": {"fileName": f"{md5(3)}.svg", "attachmentType": "BRAND_LOGO"},
    "legacy": {"fileName": f"{md5(4)}.png", "page": OLD_PAGE, "filePath": LEGACY},
    "legacy, large": {"fileName": f"{md5(5)}.mp4", "page": OLD_PAGE, "filePath": WHERE["legacy, large"]["aws"]},
    "export": {"fileName": f"{md5(6)}.zip", "page": None, "attachmentType": "PAGE_BULK_EXPORT"},
    "audit log": {"fileName": f"{md5(7)}.zip", "page": None, "attachmentType": "AUDIT_LOG_BULK_EXPORT"},
}
CONTENT = {name: name.encode() if "large" not in name else bytes(LARGE) for name in DOCUMENTS}


def prepare(uri: str, name: str, kind: str, store: ObjectServer | None) -> None:
    """The settings that GROWI keeps in its database."""
    if kind != "aws":
        return
    assert store is not None
    bucket = name.replace("_", "-")
    store.make_bucket(bucket)
    with MongoClient[dict[str, Any]](uri) as client:
        client[name]["configs"].insert_many(
            [{"key": key, "value": json.dumps(value)} for key, value in store.settings(bucket).values.items()]
        )


async def fill(pair: Pair, kind: str, places: Mapping[str, str]) -> None:
    for name, document in DOCUMENTS.items():
        content = CONTENT[name]
        pair.source.database["attachments"].insert_one({**document, "fileSize": len(content), "fileFormat": "x/y"})
        for error in await pair.from_source.storage.write_many([SmallFile(places[name], content)]):
            assert error is None


async def contents(storage: Storage) -> dict[str, bytes]:
    paths = [file.path async for page in storage.list_files() for file in page]
    return {
        path: content
        for path, content in zip(paths, await storage.read_many(paths, LARGE), strict=True)
        if isinstance(content, bytes)
    }


@pytest.mark.parametrize(
    ("source", "destination"),
    [("local", "aws"), ("aws", "mongodb"), ("mongodb", "local"), ("aws", "aws"), ("mongodb", "aws")],
)
async def test_every_file_is_where_the_destinations_growi_looks(
    tmp_path: Path,
    mongo_uri: str,
    mongo_database_name: str,
    mongo_uri_destination: str,
    mongo_database_name_destination: str,
    request: pytest.FixtureRequest,
    source: str,
    destination: str,
) -> None:
    store = request.getfixturevalue("aws_server") if "aws" in (source, destination) else None
    here, there = (mongo_uri, mongo_database_name), (mongo_uri_destination, mongo_database_name_destination)
    prepare(*here, source, store)
    prepare(*there, destination, store)
    async with open_pair(
        tmp_path, here, there, of_source={"FILE_UPLOAD": source}, of_destination={"FILE_UPLOAD": destination}
    ) as pair:
        await fill(pair, source, {name: WHERE[name][source] for name in DOCUMENTS})
        row = await pair.push(deep=True)
        assert row.position.state is State.COMPLETED, row.facts.get("error")
        assert not row.facts.get("failures")
        expected = {WHERE[name][destination]: CONTENT[name] for name in DOCUMENTS}
        assert await contents(pair.to_destination.storage) == expected
        files = pair.to_destination.stored_files
        outcome = files.outcome()
        assert [one async for one in files.findings(outcome, older_than=timedelta(days=1))] == []
        again = await pair.push()
        totals = await pair.from_source.ledger.file_totals(Role.PUSHER, again.id)
        assert (again.position.state, sum(total.rows for total in totals.values())) == (State.COMPLETED, len(DOCUMENTS))
        assert await contents(pair.to_destination.storage) == expected


async def test_files_that_lie_where_an_older_growi_put_them(pair: Pair) -> None:
    """In a folder, 3.3 used `filePath`; an export may have been copied over from S3 with its folder."""
    places = {name: WHERE[name]["aws"] for name in DOCUMENTS}
    places["audit log"] = f"audit-log-bulk-export/{md5(7)}.zip"
    await fill(pair, "local", places)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert pair.destination.files() == {WHERE[name]["local"]: CONTENT[name] for name in DOCUMENTS}


async def test_an_archive_keeps_what_says_where_files_go(pair: Pair, tmp_path: Path) -> None:
    await fill(pair, "local", {name: WHERE[name]["aws"] for name in DOCUMENTS})
    assert pair.from_source.pusher is not None
    assert pair.to_destination.receiver is not None
    exported = await pair.from_source.pusher.export_archive(tmp_path / "wiki.zip")
    assert (exported["attachments"], exported["attachments_missing"]) == (len(DOCUMENTS), 0)
    imported = await pair.to_destination.receiver.import_archive(tmp_path / "wiki.zip")
    assert imported["transfer"]["state"] == "completed"
    assert pair.destination.files() == {WHERE[name]["local"]: CONTENT[name] for name in DOCUMENTS}


async def test_a_size_that_is_not_the_files_own_is_told_and_moves_as_it_is(pair: Pair) -> None:
    document = pair.source.add_attachment(b"four")
    pair.source.database["attachments"].update_one({"_id": document["_id"]}, {"$set": {"fileSize": 4000}})
    pusher = pair.from_source.pusher
    assert pusher is not None
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    accepted = {one["code"]: one for one in row.facts["accepted_warnings"]}
    assert accepted["attachment_size_differs"]["details"] == {"count": 1, "files": [document["fileName"]]}
    assert pair.destination.files() == {f"attachment/{document['fileName']}": b"four"}
    assert pair.source.documents("attachments") == pair.destination.documents("attachments")
