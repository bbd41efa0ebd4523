"""The preflight on two real wikis: each thing it can find, what it says about it, and that it writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from tests.pair.instances import Pair, open_pair

from growi_transfer.protocol.errors import Blocked, SetupDiffers
from growi_transfer.protocol.machine import State
from growi_transfer.pusher.options import PushOptions
from growi_transfer.pusher.preflight import Preflight
from growi_transfer.receiver.info import InstanceInfo


async def look(pair: Pair, **options: Any) -> dict[str, Any]:
    pusher = pair.from_source.pusher
    assert pusher is not None
    return await pusher.preflight(await pair.key(), PushOptions(**options))


def found(report: Mapping[str, Any]) -> dict[str, Any]:
    """Details by code."""
    return {one["code"]: one["details"] for one in (*report["blockers"], *report["warnings"])}


def page(pair: Pair, path: str) -> bson.ObjectId:
    identity = bson.ObjectId()
    pair.source.database["pages"].insert_one({"_id": identity, "path": path})
    return identity


def attach(pair: Pair, path: str, content: bytes) -> dict[str, Any]:
    """An attachment of a page with this path."""
    document = pair.source.add_attachment(content)
    pair.source.database["attachments"].update_one({"_id": document["_id"]}, {"$set": {"page": page(pair, path)}})
    return document


async def test_attachments_and_files_that_do_not_fit_together(pair: Pair) -> None:
    kept = pair.source.add_attachment(b"kept")
    pair.source.add_attachment(b"portrait", page=False)
    gone = pair.source.add_attachment(b"gone")
    (pair.source.uploads / "attachment" / gone["fileName"]).unlink()
    pair.source.database["attachments"].insert_many(
        [{"fileName": kept["fileName"], "page": bson.ObjectId()}, {"fileName": "a:b"}, {"fileName": 7}, {}]
    )
    for folder, name in (("attachment", "0"), ("attachment", "zz"), ("user", "m")):
        (pair.source.uploads / folder / name).write_bytes(b"orphan")
    report = await look(pair)
    details = found(report)
    assert details["attachment_file_missing"] == {"count": 1, "files": [gone["fileName"]]}
    assert details["attachment_name_duplicate"] == {"count": 1, "files": [kept["fileName"]]}
    assert details["name_illegal"]["count"] == 3
    orphans = details["file_without_attachment"]
    assert (orphans["count"], orphans["bytes"]) == (3, 18)
    assert sorted(orphans["files"]) == ["attachment/0", "attachment/zz", "user/m"]
    counts = report["counts"]
    assert (counts["attachments"], counts["attachments_moving"], counts["attachment_bytes"]) == (7, 3, 16)
    assert {one["reason"]: one["files"] for one in report["files_not_moving"]} == {
        "attachment_file_missing": 1,
        "name_illegal": 3,
        "file_without_attachment": 3,
    }


async def test_files_in_a_database_are_held_against_their_documents_too(
    tmp_path: Path, mongo_uri: str, mongo_uri_destination: str, mongo_database_name: str
) -> None:
    source, destination = (mongo_uri, mongo_database_name), (mongo_uri_destination, mongo_database_name)
    async with open_pair(tmp_path, source, destination, of_source={"FILE_UPLOAD": "mongodb"}) as pair:
        await look(pair)  # nothing is there, and nothing is missed
        pair.source.database["attachments"].insert_many([{"fileName": name, "page": None} for name in ("b", "d")])
        pair.source.database["attachmentFiles.files"].insert_many(
            [{"filename": name, "length": 3, "chunkSize": 1, "uploadDate": None} for name in ("a", "b", "b", "b", "c")]
        )
        details = found(await look(pair))
        pair.destination.database.client.drop_database(mongo_database_name)
    assert details["attachment_file_missing"]["files"] == ["d"]
    assert details["file_without_attachment"]["files"] == ["attachment/a", "attachment/c"]
    assert details["file_stored_twice"] == {"count": 1, "older": 2, "files": ["attachment/b"]}


async def test_documents_that_the_destination_would_refuse(pair: Pair, mongo_uri: str) -> None:
    pair.source.database["odd"].insert_many([{"_id": one} for one in ({"a": {"b": 1}}, "$", bson.MinKey(), None)])
    refused = [[1, 2], bson.Regex("x"), {"a": [{"$b": 1}]}]
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        for one in refused:
            name = f"{pair.source.database.name}.odd"
            client.admin.command({"applyOps": [{"op": "i", "ns": name, "o": {"_id": one}}]})
    details = found(await look(pair))["document_not_storable"]
    assert details["count"] == 3
    assert {one["collection"] for one in details["documents"]} == {"odd"}
    assert {one["reason"].split()[-1] for one in details["documents"]} == {"array", "regex", "$"}
    details = found(await look(pair, exclude_collections=("odd", "od")))
    assert "document_not_storable" not in details
    assert details["excluded_collection_missing"]["collections"] == ["od"]


async def test_the_destination_tells_its_clock_and_its_room(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.source.add_attachment(b"x" * 1000)
    report = await look(pair)
    told = report["destination"]["transfer"]
    assert told["database_free_bytes"] > 0
    assert told["free_bytes"] > 0
    assert report["bytes_per_second"] > 0
    assert report["expected_seconds"] > 0
    assert not {"clock_difference", "destination_space_insufficient"} & set(found(report))
    original = InstanceInfo.read

    async def elsewhere(info: InstanceInfo) -> Any:
        read = await original(info)
        assert read.transfer is not None
        assert read.transfer.now is not None
        late = read.transfer.now - timedelta(hours=2).total_seconds()
        return read.model_copy(update={"transfer": read.transfer.model_copy(update={"now": late, "free_bytes": 999})})

    monkeypatch.setattr(InstanceInfo, "read", elsewhere)
    details = found(await look(pair))
    assert -7201 <= details["clock_difference"]["seconds"] <= -7199
    assert details["destination_space_insufficient"] == {"what": "attachments", "required": 1000, "free": 999}


async def test_what_is_left_out_by_page_path(pair: Pair) -> None:
    kept = attach(pair, "/a", b"kept")
    portrait = pair.source.add_attachment(b"portrait", page=False)
    away = [attach(pair, path, b"away") for path in ("/trash", "/trash/b/c", "/user/alice/drafts/x")]
    patterns = ("/trash/", "/user/*/drafts")
    report = await look(pair, exclude_paths=patterns)
    counts = report["counts"]
    assert (counts["attachments"], counts["attachments_excluded"], counts["attachments_excluded_bytes"]) == (5, 3, 12)
    assert report["excluded_paths"] == ["/trash", "/user/*/drafts"]
    assert report["files_not_moving"][0]["reason"] == "excluded"
    key = await pair.key()
    row = await pair.push(key, exclude_paths=patterns, commit=False)
    assert row.position.state is State.READY, row.facts
    assert row.facts["progress"]["files"] == {"done": 2, "total": 5, "failed": 0, "skipped": 3}
    with pytest.raises(SetupDiffers, match=r"/user/\*/drafts") as refusal:
        await pair.push(key, exclude_paths=("/trash",))
    assert refusal.value.details["different"] == ["excluded_paths"]
    row = await pair.push(key, exclude_paths=patterns)
    assert row.position.state is State.COMPLETED
    assert row.facts["progress"]["files"] == {"done": 2, "total": 5, "failed": 0, "skipped": 3}
    assert pair.from_source.pusher is not None
    receipt = (await pair.from_source.pusher.receipt(row.id))["receipt"]
    assert (receipt["skipped_files"], receipt["failed_files"]) == (3, 0)
    assert {(one["reason"], one["bytes"]) for one in receipt["skipped"]} == {("excluded", 4)}
    assert [one["code"] for one in receipt["accepted_warnings"]] == [
        one["code"] for one in row.facts["accepted_warnings"]
    ]
    names = {path.partition("/")[2] for path in pair.destination.files()}
    assert names == {kept["fileName"], portrait["fileName"]}
    # The documents are all there: the wiki shows the files as missing, and a later push can bring them.
    assert pair.destination.documents("attachments") == pair.source.documents("attachments")
    row = await pair.push()
    assert {one["fileName"] for one in away} < {path.partition("/")[2] for path in pair.destination.files()}


async def test_a_page_that_leaves_the_excluded_part_takes_its_files_along(pair: Pair) -> None:
    away = attach(pair, "/trash/a", b"away")
    row = await pair.push(exclude_paths=("/trash",), commit=False)
    assert pair.destination.files() == {}
    pair.source.database["pages"].update_one({"path": "/trash/a"}, {"$set": {"path": "/a"}})
    assert pair.from_source.pusher is not None
    await pair.from_source.pusher.verify(row.id)
    row = await pair.wait(row.id)
    assert row.position.state is State.READY, row.facts
    assert pair.destination.files() == {f"attachment/{away['fileName']}": b"away"}


async def test_the_plan_and_what_was_accepted_are_kept_with_the_transfer(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[PushOptions] = []
    original = Preflight.run

    async def run(preflight: Preflight, peer: Any, options: PushOptions) -> Any:
        looks.append(options)
        return await original(preflight, peer, options)

    monkeypatch.setattr(Preflight, "run", run)
    pair.source.database["pages"].insert_many([{"path": f"/{number}"} for number in range(5)])
    pair.source.database["sessions"].insert_one({})
    key = await pair.key()
    pusher = pair.from_source.pusher
    assert pusher is not None
    report = await pusher.preflight(key, PushOptions())
    with pytest.raises(Blocked):
        await pusher.start(key, PushOptions())
    assert len(looks) == 2, "what was not accepted is looked at again"
    codes = tuple(one["code"] for one in report["warnings"])
    row = await pair.push(key, accept_all=False, accept_warnings=codes)
    assert row.position.state is State.COMPLETED
    assert len(looks) == 2, "what was shown and accepted is not looked at again"
    plan = row.facts["plan"]
    assert {"name": "pages", "kind": "collection", "documents": 5, "bytes": plan["counts"]["document_bytes"]} in plan[
        "collections"
    ]
    assert {one["name"]: one["reason"] for one in plan["not_moving"]}["sessions"] == "operating_state"
    kept = row.facts["accepted_warnings"]
    assert [one["code"] for one in kept] == list(codes)
    assert [one["message"] for one in kept] == [one["message"] for one in report["warnings"]]


async def test_looking_writes_nothing(pair: Pair) -> None:
    pair.source.add_attachment(b"content")

    def state() -> list[Any]:
        return [
            (
                sorted(one.database.list_collection_names()),
                {name: one.documents(name) for name in ("attachments", "growi_transfer_transfers")},
                one.files(),
            )
            for one in (pair.source, pair.destination)
        ]

    before = state()
    await look(pair)
    assert state() == before
