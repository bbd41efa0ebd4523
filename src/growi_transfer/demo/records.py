"""The small collections of the generated wiki: people, groups, settings, and the state of a running server.

Each function gives documents with the fields of GROWI 7.3 in the order in which GROWI stores them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any

from bson import Binary, ObjectId

from growi_transfer.demo.files import File
from growi_transfer.demo.identity import History, Ids
from growi_transfer.demo.text import TextPool

Document = dict[str, Any]
ACTIVE, WAITING, SUSPENDED, INVITED = 2, 1, 3, 5
"""GROWI's user states."""
PASSWORD = "demo-password"  # noqa: S105 - of people that do not exist

_FAMILY = (
    ("Sato", "佐藤"),
    ("Suzuki", "鈴木"),
    ("Takahashi", "高橋"),
    ("Tanaka", "田中"),
    ("Smith", "Smith"),
    ("Müller", "Müller"),
)
_GIVEN = (
    ("Aoi", "葵"),
    ("Haruto", "陽翔"),
    ("Yui", "結衣"),
    ("Ren", "蓮"),
    ("Emma", "Emma"),
    ("Noah", "Noah"),
    ("Hana", "花"),
)
_TAG_NAMES = "howto 手順 design 設計 meeting 会議 release faq draft 下書き security 2026 important 重要 archive 研修"
_MIGRATIONS = (
    "20180926134048-make-email-unique.js",
    "20180927102719-init-serverurl.js",
    "20211227060705-revision-path-to-page-id-schema-migration--fixed-7549.js",
    "20240924125137-change-grantedgroups-type.js",
)


@dataclass(slots=True)
class Cast:
    """Who and what the other documents refer to."""

    ids: Ids
    text: TextPool
    rng: Random
    history: History
    users: list[Document] = field(default_factory=list)
    groups: list[Document] = field(default_factory=list)

    @property
    def active(self) -> list[Document]:
        return [user for user in self.users if user["status"] == ACTIVE]


def password_hash(seed: str, password: str) -> str:
    """As GROWI keeps a password."""
    return sha256((seed + password).encode()).hexdigest()


def user(
    cast: Cast, username: str, name: str, *, status: int, admin: bool, password_seed: str, born: datetime
) -> Document:
    document: Document = {
        "_id": cast.ids.at(born),
        "isGravatarEnabled": False,
        "isEmailPublished": True,
        "lang": "ja_JP" if name[-1] > "\u2fff" else "en_US",
        "status": status,
        "admin": admin,
        "readOnly": False,
        "isInvitationEmailSended": status == INVITED,
        "name": name,
        "username": username,
        "email": f"{username}@example.com",
        "password": password_hash(password_seed, PASSWORD),
        "createdAt": born,
        "updatedAt": born,
        "__v": 0,
    }
    if status == ACTIVE:
        document["lastLoginAt"] = cast.history.moment(0.9)
        document["imageUrlCached"] = "/images/icons/user.svg"
        document["apiToken"] = sha256(f"token {username}".encode()).hexdigest()[:44]
    if status == INVITED:
        del document["name"]
    return document


