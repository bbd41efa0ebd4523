"""The wiki of the demo that receives: small, with settings and an admin of its own for GROWI's rules to keep."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from growi_transfer.demo import records
from growi_transfer.demo.identity import History, Ids, seeded
from growi_transfer.demo.records import ACTIVE, Cast
from growi_transfer.demo.schema import create_growi_collections
from growi_transfer.demo.text import TextPool
from growi_transfer.demo.wiki import await_journal

DESTINATION_URL = "https://wiki.destination.example"


def destination_settings() -> Mapping[str, Any]:
    return {
        "app:serviceInstanceId": "00000000-0000-4000-8000-000000000002",
        "app:installed": True,
        "app:isV5Compatible": True,
        "app:fileUpload": True,
        "app:globalLang": "en_US",
        "app:title": "The new server",
        "app:siteUrl": DESTINATION_URL,
        "app:fileUploadType": "local",
        "aws:lifetimeSecForTemporaryUrl": 120,
        "security:registrationMode": "Closed",
    }


def make_destination(
    uri: str, uploads: Path, *, seed: int = 1, password_seed: str = "", now: datetime | None = None
) -> None:
    """Generate a wiki as it is after GROWI's installer: three pages, an admin whose name the source has too, an
    admin that is only here, a member, an access token, a profile image, a collection that the source has not, and
    the state of a running server."""
    with MongoClient[dict[str, Any]](uri, tz_aware=True, w=1) as client:  # as `make_wiki`
        database = client.get_default_database("growi")
        history = History(now or datetime.now(UTC), days=3)
        ids = Ids(f"destination {seed}")
        cast = Cast(ids, TextPool(seed + 1), seeded(f"destination {seed}"), history)
        create_growi_collections(database)
        born = history.founded
        people = [
            records.user(cast, "admin", "New Admin", status=ACTIVE, admin=True, password_seed=password_seed, born=born),
            records.user(
                cast, "operator", "運用 担当", status=ACTIVE, admin=True, password_seed=password_seed, born=born
            ),
            records.user(
                cast, "member", "New Member", status=ACTIVE, admin=False, password_seed=password_seed, born=born
            ),
        ]
        people[0]["email"] = "new-admin@example.com"
        # The source has a user with this address, so it can stay with one of the two only.
        people[1]["email"] = "user002@example.com"
        name = "11111111111111111111111111111111.png"
        (uploads / "attachment").mkdir(parents=True, exist_ok=True)
        (uploads / "user").mkdir(parents=True, exist_ok=True)
        (uploads / "user" / name).write_bytes(b"\x89PNG of the destination")
        pages = [
            {
                "_id": ids.at(born),
                "parent": None,
                "descendantCount": 2,
                "isEmpty": False,
                "status": "published",
                "grant": 1,
                "path": path,
                "__v": 0,
            }
            for path in ("/", "/Sandbox", "/user/admin")
        ]
        documents: Mapping[str, list[dict[str, Any]]] = {
            "users": people,
            "configs": list(records.settings(ids, born, destination_settings())),
            "pages": pages,
            "accesstokens": [
                {
                    "_id": ids.at(born),
                    "user": people[0]["_id"],
                    "tokenHash": "f" * 64,
                    "expiredAt": history.now + timedelta(days=1000),
                    "scopes": ["write:admin:export_data"],
                    "description": "operator's script",
                    "__v": 0,
                }
            ],
            "attachments": [
                {
                    "_id": ids.at(born),
                    "fileSize": 23,
                    "creator": people[0]["_id"],
                    "originalName": "me.png",
                    "fileName": name,
                    "fileFormat": "image/png",
                    "attachmentType": "PROFILE_IMAGE",
                    "createdAt": born,
                    "__v": 0,
                }
            ],
            "plugin_of_destination": [{"_id": 1, "text": "goes aside, because everything is replaced"}],
            **records.operating_state(ids, history.now, DESTINATION_URL),
        }
        for collection, batch in documents.items():
            database[collection].insert_many(batch)
        await_journal(database)
