"""The comparison that judges the demo finds every kind of damage, and nothing where nothing is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bson import Int64, Timestamp
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from gridfs import GridFSBucket
from pymongo import MongoClient
from pymongo.database import Database

from growi_transfer.demo.compare import STAYS, Expected, Side, compare, remember
from growi_transfer.demo.destination import make_destination
from growi_transfer.demo.plugin import ZERO_TIMESTAMP_ID
from growi_transfer.demo.rewrites import ABSENT, ANY, FORMER, Action, Rewrite
from growi_transfer.demo.wiki import WikiSize, make_wiki

RAW = CodecOptions(RawBSONDocument)
SIZE = WikiSize(pages=40, revisions=2, attachments=12, attachment_size=2000, body_size=300)


def uri_of(server: str, database: str) -> str:
    return server.replace("/growi?", f"/{database}?")


def copy_database(source: Database[Any], destination: Database[Any]) -> None:
    """Plain and slow: all raw documents of a collection at once, options and indexes from the catalog."""
    for found in source.with_options(RAW).list_collections():
        name = found["name"]
        if name.startswith("system.") or name in STAYS:
            continue
        destination.command({"create": name, **found["options"]})
        if found["type"] == "view":
            continue
        documents = list(source[name].with_options(RAW).find().sort("$natural", 1))
        if documents:
            destination[name].insert_many(documents, bypass_document_validation=True)
        answer = source.command({"listIndexes": name}, codec_options=RAW)
        added = [
            index for index in answer["cursor"]["firstBatch"] if index["name"] != "_id_" and "clustered" not in index
        ]
        if added:
            destination.command({"createIndexes": name, "indexes": added})
    zero = {"_id": ZERO_TIMESTAMP_ID, "at": Timestamp(0, 0), "n": 1}
    destination["plugin_reports"].update_one({"_id": ZERO_TIMESTAMP_ID}, [{"$replaceWith": {"$literal": zero}}])


@dataclass
class Pair:
    source: Side
    destination: Side
    theirs: Database[Any]
    """The destination's database."""
    ours: Database[Any]

    @property
    def uploads(self) -> Path:
        assert self.destination.uploads is not None
        return self.destination.uploads

    def findings(self, expected: Expected | None = None) -> list[str]:
        return compare(self.source, self.destination, expected).mismatches


