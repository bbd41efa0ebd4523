"""The generated wiki is the same for the same seed, and is a wiki: GROWI's shapes, a real tree, files that exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database

from growi_transfer.demo.compare import STAYS, Side, compare
from growi_transfer.demo.destination import make_destination
from growi_transfer.demo.wiki import WikiCounts, WikiSize, make_wiki

SIZE = WikiSize(pages=120, revisions=3, attachments=30, attachment_size=5000, body_size=2000, seed=7)


def uri_of(server: str, database: str) -> str:
    return server.replace("/growi?", f"/{database}?")


@pytest.fixture(scope="module")
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def wiki(
    mongo_uri: str, tmp_path_factory: pytest.TempPathFactory, now: datetime
) -> Iterator[tuple[Database[Any], Path, WikiCounts]]:
    uploads = tmp_path_factory.mktemp("wiki")
    counts = make_wiki(uri_of(mongo_uri, "wiki"), uploads, SIZE, password_seed="seed", now=now)
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        yield client["wiki"], uploads, counts
        client.drop_database("wiki")


def test_counts_are_what_is_there(wiki: tuple[Database[Any], Path, WikiCounts]) -> None:
    database, uploads, counts = wiki
    tables = [found["name"] for found in database.list_collections(filter={"type": "collection"})]
    tables = [name for name in tables if not name.startswith("system.")]
    assert counts.documents == sum(database[name].count_documents({}) for name in tables)
    sizes = (len(bson.encode(one)) for one in database["revisions"].find())
    assert counts.document_bytes > sum(sizes) > 120 * 3 * 1500
    files = [path for path in uploads.rglob("*") if path.is_file()]
    assert (counts.attachments, counts.attachment_bytes) == (30, sum(path.stat().st_size for path in files))
    assert len(files) == 30


def test_the_same_seed_gives_the_same_wiki(
    wiki: tuple[Database[Any], Path, WikiCounts], mongo_uri: str, tmp_path: Path, now: datetime
) -> None:
    database, uploads, counts = wiki
    again = make_wiki(uri_of(mongo_uri, "wiki_again"), tmp_path, SIZE, password_seed="seed", now=now)
    try:
        result = compare(Side(mongo_uri, "wiki", uploads), Side(mongo_uri, "wiki_again", tmp_path))
        assert again == counts
        assert [text for text in result.mismatches if "source's own state" not in text] == []
    finally:
        database.client.drop_database("wiki_again")


def test_another_seed_gives_another_wiki(
    wiki: tuple[Database[Any], Path, WikiCounts], mongo_uri: str, tmp_path: Path
) -> None:
    make_wiki(uri_of(mongo_uri, "wiki_other"), tmp_path, WikiSize(pages=5, revisions=1, attachments=0, seed=8))
    client = wiki[0].client
    try:
        ids = {one["_id"] for one in client["wiki_other"]["pages"].find()}
        assert ids.isdisjoint(one["_id"] for one in wiki[0]["pages"].find())
    finally:
        client.drop_database("wiki_other")


def test_pages_form_a_tree_with_right_counts(wiki: tuple[Database[Any], Path, WikiCounts]) -> None:
    pages = {one["_id"]: one for one in wiki[0]["pages"].find()}
    by_path = {one["path"]: one for one in pages.values()}
    assert len(by_path) == len(pages)
    assert sum(not one["isEmpty"] for one in pages.values()) == SIZE.pages
    descendants: Counter[ObjectId] = Counter()
    for one in pages.values():
        if one["parent"] is None:
            assert one["path"] == "/" or one["grant"] == 2 or one["status"] == "deleted"
            continue
        assert pages[one["parent"]]["path"] == (one["path"].rpartition("/")[0] or "/")
        above = one["parent"] if not one["isEmpty"] else None
        while above is not None:
            descendants[above] += 1
            above = pages[above]["parent"]
    assert all(one["descendantCount"] == descendants[one["_id"]] for one in pages.values())
    assert {"/", "/Sandbox", "/Sandbox/Math", "/user", "/user/admin"} <= by_path.keys()
    assert {one["grant"] for one in pages.values()} == {1, 2, 4, 5}
    assert any("\u3040" < letter < "\u9fff" for path in by_path for letter in path)


def test_references_lead_somewhere(wiki: tuple[Database[Any], Path, WikiCounts]) -> None:
    database, uploads, _ = wiki
    ids = {name: set(database[name].distinct("_id")) for name in ("pages", "users", "revisions", "tags", "usergroups")}
    revisions = list(database["revisions"].find())
    assert len(revisions) == SIZE.pages * SIZE.revisions
    assert {one["pageId"] for one in revisions} <= ids["pages"]
    for page in database["pages"].find({"isEmpty": False}):
        latest = max((one for one in revisions if one["pageId"] == page["_id"]), key=lambda one: one["createdAt"])
        assert page["revision"] == latest["_id"]
        assert page["latestRevisionBodyLength"] == len(latest["body"])
        assert page["commentCount"] == database["comments"].count_documents({"page": page["_id"]})
        assert {*page["liker"], *page["grantedUsers"], page["creator"]} <= ids["users"]
        assert {group["item"] for group in page["grantedGroups"]} <= ids["usergroups"]
    assert {one["relatedTag"] for one in database["pagetagrelations"].find()} <= ids["tags"]
    for one in database["attachments"].find():
        path = uploads / ("attachment" if "page" in one else "user") / one["fileName"]
        assert path.stat().st_size == one["fileSize"]
    images = {one["imageAttachment"] for one in database["users"].find({"imageAttachment": {"$exists": True}})}
    assert images == set(database["attachments"].find({"attachmentType": "PROFILE_IMAGE"}).distinct("_id"))
    assert len(images) == 3


def test_every_kind_of_collection_is_there(wiki: tuple[Database[Any], Path, WikiCounts]) -> None:
    database = wiki[0]
    options = {found["name"]: found.get("options", {}) for found in database.list_collections()}
    assert options["plugin_log"]["capped"]
    assert options["plugin_counters"]["clusteredIndex"]["key"] == {"_id": 1}
    assert options["plugin_contacts"]["collation"]["strength"] == 2
    assert options["plugin_contacts"]["validator"]
    assert options["plugin_public_pages"]["viewOn"] == "pages"
    broken = database["plugin_contacts"].count_documents({"email": {"$exists": False}})
    assert broken == 1
    kinds = {kind for index in database["plugin_reports"].list_indexes() for kind in index["key"].values()}
    assert kinds >= {"text", "2dsphere", "hashed"}
    zero = database["plugin_reports"].find_one({"_id": "zero timestamp"})
    assert zero is not None
    assert (zero["at"].time, zero["at"].inc) == (0, 0)
    assert {"sessions", "transferkeys", "migrations"} <= {name for name in STAYS if database[name].find_one()}


@pytest.mark.parametrize("pages", [1, 3, 13])
def test_small_wikis_work_too(mongo_uri: str, mongo_database_name: str, tmp_path: Path, pages: int) -> None:
    size = WikiSize(pages=pages, revisions=1, attachments=2, attachment_size=10)
    make_wiki(uri_of(mongo_uri, mongo_database_name), tmp_path, size)
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        assert client[mongo_database_name]["pages"].count_documents({"isEmpty": False}) == pages


def test_exact_attachments_have_the_size(mongo_uri: str, mongo_database_name: str, tmp_path: Path) -> None:
    size = WikiSize(pages=2, revisions=1, attachments=20, attachment_size=777, exact_attachments=True)
    counts = make_wiki(uri_of(mongo_uri, mongo_database_name), tmp_path, size)
    files = list((tmp_path / "attachment").iterdir())
    assert {path.stat().st_size for path in files} == {777}
    assert len({path.read_bytes() for path in files}) == 20
    assert counts.attachment_bytes == 20 * 777


def test_the_destination_has_something_to_keep(mongo_uri: str, mongo_database_name: str, tmp_path: Path) -> None:
    make_destination(uri_of(mongo_uri, mongo_database_name), tmp_path)
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        database = client[mongo_database_name]
        site = database["configs"].find_one({"key": "app:siteUrl"})
        assert site is not None
        assert site["value"] == '"https://wiki.destination.example"'
        admins = database["users"].find({"admin": True, "status": 2, "password": {"$exists": True}})
        assert {admin["username"] for admin in admins} == {"admin", "operator"}
        assert database["migrations"].find_one() is not None
    assert [path.name for path in tmp_path.rglob("*.png")] == ["1" * 32 + ".png"]
