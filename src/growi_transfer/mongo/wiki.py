"""What GROWI itself keeps in the database and a transfer asks for: settings, users, pages, attachments, migrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from growi_transfer.mongo.client import Database
from growi_transfer.protocol.errors import DatabaseRefused
from growi_transfer.protocol.growi_rules import is_loginable_admin

_ACTIVE_USER = 2
_MIGRATIONS = 5000
_SIZES = 1 << 53
"""JavaScript has no greater sizes."""


@dataclass(frozen=True, slots=True)
class WikiCounts:
    """Documents of the collections that people think in."""

    users: int
    user_groups: int
    pages: int


async def read_configs(database: Database) -> dict[str, Any]:
    """`value` (JSON text) of each document of `configs`, by key."""
    found = await database.find("configs", {}, {"key": 1, "value": 1})
    return {one["key"]: one.get("value") for one in found if isinstance(one.get("key"), str)}


async def read_migrations(database: Database) -> tuple[str, ...]:
    """File names of the schema migrations that GROWI has applied."""
    found = await database.find("migrations", {}, {"fileName": 1}, limit=_MIGRATIONS)
    return tuple(sorted(one["fileName"] for one in found if isinstance(one.get("fileName"), str)))


async def count_active_users(database: Database) -> int:
    """Users whose status is active, as GROWI counts them against its limit."""
    return await _count(database, "users", {"status": _ACTIVE_USER})


async def first_admin(database: Database) -> str | None:
    """Id of an administrator who is active, the oldest one; None where there is none."""
    found = await database.find("users", {"admin": True, "status": 2}, {"createdAt": 1})
    admins = sorted(found, key=lambda user: str(user.get("createdAt")))
    return str(admins[0]["_id"]) if admins else None


async def count_loginable_admins(database: Database) -> int:
    """Admins that are active and have a password."""
    fields = {"admin": 1, "status": 1, "password": 1, "username": 1}
    found = await database.find("users", {"admin": True}, fields)
    return sum(1 for one in found if is_loginable_admin(one))


async def count_wiki(database: Database) -> WikiCounts:
    """Users, groups and pages."""
    return WikiCounts(
        users=await _count(database, "users", {}),
        user_groups=await _count(database, "usergroups", {}),
        pages=await _count(database, "pages", {}),
    )


async def attachment_totals(database: Database) -> tuple[int, int]:
    """Attachment documents, and the sum of their `fileSize`, as far as it is a size."""
    is_size = {"$and": [{"$isNumber": "$fileSize"}, {"$gte": ["$fileSize", 0]}, {"$lt": ["$fileSize", _SIZES]}]}
    size = {"$cond": [is_size, {"$toLong": "$fileSize"}, 0]}
    reply = await database.command(
        {
            "aggregate": "attachments",
            "pipeline": [{"$group": {"_id": None, "files": {"$sum": 1}, "bytes": {"$sum": size}}}],
            "cursor": {},
        }
    )
    rows = reply["cursor"]["firstBatch"]
    return (int(rows[0]["files"]), min(int(rows[0]["bytes"]), 1 << 62)) if rows else (0, 0)


async def feature_compatibility(database: Database) -> str:
    """The server's feature compatibility version, such as `6.0`; empty where it may not be asked."""
    try:
        reply = await database.admin({"getParameter": 1, "featureCompatibilityVersion": 1})
    except DatabaseRefused:
        return ""
    value = reply.get("featureCompatibilityVersion", {})
    return str(value.get("version", "")) if isinstance(value, dict) else ""


async def _count(database: Database, collection: str, query: dict[str, Any]) -> int:
    return int((await database.command({"count": collection, "query": query}))["n"])
