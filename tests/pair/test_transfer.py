"""A whole transfer, from key to commit, and the ways back."""

from __future__ import annotations

import bson
import pytest
from tests.pair.instances import Pair

from growi_transfer.ledger.base import ItemState, Role
from growi_transfer.protocol.errors import Blocked, StateConflict
from growi_transfer.protocol.machine import State
from growi_transfer.pusher.options import PushOptions


def fill(pair: Pair) -> None:
    database = pair.source.database
    database["pages"].insert_many([{"path": f"/p{number}", "n": number} for number in range(500)])
    database["pages"].create_index("path", unique=True)
    database["empty"].create_index("a")
    database["configs"].insert_one({"key": "app:title", "value": '"source"'})
    database["sessions"].insert_one({"secret": 1})
    for number in range(5):
        pair.source.add_attachment(bytes([number]) * (1000 * number))
    pair.destination.database["pages"].insert_one({"path": "/former"})
    pair.destination.database["only_here"].insert_one({"x": 1})
    pair.destination.database["sessions"].insert_one({"kept": 1})
    pair.destination.database["configs"].insert_one({"key": "app:siteUrl", "value": '"http://mine"'})


async def test_everything_arrives_and_can_be_rolled_back(pair: Pair) -> None:
    fill(pair)
    before = {name: pair.destination.documents(name) for name in ("pages", "only_here", "configs")}
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts
    for name in ("pages", "attachments", "empty"):
        assert pair.destination.documents(name) == pair.source.documents(name)
        assert pair.destination.indexes(name) == pair.source.indexes(name)
    assert pair.destination.files() == pair.source.files()
    assert "only_here" not in pair.destination.database.list_collection_names()
    assert [one["kept"] for one in pair.destination.database["sessions"].find()] == [1]
    configs = {one["key"]: one["value"] for one in pair.destination.database["configs"].find()}
    assert configs == {"app:title": '"source"', "app:siteUrl": '"http://mine"', "app:isMaintenanceMode": "true"}
    assert {one["key"] for one in row.facts["told"]["rewritten"]} == {"app:siteUrl", "app:isMaintenanceMode"}
    assert row.facts["receipt"]["verified"]["attachments"] == 5
    assert not pair.destination.own_collections()

    receiver = pair.to_destination.receiver
    assert receiver is not None
    answer = await receiver.rollback(row.id, epoch=None)
    assert answer["transfer"]["state"] == "rolled_back"
    assert {name: pair.destination.documents(name) for name in before} == before
    assert pair.destination.files() == {}
    await receiver.purge(row.id)
    assert not pair.destination.own_collections("growi_transfer_s_")
    assert not pair.destination.own_collections("growi_transfer_f_")


async def test_every_row_is_verified_at_the_end(pair: Pair) -> None:
    fill(pair)
    row = await pair.push()
    for ledger, role in ((pair.from_source.ledger, Role.PUSHER), (pair.to_destination.ledger, Role.RECEIVER)):
        for totals in (await ledger.file_totals(role, row.id), await ledger.range_totals(role, row.id)):
            assert {state for state, total in totals.items() if total.rows} == {ItemState.VERIFIED}


async def test_without_commit_the_destination_shows_its_former_data(pair: Pair) -> None:
    fill(pair)
    key = await pair.key()
    row = await pair.push(key, commit=False)
    assert row.position.state is State.READY
    assert pair.destination.database["pages"].count_documents({}) == 1
    again = await pair.push(key)
    assert (again.id, again.position.state) == (row.id, State.COMPLETED)
    assert pair.destination.database["pages"].count_documents({}) == 500


async def test_cancel_leaves_the_destination_as_it_was(pair: Pair) -> None:
    fill(pair)
    before = pair.destination.documents("pages")
    row = await pair.push(commit=False)
    pusher = pair.from_source.pusher
    assert pusher is not None
    answer = await pusher.cancel(row.id)
    assert answer["transfer"]["state"] == "cancelled"
    assert pair.destination.documents("pages") == before
    assert not pair.destination.own_collections("growi_transfer_s_")
    assert pair.destination.files() == {}
    assert (await pair.push()).position.state is State.COMPLETED


async def test_the_same_key_again_means_the_same_transfer(pair: Pair) -> None:
    fill(pair)
    key = await pair.key()
    first = await pair.push(key)
    second = await pair.push(key)
    assert first.id == second.id
    assert len(await pair.from_source.ledger.list_transfers(Role.PUSHER)) == 1