def users(cast: Cast, count: int, password_seed: str) -> list[Document]:
    """Two admins first, then active users, some that wait, are suspended or invited."""
    made = []
    for number in range(count):
        family, given = _FAMILY[number % len(_FAMILY)], _GIVEN[number // len(_FAMILY) % len(_GIVEN)]
        name = f"{given[0]} {family[0]}" if number % 2 else f"{family[1]} {given[1]}"
        username = "admin" if number == 0 else f"user{number:03}"
        status = (
            ACTIVE if number < 4 else (ACTIVE, ACTIVE, ACTIVE, WAITING, ACTIVE, SUSPENDED, ACTIVE, INVITED)[number % 8]
        )
        born = cast.history.moment(0.1 * number / count)
        document = user(cast, username, name, status=status, admin=number < 2, password_seed=password_seed, born=born)
        if number % 5 == 3:
            document["slackMemberId"] = f"U{number:08}"
        if number % 11 == 7:
            del document["email"]
        made.append(document)
    return made


def groups(cast: Cast, count: int) -> list[Document]:
    made: list[Document] = []
    for number in range(count):
        born = cast.history.moment(0.12)
        parent = made[(number - 1) // 3]["_id"] if number else None
        name = f"{('開発', 'Sales', '総務', 'Support')[number % 4]} {number}"
        made.append(
            {"_id": cast.ids.at(born), "name": name, "parent": parent, "description": cast.text.sentence(number, 60)}
        )
        made[-1] |= {"createdAt": born, "updatedAt": born, "__v": 0}
    return made


def group_relations(cast: Cast) -> Iterator[Document]:
    for group in cast.groups:
        for member in cast.rng.sample(cast.active, k=min(3, len(cast.active))):
            born = cast.history.moment(0.15)
            yield {
                "_id": cast.ids.at(born),
                "relatedGroup": group["_id"],
                "relatedUser": member["_id"],
                "createdAt": born,
                "__v": 0,
            }


def settings(ids: Ids, moment: datetime, values: Mapping[str, Any]) -> Iterator[Document]:
    """`configs` documents: each value is the text of a JSON value."""
    for key, value in values.items():
        text = json.dumps(value, ensure_ascii=False)
        yield {"_id": ids.at(moment), "key": key, "value": text, "createdAt": moment, "updatedAt": moment, "__v": 0}


def tags(cast: Cast) -> list[Document]:
    return [{"_id": cast.ids.at(cast.history.moment(0.2)), "name": name, "__v": 0} for name in _TAG_NAMES.split()]


def attachment(cast: Cast, file: File, page: ObjectId | None, creator: ObjectId, moment: datetime) -> Document:
    return {
        "_id": cast.ids.at(moment),
        "fileSize": file.size,
        **({"page": page} if page is not None else {}),
        "creator": creator,
        "originalName": file.original_name,
        "fileName": file.name,
        "fileFormat": file.content_type,
        "attachmentType": "WIKI_PAGE" if page is not None else "PROFILE_IMAGE",
        "createdAt": moment,
        "__v": 0,
    }


def activities(cast: Cast, pages: Sequence[ObjectId]) -> Iterator[Document]:
    """Of the last 20 days: GROWI's index deletes what is older than 30."""
    for number in range(min(5000, len(pages) * 4)):
        moment = cast.history.now - timedelta(minutes=number * 5 + 1)
        actor = cast.rng.choice(cast.active)
        yield {
            "_id": cast.ids.at(moment),
            "user": actor["_id"],
            "ip": f"192.0.2.{number % 250}",
            "endpoint": "/_api/v3/page",
            "targetModel": "Page",
            "target": cast.rng.choice(pages),
            "action": ("PAGE_VIEW", "PAGE_UPDATE", "PAGE_LIKE")[number % 3],
            "snapshot": {"_id": cast.ids.at(moment), "username": actor["username"]},
            "createdAt": moment,
            "__v": 0,
        }


def yjs_writings(cast: Cast, pages: Sequence[ObjectId]) -> Iterator[Document]:
    """Unsaved edits; the values are binary."""
    for number, page in enumerate(pages[:20]):
        for clock in range(4):
            yield {
                "_id": cast.ids.at(cast.history.now),
                "version": "v1",
                "docName": str(page),
                "action": "update",
                "clock": clock,
                "value": Binary(cast.rng.randbytes(10 + number * 40)),
            }
        yield {
            "_id": cast.ids.at(cast.history.now),
            "version": "v1",
            "docName": str(page),
            "metaKey": "updatedAt",
            "value": 1.5,
        }


def migrations(ids: Ids, moment: datetime) -> list[Document]:
    return [{"_id": ids.at(moment), "fileName": name, "appliedAt": moment} for name in _MIGRATIONS]


def operating_state(ids: Ids, now: datetime, origin: str) -> Mapping[str, list[Document]]:
    """What belongs to this very server and must stay there."""
    later = now + timedelta(days=14)
    keys = []
    for _ in range(2):
        key = str(ids.at(now))
        keys.append({"_id": ids.at(now), "keyString": f"{key}__grw_internal_tranferkey__{origin}", "key": key})
        keys[-1] |= {"expireAt": later, "createdAt": now, "__v": 0}
    cookie = {"cookie": {"originalMaxAge": 1_209_600_000, "httpOnly": True, "path": "/"}}
    return {
        "sessions": [
            {"_id": sha256(str(ids.at(now)).encode()).hexdigest()[:32], "expires": later, "session": json.dumps(cookie)}
            for _ in range(8)
        ],
        "transferkeys": keys,
        "rlflx": [{"_id": ids.at(now), "key": f"{origin}/login 192.0.2.1", "points": 3, "expire": later}],
        "migrations": migrations(ids, now - timedelta(days=300)),
        "pageoperations": [
            {
                "_id": ids.at(now),
                "actionType": "Rename",
                "actionStage": "Sub",
                "fromPath": "/old",
                "toPath": "/new",
                "__v": 0,
            }
        ],
        "failedemails": [{"_id": ids.at(now), "to": "nobody@example.com", "error": "refused", "createdAt": now}],
    }
