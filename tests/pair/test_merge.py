"""Two wikis become one: what is in both, what is renamed, and what a rollback brings back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from bson import ObjectId
from tests.pair.instances import Pair
from tests.pair.wikis import NOW, Wiki, faults

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.errors import CommitFailed
from growi_transfer.protocol.machine import State
from growi_transfer.pusher.options import PushOptions
from growi_transfer.receiver.merge import steps
from growi_transfer.receiver.merge.build import Builder


def picture(pair: Pair) -> Mapping[str, Any]:
    """Everything of the destination that people see."""
    database = pair.destination.database
    names = [name for name in database.list_collection_names() if not name.startswith(("growi_transfer_", "system."))]
    return {
        "documents": {name: pair.destination.documents(name) for name in sorted(names)},
        "indexes": {name: pair.destination.indexes(name) for name in sorted(names)},
        "files": pair.destination.files(),
    }


def paths(pair: Pair) -> list[str]:
    return sorted(page["path"] for page in pair.destination.database["pages"].find())


async def check_receipt(pair: Pair, transfer_id: str) -> None:
    """The receipt says what is there now."""
    receiver = pair.to_destination.receiver
    assert receiver is not None
    receipt = await receiver.receipt(transfer_id)
    assert receipt["receipt"]["merged"]["collections"]
    verdict = await pair.to_destination.recheck.check(orjson.dumps(receipt), data=True)
    assert verdict["ok"], verdict["data"]


async def merge(pair: Pair, **rules: Any) -> dict[str, Any]:
    """Merge, and check what always has to hold; what was told."""
    row = await pair.push(merge=rules)
    assert row.position.state is State.COMPLETED, row.facts
    await check_receipt(pair, row.id)
    assert faults(pair.destination.database) == []
    assert pair.destination.own_collections() == []
    return dict(row.facts["told"]["merge"])


def two_wikis(pair: Pair) -> tuple[Wiki, Wiki, dict[str, ObjectId]]:
    """Both have `admin` (another person each), `ann` (the same person), a group, a tag, and pages of one path."""
    there, here = Wiki(pair.destination.database), Wiki(pair.source.database)
    ids: dict[str, ObjectId] = {}
    ids["there admin"] = there.user("admin", "admin@there.example", admin=True)
    ids["there ann"] = there.user("ann", "ann@example.com", slackMemberId="U1")
    ids["there group"] = there.group("staff", ids["there admin"], ids["there ann"])
    ids["there both"] = there.page("/both", ids["there admin"], "theirs")
    there.page("/both/theirs", ids["there ann"])
    there.comment(ids["there both"], ids["there ann"])
    there.tag("howto", ids["there both"])
    there.put("configs", key="app:title", value='"There"')
    there.put("useruisettings", user=ids["there ann"], currentSidebarContents="tree")
    there.put("pageredirects", fromPath="/old", toPath="/both")
    there.grow()
    ids["admin"] = here.user("admin", "admin@here.example", admin=True)
    ids["ann"] = here.user("ann", "ann@example.com")
    ids["bob"] = here.user("bob", "bob@example.com", slackMemberId="U1")
    ids["group"] = here.group("staff", ids["bob"], ids["ann"])
    here.group("inner", ids["bob"], parent=ids["group"])
    ids["both"] = here.page("/both", ids["ann"], "ours")
    ids["ours"] = here.page("/both/ours", ids["bob"], f"see [it](/{ids['both']})", liker=[ids["ann"]])
    ids["deep"] = here.page("/deep/er/page", ids["ann"], grantedUsers=[ids["ann"]], grant=4)
    groups = [{"type": "UserGroup", "item": ids["group"], "_id": ObjectId()}]
    here.page("/for the group", ids["bob"], grant=5, grantedGroups=groups)
    here.page("/user/bob", ids["bob"])
    here.page("/user/admin", ids["admin"])
    here.page("/by link", ids["bob"], grant=2)
    here.page("/trash/gone", ids["bob"], status="deleted", deleteUser=ids["ann"])
    here.comment(ids["both"], ids["ann"])
    here.comment(ids["ours"], ids["ann"])
    here.tag("howto", ids["both"], ids["ours"])
    here.tag("ours", ids["ours"])
    for page in ("both", "ours"):
        for user in ("ann", "bob"):
            bookmark = here.put("bookmarks", page=ids[page], user=ids[user], createdAt=NOW)
    here.put("bookmarkfolders", name="b", owner=ids["bob"], parent=None, bookmarks=[bookmark])
    here.put("useruisettings", user=ids["ann"], currentSidebarContents="custom")
    here.put("subscriptions", user=ids["ann"], target=ids["both"], targetModel="Page", status="SUBSCRIBE")
    here.put("sharelinks", relatedPage=ids["ours"], expiredAt=None)
    here.put("accesstokens", user=ids["ann"], tokenHash="a", expiredAt=NOW)
    here.put("accesstokens", user=ids["bob"], tokenHash="b", expiredAt=NOW)
    here.put("pageredirects", fromPath="/old", toPath="/both/ours")
    here.put("configs", key="app:title", value='"Here"')
    here.put("plugin_notes", text="only here")
    here.grow()
    return here, there, ids


async def test_two_wikis_become_one(pair: Pair) -> None:
    _, _, ids = two_wikis(pair)
    assert faults(pair.source.database) == faults(pair.destination.database) == []
    before = picture(pair)
    indexes = before["indexes"]
    pusher = pair.from_source.pusher
    assert pusher is not None
    report = await pusher.preflight(await pair.key(), PushOptions(merge={}))
    assert picture(pair) == before
    assert pair.destination.own_collections() == []
    assert report["merge_conflicts"] == {
        "users": {
            "total": 2,
            "resolutions": {"rename": 1, "map": 1},
            "first": [
                {"name": "admin", "resolution": "rename", "to": "admin-imported"},
                {"name": "ann", "resolution": "map", "to": "ann"},
            ],
        },
        "groups": {"total": 1, "resolutions": {"map": 1}, "first": [{"name": "staff", "resolution": "map"}]},
        "pages": {
            "total": 2,
            "resolutions": {"skip": 2},
            "first": [{"name": "/", "resolution": "skip"}, {"name": "/both", "resolution": "skip"}],
        },
    }
    codes = {warning["code"] for warning in report["warnings"]}
    assert "merge_conflicts" in codes
    assert "destination_not_empty" not in codes
    told = await merge(pair)
    database = pair.destination.database
    users = {user["username"]: user for user in database["users"].find()}
    assert sorted(users) == ["admin", "admin-imported", "ann", "bob"]
    assert users["admin"]["_id"] == ids["there admin"]
    assert users["admin-imported"]["email"] == "admin@here.example"
    assert users["ann"]["_id"] == ids["there ann"]
    assert "slackMemberId" not in users["bob"]
    members = {one["relatedUser"] for one in database["usergrouprelations"].find({"relatedGroup": ids["there group"]})}
    assert members == {ids["there admin"], ids["there ann"], ids["bob"]}
    assert database["usergrouprelations"].count_documents({"relatedGroup": ids["there group"]}) == 3
    assert database["usergroups"].find_one({"name": "inner"})["parent"] == ids["there group"]  # type: ignore[index]
    assert paths(pair) == [
        "/", "/both", "/both/ours", "/both/theirs", "/by link", "/deep", "/deep/er", "/deep/er/page",
        "/for the group", "/trash/gone", "/user", "/user/admin-imported", "/user/bob",
    ]  # fmt: skip
    ours = database["pages"].find_one({"path": "/both/ours"})
    assert ours is not None
    assert ours["parent"] == ids["there both"]
    assert ours["liker"] == [ids["there ann"]]
    body = database["revisions"].find_one({"_id": ours["revision"]})
    assert body is not None
    assert body["body"] == f"see [it](/{ids['there both']})"
    # What belongs to the page that the destination keeps its own of does not come; what points to it follows.
    assert database["comments"].count_documents({"page": ids["there both"]}) == 1
    assert database["bookmarks"].count_documents({"page": ids["there both"]}) == 2
    assert database["subscriptions"].find_one({"user": ids["there ann"]})["target"] == ids["there both"]  # type: ignore[index]
    assert [tag["name"] for tag in database["tags"].find().sort("name")] == ["howto", "ours"]
    assert [token["tokenHash"] for token in database["accesstokens"].find()] == ["b"]
    assert database["useruisettings"].find_one({"user": ids["there ann"]})["currentSidebarContents"] == "tree"  # type: ignore[index]
    assert database["pageredirects"].find_one({"fromPath": "/old"})["toPath"] == "/both"  # type: ignore[index]
    assert database["configs"].find_one({"key": "app:title"})["value"] == '"There"'  # type: ignore[index]
    assert database["plugin_notes"].find_one()["text"] == "only here"  # type: ignore[index]
    for name, former in indexes.items():
        assert pair.destination.indexes(name) == former, name
    assert told["conflicts"] == report["merge_conflicts"]
    assert "configs" in told["untouched"]


async def test_renamed_pages_take_all_below_them_along_once_and_a_rollback_restores(pair: Pair) -> None:
    _, there, ids = two_wikis(pair)
    before = picture(pair)
    rules = {"pages": "rename", "groups": "rename", "users": "skip", "substitute": "admin"}
    row = await pair.push(merge=rules)
    assert row.position.state is State.COMPLETED, row.facts
    database = pair.destination.database
    assert faults(database) == []
    assert [user["username"] for user in database["users"].find().sort("username")] == ["admin", "ann", "bob"]
    assert paths(pair) == [
        "/", "/both", "/both-imported-1", "/both-imported-1/ours", "/both/theirs", "/by link", "/deep", "/deep/er",
        "/deep/er/page", "/for the group", "/trash/gone", "/user", "/user/admin", "/user/bob",
    ]  # fmt: skip
    renamed = there.at(ids["both"])
    assert renamed["path"] == "/both-imported-1"
    assert renamed["creator"] == ids["there admin"]
    assert there.at(ids["deep"])["grantedUsers"] == [ids["there admin"]]
    assert [group["name"] for group in database["usergroups"].find().sort("name")] == [
        "inner",
        "staff",
        "staff-imported",
    ]
    assert database["pageredirects"].count_documents({}) == 1
    assert database["comments"].count_documents({"page": ids["both"]}) == 1
    once = picture(pair)
    told = await merge(pair, **rules)
    assert picture(pair) == once
    words = {word for counts in told["collections"].values() for word in counts}
    assert words <= {"same", "kept", "mapped", "skipped", "left"}
    pusher = pair.from_source.pusher
    assert pusher is not None
    await pusher.rollback(row.id)
    assert picture(pair) == before


async def test_pages_are_overwritten_by_path_and_documents_by_id(pair: Pair) -> None:
    here, there, ids = two_wikis(pair)
    both = there.at(ids["there both"])
    # The same documents in both, as after a copy, that went their own ways; and what an index of the destination bars.
    for wiki, text in ((here, "ours"), (there, "theirs")):
        wiki.database["plugin_notes"].replace_one({"_id": 1}, {"text": text}, upsert=True)
    there.database["plugin_notes"].create_index("text", unique=True)
    there.put("plugin_notes", text="taken")
    here.put("plugin_notes", text="taken")
    there.put("externalaccounts", providerType="ldap", accountId="bob", user=ids["there ann"])
    here.put("externalaccounts", providerType="ldap", accountId="bob", user=ids["bob"])
    told = await merge(
        pair,
        pages="overwrite",
        documents="overwrite",
        groups="skip",
        users="map",
        items={"pages": {"/both/ours": "skip"}, "users": {"admin": "rename"}},
    )
    database = pair.destination.database
    page = there.at(ids["there both"])
    assert page["path"] == "/both"
    assert page["creator"] == ids["there ann"]
    assert page["commentCount"] == 2
    bodies = {one["_id"]: one["body"] for one in database["revisions"].find({"pageId": page["_id"]})}
    assert bodies == {page["revision"]: "ours", both["revision"]: "theirs"}
    assert database["pages"].find_one({"path": "/"})["_id"] == there.database["pages"].find_one({"path": "/"})["_id"]  # type: ignore[index]
    assert database["plugin_notes"].find_one({"_id": 1})["text"] == "ours"  # type: ignore[index]
    assert database["plugin_notes"].count_documents({"text": "taken"}) == 1
    assert told["conflicts"]["unique_index"]["total"] == 1
    assert "plugin_notes" in told["conflicts"]["unique_index"]["first"][0]["name"]
    # bob has the account of ann: they are one; admin is another person.
    assert sorted(user["username"] for user in database["users"].find()) == ["admin", "admin-imported", "ann"]
    assert database["pages"].find_one({"path": "/both/ours"})["creator"] == ids["there ann"]  # type: ignore[index]
    assert database["pages"].find_one({"path": "/user/ann"})["creator"] == ids["there ann"]  # type: ignore[index]
    assert database["externalaccounts"].count_documents({}) == 1
    # A page for a group that does not come is for nobody, not for everybody.
    for_group = database["pages"].find_one({"path": "/for the group"})
    assert for_group is not None
    assert (for_group["grant"], for_group["grantedGroups"]) == (5, [])


async def test_a_file_name_that_is_taken(pair: Pair) -> None:
    here, there = Wiki(pair.source.database), Wiki(pair.destination.database)
    ann, other = here.user("ann"), there.user("other")
    page, other_page = here.page("/a", ann), there.page("/b", other)
    ours, same = pair.source, pair.destination
    names = {"name": "same.bin", "other": "twice.bin", "new": "new.bin"}
    kept = ours.add_attachment(b"one content", name=names["name"])
    twice = ours.add_attachment(b"ours", name=names["other"])
    fresh = ours.add_attachment(b"new", name=names["new"])
    left = ours.add_attachment(b"left", name="left.bin")
    there_kept = same.add_attachment(b"one content", name=names["name"])
    there_twice = same.add_attachment(b"theirs", name=names["other"])
    for one in (kept, twice, fresh):
        here.database["attachments"].update_one({"_id": one["_id"]}, {"$set": {"page": page}})
    for one in (there_kept, there_twice):
        there.database["attachments"].update_one({"_id": one["_id"]}, {"$set": {"page": other_page}})
    here.database["revisions"].update_one({"pageId": page}, {"$set": {"body": f"![](/attachment/{kept['_id']})"}})
    here.grow()
    there.grow()
    top = here.database["pages"].find_one({"path": "/"})
    assert top is not None
    here.database["attachments"].update_one({"_id": left["_id"]}, {"$set": {"page": top["_id"]}})
    before = picture(pair)
    row = await pair.push(merge={})
    assert row.position.state is State.COMPLETED, row.facts
    database = pair.destination.database
    assert faults(database) == []
    await check_receipt(pair, row.id)
    names_now = {one["_id"]: one["fileName"] for one in database["attachments"].find()}
    assert set(names_now) == {there_kept["_id"], there_twice["_id"], twice["_id"], fresh["_id"]}
    contents = {name: content for name, content in pair.destination.files().items() if "/." not in name}
    assert contents == {
        "attachment/same.bin": b"one content",
        "attachment/twice.bin": b"theirs",
        f"attachment/{names_now[twice['_id']]}": b"ours",
        "attachment/new.bin": b"new",
    }
    assert database["revisions"].find_one({"pageId": page})["body"] == f"![](/attachment/{there_kept['_id']})"  # type: ignore[index]
    pusher = pair.from_source.pusher
    assert pusher is not None
    await pusher.rollback(row.id)
    assert picture(pair) == before


class Crash(Exception):
    """What `kill -9` is to a process."""


async def test_a_crash_and_a_write_in_the_middle_lose_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    _, there, ids = two_wikis(pair)
    # GROWI's index deletes drafts two days after this.
    expiring = there.page("/draft", ids["there ann"], wip=True, ttlTimestamp=datetime.now(UTC) - timedelta(hours=46))
    there.grow()
    before = picture(pair)
    build, check = Builder.build, steps.check_unchanged
    calls = 0

    async def crashing(self: Builder, name: str, staged: str, copy: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise Crash
        await build(self, name, staged, copy)

    monkeypatch.setattr(Builder, "build", crashing)
    key = await pair.key()
    row = await pair.push(key, merge={}, commit=False)
    assert row.position.state is State.READY
    receiver = pair.to_destination.receiver
    assert receiver is not None
    with pytest.raises(Crash):
        await receiver.commit(row.id, epoch=None)
    assert picture(pair) == before
    # A staged collection that is gone is not taken for an empty one.
    rows = await pair.to_destination.ledger.collections(Role.RECEIVER, row.id)
    [staging] = [one.staging for one in rows if one.name == "tags"]
    there.database[staging].rename("aside")
    with pytest.raises(CommitFailed):
        await receiver.commit(row.id, epoch=None)
    there.database["aside"].rename(staging)

    async def written(database: Any, formers: Any) -> None:
        there.page("/written meanwhile", ids["there ann"], _id=meanwhile, revision=None)
        [pages] = [former for former in formers if former["live"] == "pages"]
        document = there.database["pages"].find_one_and_delete({"_id": meanwhile})
        there.database[pages["name"]].insert_one(document)
        await check(database, formers)

    meanwhile = ObjectId()
    monkeypatch.setattr("growi_transfer.receiver.commit.check_unchanged", written)
    row = await pair.push(key, merge={})
    assert row.position.state is not State.COMPLETED
    assert row.facts["error"]["code"] == "destination_changed"
    assert meanwhile in {page["_id"] for page in there.database["pages"].find()}
    assert paths(pair) == ["/", "/both", "/both/theirs", "/draft", "/written meanwhile"]

    async def expired(database: Any, formers: Any) -> None:
        [pages] = [former for former in formers if former["live"] == "pages"]
        assert there.database[pages["name"]].delete_one({"_id": expiring}).deleted_count == 1
        await check(database, formers)

    monkeypatch.setattr("growi_transfer.receiver.commit.check_unchanged", expired)
    there.database["pages"].delete_one({"_id": meanwhile})
    row = await pair.push(key, merge={})
    assert row.position.state is State.COMPLETED, row.facts
    assert faults(there.database) == []
    assert "/both/ours" in paths(pair)
    assert pair.destination.own_collections() == []