async def test_a_second_transfer_replaces_the_first(pair: Pair) -> None:
    fill(pair)
    await pair.push()
    pair.source.database["pages"].update_one({"n": 7}, {"$set": {"n": -7}})
    pair.source.add_attachment(b"new")
    row = await pair.push()
    assert row.position.state is State.COMPLETED
    assert pair.destination.documents("pages") == pair.source.documents("pages")
    assert pair.destination.files() == pair.source.files()


async def test_a_file_with_another_content_waits_aside_until_the_commit(pair: Pair) -> None:
    document = pair.source.add_attachment(b"the source's")
    there = pair.destination.uploads / "attachment" / document["fileName"]
    there.parent.mkdir()
    there.write_bytes(b"the former..")
    row = await pair.push(commit=False)
    assert there.read_bytes() == b"the former.."
    pusher, receiver = pair.from_source.pusher, pair.to_destination.receiver
    assert pusher is not None
    assert receiver is not None
    await pusher.commit(row.id)
    await pair.wait(row.id)
    assert there.read_bytes() == b"the source's"
    await receiver.rollback(row.id, epoch=None)
    assert there.read_bytes() == b"the former.."


async def test_a_missing_source_file_needs_consent_and_is_never_silent(pair: Pair) -> None:
    document = pair.source.add_attachment(b"gone")
    pair.source.add_attachment(b"there")
    (pair.source.uploads / "attachment" / document["fileName"]).unlink()
    key = await pair.key()
    pusher = pair.from_source.pusher
    assert pusher is not None
    report = await pusher.preflight(key, PushOptions())
    others = tuple(one["code"] for one in report["warnings"] if one["code"] != "attachment_file_missing")
    assert len(others) < len(report["warnings"])
    with pytest.raises(Blocked, match="attachment_file_missing"):
        await pusher.start(key, PushOptions(accept_warnings=others))
    row = await pair.push(key)
    assert row.position.state is State.COMPLETED
    assert row.facts["progress"]["files"] == {"done": 1, "total": 2, "failed": 0, "skipped": 1}
    [kept] = [one for one in row.facts["accepted_warnings"] if one["code"] == "attachment_file_missing"]
    assert kept["details"]["count"] == 1
    assert set(kept) == {"code", "message", "details", "accepted_at"}


async def test_a_cancelled_transfer_needs_a_new_key(pair: Pair) -> None:
    fill(pair)
    key = await pair.key()
    row = await pair.push(key, commit=False)
    assert pair.from_source.pusher is not None
    await pair.from_source.pusher.cancel(row.id)
    with pytest.raises(StateConflict, match="cancelled"):
        await pair.push(key)


async def test_an_id_at_every_end_of_the_order_arrives(pair: Pair) -> None:
    ids = [bson.MinKey(), None, -1, 1.5, bson.Int64(3), "text", {"a": 1}, b"bytes", bson.ObjectId(), True]
    ids.append(bson.MaxKey())
    pair.source.insert_raw("mixed", [bson.encode({"_id": one, "filler": "x" * 9_000_000}) for one in ids])
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts
    assert pair.destination.documents("mixed") == pair.source.documents("mixed")


async def test_rules_look_at_every_setting_and_user(pair: Pair) -> None:
    """More documents than one batch of a cursor, on both sides."""
    source, destination = pair.source.database, pair.destination.database
    source["configs"].insert_many([{"key": f"markdown:{number}", "value": "1"} for number in range(500)])
    source["configs"].insert_one({"key": "aws:s3Bucket", "value": '"theirs"'})
    destination["configs"].insert_many([{"key": f"gcs:{number}", "value": "2"} for number in range(500)])
    names = [f"admin{number}" for number in range(300)]
    for database, password in ((source, "theirs"), (destination, "ours")):
        database["users"].create_index("username", unique=True)
        database["users"].insert_many(
            [{"username": name, "admin": True, "status": 2, "password": password} for name in names]
        )
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    configs = {one["key"]: one["value"] for one in destination["configs"].find()}
    assert sum(key.startswith("gcs:") for key in configs) == 500
    assert sum(key.startswith("markdown:") for key in configs) == 500
    assert "aws:s3Bucket" not in configs
    users = {one["username"]: one["password"] for one in destination["users"].find()}
    assert users == dict.fromkeys(names, "theirs") | {f"{name}-rescued": "ours" for name in names}
    assert len(row.facts["told"]["rescue"]["rescued"]) == 300
