"""The collections of the generated wiki: names, indexes and options as GROWI 7.3 makes them, and some of a plug-in.

GROWI's part was read from the metadata of a real GROWI's dump; GROWI makes all of its collections at the first
start, so most are empty in a small wiki. The plug-in's part has one of each kind of collection and index that
MongoDB knows and GROWI does not use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pymongo.database import Database
from pymongo.errors import CollectionInvalid

_PLAIN = {"background": True}
_UNIQUE = {"background": True, "unique": True}
_SPARSE = {"background": True, "unique": True, "sparse": True}


def _ttl(seconds: int, **options: Any) -> dict[str, Any]:
    return {**options, "expireAfterSeconds": seconds}


_Index = tuple[str, Mapping[str, Any]]

GROWI: Mapping[str, tuple[_Index, ...]] = {
    "accesstokens": (("tokenHash", _UNIQUE), ("expiredAt", _PLAIN)),
    "activities": (
        ("user", _PLAIN),
        ("snapshot.username", _PLAIN),
        ("target action", _PLAIN),
        ("user target action createdAt", _UNIQUE),
        ("createdAt", _ttl(2_592_000)),
    ),
    "aiassistants": (("grantedGroupsForShareScope.item", _PLAIN), ("grantedGroupsForAccessScope.item", _PLAIN)),
    "attachments": (("page", _PLAIN), ("creator", _PLAIN), ("fileName", _UNIQUE)),
    "bookmarkfolders": (("owner", _PLAIN),),
    "bookmarks": (("page", _PLAIN), ("user", _PLAIN), ("page user", _UNIQUE)),
    "comments": (("page", _PLAIN), ("creator", _PLAIN), ("revision", _PLAIN)),
    "configs": (("key", _UNIQUE),),
    "editorsettings": (),
    "externalaccounts": (("providerType accountId", _UNIQUE),),
    "externalusergrouprelations": (),
    "externalusergroups": (("parent", _PLAIN), ("externalId", _UNIQUE), ("name provider", _UNIQUE)),
    "globalnotificationsettings": (),
    "growiplugins": (),
    "inappnotifications": (
        ("user", _PLAIN),
        ("status", _PLAIN),
        ("createdAt", _PLAIN),
        ("user target action createdAt", _PLAIN),
    ),
    "inappnotificationsettings": (),
    "migrations": (),
    "namedqueries": (("name", _UNIQUE), ("creator", _PLAIN)),
    "pagebulkexportjobs": (),
    "pagebulkexportpagesnapshots": (),
    "pageoperations": tuple(
        (key, _PLAIN)
        for key in (
            "actionType",
            "actionStage",
            "fromPath",
            "toPath",
            "page._id",
            "page.path",
            "exPage._id",
            "exPage.path",
        )
    ),
    "pageredirects": (("fromPath", _UNIQUE),),
    "pages": (
        *((key, _PLAIN) for key in ("parent", "path", "status", "grant", "grantedGroups.item", "creator")),
        ("createdAt", _PLAIN),
        ("updatedAt", _PLAIN),
        ("ttlTimestamp", _ttl(172_800)),
    ),
    "pagetagrelations": (
        ("relatedPage", _PLAIN),
        ("relatedTag", _PLAIN),
        ("isPageTrashed", _PLAIN),
        ("relatedPage relatedTag", _UNIQUE),
    ),
    "passwordresetorders": (("token", _UNIQUE),),
    "revisions": (("pageId", _PLAIN),),
    "rlflx": (("-expire", _ttl(0)), ("key", {"unique": True})),
    "sessions": (("expires", _ttl(0, background=True)),),
    "sharelinks": (("relatedPage", _PLAIN),),
    "slackappintegrations": (("tokenGtoP", _UNIQUE), ("tokenPtoG", _UNIQUE), ("isPrimary", _SPARSE)),
    "subscriptions": (("user", _PLAIN),),
    "tags": (("name", _UNIQUE),),
    "threadrelations": (("threadId", _UNIQUE),),
    "transferkeys": (("expireAt", _ttl(1800, background=True)), ("keyString", _UNIQUE), ("key", _UNIQUE)),
    "updateposts": (("creator", _PLAIN),),
    "usergrouprelations": (),
    "usergroups": (("name", _UNIQUE), ("parent", _PLAIN)),
    "userregistrationorders": (("token", _UNIQUE),),
    "users": (
        ("name", _PLAIN),
        ("username", _UNIQUE),
        ("email", _SPARSE),
        ("slackMemberId", _SPARSE),
        ("apiToken", _PLAIN),
        ("status", _PLAIN),
        ("lastLoginAt", _PLAIN),
        ("admin", _PLAIN),
    ),
    "useruisettings": (("user", _UNIQUE),),
    "vectorstorefilerelations": (("vectorStoreRelationId page attachment", _UNIQUE),),
    "vectorstores": (("vectorStoreId", _UNIQUE),),
    "yjs-writings": (("version docName action clock part", {}), ("version docName metaKey", {}), ("docName clock", {})),
}
"""Indexes beside `_id_` by collection: keys joined by spaces (`-` in front: descending), and options."""

EXOTIC, LOG, CONTACTS, COUNTERS, PUBLIC = (
    "plugin_reports",
    "plugin_log",
    "plugin_contacts",
    "plugin_counters",
    "plugin_public_pages",
)
CONTACTS_COLLATION = {"locale": "en", "strength": 2}

PLUGIN_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    EXOTIC: {"changeStreamPreAndPostImages": {"enabled": True}},
    LOG: {"capped": True, "size": 65_536, "max": 300},
    CONTACTS: {
        "collation": CONTACTS_COLLATION,
        "validator": {
            "$jsonSchema": {
                "bsonType": "object",
                "required": ["email"],
                "properties": {"email": {"bsonType": "string"}},
            }
        },
        "validationLevel": "moderate",
        "validationAction": "error",
    },
    COUNTERS: {"clusteredIndex": {"key": {"_id": 1}, "unique": True, "name": "counters_clustered"}},
    PUBLIC: {
        "viewOn": "pages",
        "pipeline": [{"$match": {"grant": 1, "isEmpty": False}}, {"$project": {"path": 1, "updatedAt": 1}}],
        "collation": {"locale": "ja"},
    },
}

PLUGIN_INDEXES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    EXOTIC: (
        {
            "key": {"title": "text", "notes": "text"},
            "name": "words",
            "weights": {"title": 5},
            "default_language": "none",
        },
        {"key": {"owner": 1, "amount": -1}, "name": "open_only", "partialFilterExpression": {"amount": {"$gt": 0}}},
        {"key": {"place": "2dsphere"}, "name": "place_2dsphere"},
        {"key": {"digest": "hashed"}, "name": "digest_hashed"},
        {"key": {"settings.$**": 1}, "name": "any_setting"},
        {"key": {"kind": 1}, "name": "kind_1", "hidden": True},
    ),
    LOG: ({"key": {"level": 1}, "name": "level_1"},),
    CONTACTS: (
        {"key": {"email": 1}, "name": "email_any_case", "unique": True, "sparse": True},
        {"key": {"name": 1}, "name": "name_ja", "collation": {"locale": "ja", "strength": 3}},
    ),
    COUNTERS: ({"key": {"last": 1}, "name": "last_ttl", "expireAfterSeconds": 31_536_000},),
}


def create_growi_collections(database: Database[Any]) -> None:
    """Every collection of GROWI with its indexes, empty. What exists already stays."""
    for name, indexes in GROWI.items():
        if indexes:
            _create_indexes(database, name, [_index(keys, options) for keys, options in indexes])
        else:
            _create(database, name, {})


def create_plugin_collections(database: Database[Any]) -> None:
    """The plug-in's collections with their options and indexes, empty."""
    for name, options in PLUGIN_OPTIONS.items():
        _create(database, name, options)
    for name, indexes in PLUGIN_INDEXES.items():
        _create_indexes(database, name, [dict(index) for index in indexes])


def _create_indexes(database: Database[Any], name: str, indexes: Sequence[Mapping[str, Any]]) -> None:
    """Of a collection, which is created if it is not there. A command takes no write concern from the database."""
    database.command("createIndexes", name, indexes=indexes, writeConcern=database.write_concern.document)


def _index(keys: str, options: Mapping[str, Any]) -> dict[str, Any]:
    key = {name.removeprefix("-"): -1 if name.startswith("-") else 1 for name in keys.split()}
    return {"key": key, "name": "_".join(f"{name}_{way}" for name, way in key.items()), **options}


def _create(database: Database[Any], name: str, options: Mapping[str, Any]) -> None:
    with suppress(CollectionInvalid):
        database.create_collection(name, **options)
