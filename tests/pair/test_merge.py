"""Two wikis become one: what is in both, what is renamed, and what a rollback brings back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from tests.pair.instances import Pair
from tests.pair.wikis import NOW, Wiki, faults

from growi_transfer.protocol.machine import State


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


async def merge(pair: Pair, **rules: Any) -> dict[str, Any]:
    """Merge, and check what always has to hold; what was told."""
    row = await pair.push(merge=rules)
    assert row.position.state is State.COMPLETED, row.facts
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
    assert told["conflicts"]["users"]["resolutions"] == {"rename": 1, "map": 1}
    assert told["conflicts"]["pages"]["first"] == [
        {"name": "/", "resolution": "skip"},
        {"name": "/both", "resolution": "skip"},
    ]
    assert "configs" in told["untouched"]


async def test_the_same_wiki_again_changes_nothing(pair: Pair) -> None:
    two_wikis(pair)
    await merge(pair, pages="rename")
    once = picture(pair)
    told = await merge(pair, pages="rename")
    assert picture(pair) == once
    assert all(set(counts) <= {"same", "kept", "mapped", "skipped", "left"} for counts in told["collections"].values())