@pytest.fixture(scope="module")
def pair(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two equal wikis. Whoever damages one repairs it."""
    folder = tmp_path_factory.mktemp("pair")
    names = ("compare_source", "compare_destination")
    make_wiki(uri_of(mongo_uri, names[0]), folder / names[0], SIZE)
    shutil.copytree(folder / names[0], folder / names[1])
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        copy_database(client[names[0]], client[names[1]])
        sides = [Side(mongo_uri, name, folder / name) for name in names]
        yield Pair(sides[0], sides[1], client[names[1]], client[names[0]])
        for name in names:
            client.drop_database(name)


def test_equal_wikis_have_no_difference(pair: Pair) -> None:
    result = compare(pair.source, pair.destination)
    assert result.mismatches == []
    assert result.identical
    moved = [name for name in pair.ours.list_collection_names() if name not in STAYS and not name.startswith("system.")]
    assert result.collections == len(moved)
    tables = [name for name in moved if name != "plugin_public_pages"]
    assert result.documents == sum(pair.ours[name].count_documents({}) for name in tables)
    assert result.indexes == sum(len(list(pair.ours[name].list_indexes())) for name in tables)
    assert result.document_bytes > 40 * 2 * 300 // 2
    assert result.attachments == 12
    assert pair.source.uploads is not None
    files = [path for path in pair.source.uploads.rglob("*") if path.is_file()]
    assert result.attachment_bytes == sum(path.stat().st_size for path in files)


Damage = Callable[[Pair], Iterator[str]]


def flip_byte(pair: Pair) -> Iterator[str]:
    before = pair.theirs["revisions"].find_one(sort=[("_id", 1)], skip=30)
    assert before is not None
    body = before["body"]
    pair.theirs["revisions"].update_one({"_id": before["_id"]}, {"$set": {"body": chr(ord(body[0]) ^ 1) + body[1:]}})
    yield f"revisions {before['_id']}: differs in body"
    pair.theirs["revisions"].replace_one({"_id": before["_id"]}, before)


def change_type(pair: Pair) -> Iterator[str]:
    one = pair.theirs["pages"].find_one({"path": "/"})
    assert one is not None
    pair.theirs["pages"].update_one({"_id": one["_id"]}, {"$set": {"__v": Int64(0)}})
    yield f"pages {one['_id']}: differs in __v"
    pair.theirs["pages"].update_one({"_id": one["_id"]}, {"$set": {"__v": 0}})


def change_order_of_fields(pair: Pair) -> Iterator[str]:
    one = pair.theirs["tags"].find_one(sort=[("_id", 1)])
    assert one is not None
    pair.theirs["tags"].replace_one({"_id": one["_id"]}, {"__v": one["__v"], "name": one["name"]})
    yield f"tags {one['_id']}: differs in the order of fields"
    pair.theirs["tags"].replace_one({"_id": one["_id"]}, one)


def drop_document(pair: Pair) -> Iterator[str]:
    last = pair.theirs["revisions"].find_one_and_delete({}, sort=[("_id", -1)])
    yield f"revisions {last['_id']}: missing at the destination"
    pair.theirs["revisions"].insert_one(last)


def drop_document_with_an_odd_id(pair: Pair) -> Iterator[str]:
    gone = pair.theirs["plugin_reports"].find_one_and_delete({"_id": {"b": 1, "a": [2]}})
    assert gone is not None
    yield "plugin_reports {'b': 1, 'a': [2]}: missing at the destination"
    pair.theirs["plugin_reports"].insert_one(gone)


def add_document(pair: Pair) -> Iterator[str]:
    pair.theirs["comments"].insert_one({"_id": "extra"})
    yield "comments extra: only at the destination"
    pair.theirs["comments"].delete_one({"_id": "extra"})


def retype_id(pair: Pair) -> Iterator[str]:
    gone = pair.theirs["plugin_reports"].find_one_and_delete({"_id": 0})
    assert gone is not None
    pair.theirs["plugin_reports"].insert_one({**gone, "_id": 0.0})
    yield "plugin_reports 0.0: has another _id at the source"
    pair.theirs["plugin_reports"].delete_one({"_id": 0})
    pair.theirs["plugin_reports"].insert_one(gone)


def push_out_of_the_capped(pair: Pair) -> Iterator[str]:
    documents = list(pair.theirs["plugin_log"].find().sort("$natural", 1))
    pair.theirs["plugin_log"].insert_many(
        [{**documents[0], "_id": "x"}, *[{**one, "_id": f"x{n}"} for n, one in enumerate(documents)]]
    )
    yield "plugin_log: differs at position 0 of its natural order"
    pair.theirs["plugin_log"].drop()
    options = pair.ours["plugin_log"].options()
    pair.theirs.create_collection("plugin_log", **options)
    pair.theirs["plugin_log"].create_index("level")
    pair.theirs["plugin_log"].insert_many(documents)


def drop_index(pair: Pair) -> Iterator[str]:
    pair.theirs["pages"].drop_index("ttlTimestamp_1")
    yield "index ttlTimestamp_1 of pages: missing at the destination"
    pair.theirs["pages"].create_index("ttlTimestamp", expireAfterSeconds=172_800)


def add_index(pair: Pair) -> Iterator[str]:
    pair.theirs["pages"].create_index("extra")
    yield "index extra_1 of pages: only at the destination"
    pair.theirs["pages"].drop_index("extra_1")


def change_ttl(pair: Pair) -> Iterator[str]:
    change = {"collMod": "activities", "index": {"name": "createdAt_1", "expireAfterSeconds": 2_592_001}}
    pair.theirs.command(change)
    yield "index createdAt_1 of activities: expireAfterSeconds differs"
    pair.theirs.command({**change, "index": {"name": "createdAt_1", "expireAfterSeconds": 2_592_000}})


def lose_index_option(pair: Pair) -> Iterator[str]:
    pair.theirs["users"].drop_index("email_1")
    pair.theirs["users"].create_index("email", background=True, sparse=True)
    yield "index email_1 of users: unique is missing at the destination"
    pair.theirs["users"].drop_index("email_1")
    pair.theirs["users"].create_index("email", background=True, sparse=True, unique=True)


def swap_index_keys(pair: Pair) -> Iterator[str]:
    pair.theirs["activities"].drop_index("target_1_action_1")
    pair.theirs["activities"].create_index([("action", 1), ("target", 1)], background=True, name="target_1_action_1")
    yield "index target_1_action_1 of activities: key differs"
    pair.theirs["activities"].drop_index("target_1_action_1")
    pair.theirs["activities"].create_index([("target", 1), ("action", 1)], background=True)


def change_validator(pair: Pair) -> Iterator[str]:
    validator = pair.ours["plugin_contacts"].options()["validator"]
    pair.theirs.command({"collMod": "plugin_contacts", "validator": {}})
    yield "collection plugin_contacts: validator is missing at the destination"
    pair.theirs.command({"collMod": "plugin_contacts", "validator": validator})


def change_view(pair: Pair) -> Iterator[str]:
    options = pair.ours["plugin_public_pages"].options()
    pair.theirs.command({"collMod": "plugin_public_pages", "viewOn": "pages", "pipeline": []})
    yield "collection plugin_public_pages: pipeline differs"
    pair.theirs.command({"collMod": "plugin_public_pages", "viewOn": "pages", "pipeline": options["pipeline"]})


def drop_collection(pair: Pair) -> Iterator[str]:
    pair.theirs["editorsettings"].drop()
    yield "collection editorsettings: missing at the destination"
    pair.theirs.create_collection("editorsettings")


def add_collection(pair: Pair) -> Iterator[str]:
    pair.theirs.create_collection("extra")
    yield "collection extra: only at the destination"
    pair.theirs["extra"].drop()


def uncap_collection(pair: Pair) -> Iterator[str]:
    pair.theirs["inappnotificationsettings"].drop()
    pair.theirs.create_collection("inappnotificationsettings", capped=True, size=4096)
    yield "collection inappnotificationsettings: capped is only at the destination"
    pair.theirs["inappnotificationsettings"].drop()
    pair.theirs.create_collection("inappnotificationsettings")


def move_operating_state(pair: Pair) -> Iterator[str]:
    one = pair.ours["sessions"].find_one()
    assert one is not None
    pair.theirs["sessions"].insert_one(one)
    yield f"sessions {one['_id']}: moved, though it is the source's own state"
    pair.theirs["sessions"].drop()


def some_file(pair: Pair) -> Path:
    return max((path for path in (pair.uploads / "attachment").iterdir()), key=lambda path: path.stat().st_size)


def truncate_file(pair: Pair) -> Iterator[str]:
    path = some_file(pair)
    before = path.read_bytes()
    path.write_bytes(before[:-1])
    yield f"file attachment/{path.name}: differs from byte {len(before) - 1} on"
    path.write_bytes(before)


def flip_byte_of_file(pair: Pair) -> Iterator[str]:
    path = some_file(pair)
    before = path.read_bytes()
    at = 3_000_000
    path.write_bytes(before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :])
    yield f"file attachment/{path.name}: differs from byte {at} on"
    path.write_bytes(before)


def delete_file(pair: Pair) -> Iterator[str]:
    path = some_file(pair)
    before = path.read_bytes()
    path.unlink()
    yield f"file attachment/{path.name}: missing at the destination"
    path.write_bytes(before)


def leave_a_file(pair: Pair) -> Iterator[str]:
    path = pair.uploads / "user" / "probe.growi"
    path.write_bytes(b"")
    yield "file user/probe.growi: only at the destination"
    path.unlink()


DAMAGES: list[Damage] = [
    flip_byte,
    change_type,
    change_order_of_fields,
    drop_document,
    drop_document_with_an_odd_id,
    add_document,
    retype_id,
    push_out_of_the_capped,
    drop_index,
    add_index,
    change_ttl,
    lose_index_option,
    swap_index_keys,
    change_validator,
    change_view,
    drop_collection,
    add_collection,
    uncap_collection,
    move_operating_state,
    truncate_file,
    flip_byte_of_file,
    delete_file,
    leave_a_file,
]


CONSEQUENCES: dict[Damage, int] = {push_out_of_the_capped: 20, change_view: 2, uncap_collection: 2}
"""How many differences are shown for what makes more than one."""


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_each_damage_is_found_and_nothing_else(pair: Pair, damage: Damage) -> None:
    steps = damage(pair)
    expected = next(steps)
    try:
        found = pair.findings()
    finally:
        assert next(steps, None) is None
    assert found[0] == expected
    assert len(found) == CONSEQUENCES.get(damage, 1)


def test_after_all_repairs_the_wikis_are_equal_again(pair: Pair) -> None:
    assert pair.findings() == []


def test_many_differences_are_counted_and_the_first_are_shown(pair: Pair) -> None:
    gone = list(pair.theirs["activities"].find())
    assert len(gone) > 20
    pair.theirs["activities"].delete_many({})
    try:
        result = compare(pair.source, pair.destination)
    finally:
        pair.theirs["activities"].insert_many(gone)
    assert result.mismatch_count == len(gone)
    assert len(result.mismatches) == 20


def test_a_file_missing_at_the_source_must_be_told(pair: Pair) -> None:
    assert pair.source.uploads is not None
    name = some_file(pair).name
    both = [uploads / "attachment" / name for uploads in (pair.source.uploads, pair.uploads)]
    before = both[0].read_bytes()
    for path in both:
        path.unlink()
    try:
        assert pair.findings() == [f"file attachment/{name}: missing at the source, which the transfer did not tell"]
        assert pair.findings(Expected(missing_files={f"attachment/{name}"})) == []
    finally:
        for path in both:
            path.write_bytes(before)
    told = [f"file attachment/{name}: told to be missing at the source, but it is there"]
    assert pair.findings(Expected(missing_files={f"attachment/{name}"})) == told


def test_local_files_and_gridfs_compare(pair: Pair) -> None:
    bucket = GridFSBucket(pair.theirs, bucket_name="attachmentFiles")
    for path in pair.uploads.rglob("*.*"):
        bucket.upload_from_stream(path.name, path.read_bytes())
    side = Side(pair.destination.uri, pair.destination.database, None)
    chunks = pair.theirs["attachmentFiles.chunks"]
    try:
        result = compare(pair.source, side)
        assert result.mismatches == []
        assert result.attachments == 12
        name = some_file(pair).name
        document = pair.theirs["attachmentFiles.files"].find_one({"filename": name})
        assert document is not None
        gone = chunks.find_one_and_delete({"files_id": document["_id"], "n": 3})
        found = compare(pair.source, side).mismatches
        assert found == [f"file attachment/{name}: differs from byte {3 * 261_120} on"]
        chunks.insert_one(gone)
        bucket.upload_from_stream("extra.bin", b"1")
        assert compare(pair.source, side).mismatches == ["file extra.bin: only at the destination"]
    finally:
        chunks.drop()
        pair.theirs["attachmentFiles.files"].drop()


# --- GROWI's rules ---------------------------------------------------------------------------------------------------


@dataclass
class Ruled:
    """A destination on which GROWI's rules were applied by hand, and how that is told."""

    pair: Pair
    expected: Expected


@pytest.fixture(scope="module")
def ruled(pair: Pair, mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ruled]:
    name = "compare_ruled"
    uploads = tmp_path_factory.mktemp("ruled")
    make_destination(uri_of(mongo_uri, name), uploads)
    side = Side(mongo_uri, name, uploads)
    former = remember(side)
    theirs = pair.theirs.client[name]
    operator, admin = (theirs["users"].find_one({"username": username}) for username in ("operator", "admin"))
    site = theirs["configs"].find_one({"key": "app:siteUrl"})
    lifetime = theirs["configs"].find_one({"key": "aws:lifetimeSecForTemporaryUrl"})
    assert operator is not None
    assert admin is not None
    assert site is not None
    assert lifetime is not None
    for collection in theirs.list_collection_names():
        if collection not in STAYS:
            theirs[collection].drop()
    copy_database(pair.ours, theirs)
    shutil.copytree(pair.uploads, uploads, dirs_exist_ok=True)
    configs = theirs["configs"]
    configs.update_one({"key": "app:siteUrl"}, {"$set": {"value": site["value"], "updatedAt": site["updatedAt"]}})
    configs.insert_one(lifetime)
    configs.delete_one({"key": "gcs:bucket"})
    configs.insert_one({"_id": "new", "key": "app:isMaintenanceMode", "value": "true"})
    theirs["users"].insert_one({name: value for name, value in operator.items() if name != "email"})
    theirs["users"].insert_one({**admin, "username": "admin_2"})
    rewrites = [
        Rewrite("configs", "key", "app:siteUrl", Action.KEPT, {"value": FORMER, "updatedAt": ANY}),
        Rewrite("configs", "key", "aws:lifetimeSecForTemporaryUrl", Action.KEPT),
        Rewrite("configs", "key", "gcs:bucket", Action.KEPT, {"value": FORMER}),
        Rewrite("configs", "key", "app:isMaintenanceMode", Action.SET, {"value": "true"}),
        Rewrite("users", "_id", operator["_id"], Action.ADDED, {"email": ABSENT}),
        Rewrite("users", "_id", admin["_id"], Action.ADDED, {"username": "admin_2"}),
    ]
    yield Ruled(Pair(pair.source, side, theirs, pair.ours), Expected(former, rewrites))
    theirs.client.drop_database(name)


def test_told_rewrites_are_accepted(ruled: Ruled) -> None:
    result = compare(ruled.pair.source, ruled.pair.destination, ruled.expected)
    assert result.mismatches == []
    assert result.rewritten == 6


def test_rewrites_that_are_not_told_are_differences(ruled: Ruled) -> None:
    found = ruled.pair.findings(Expected(ruled.expected.former))
    assert len(found) == 6
    assert sum("configs" in text for text in found) == 4
    assert sum("users" in text for text in found) == 2


def test_a_rewrite_that_did_more_than_it_told_is_a_difference(ruled: Ruled) -> None:
    configs = ruled.pair.theirs["configs"]
    configs.update_one({"key": "app:siteUrl"}, {"$set": {"__v": 7}})
    try:
        found = ruled.pair.findings(ruled.expected)
    finally:
        configs.update_one({"key": "app:siteUrl"}, {"$set": {"__v": 0}})
    assert found == ["configs key='app:siteUrl' (kept): not as told: __v was changed too"]


def test_a_told_value_that_is_not_there_is_a_difference(ruled: Ruled) -> None:
    users = ruled.pair.theirs["users"]
    users.update_one({"username": "admin_2"}, {"$set": {"username": "admin_3"}})
    try:
        found = ruled.pair.findings(ruled.expected)
    finally:
        users.update_one({"username": "admin_3"}, {"$set": {"username": "admin_2"}})
    assert len(found) == 1
    assert found[0].endswith("(added): not as told: username is 'admin_3'")


def test_changed_state_of_the_destination_itself_is_a_difference(ruled: Ruled) -> None:
    ruled.pair.theirs["migrations"].insert_one({"_id": 1})
    try:
        found = ruled.pair.findings(ruled.expected)
    finally:
        ruled.pair.theirs["migrations"].delete_one({"_id": 1})
    assert found == ["collection migrations: the destination's own state was changed"]
