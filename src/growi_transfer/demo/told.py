"""What a transfer tells of GROWI's rules, as changes that the comparison can check.

The telling names documents and reasons, never values; what the values must be follows from the destination as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson import ObjectId

from growi_transfer.demo.compare import Former
from growi_transfer.demo.rewrites import ABSENT, ANY, FORMER, Action, Rewrite, parse_document


def rewrites_of(told: Mapping[str, Any], former: Former) -> list[Rewrite]:
    """`told`: `held.told` of `GET transfers/{id}` at the destination. Raises ValueError for what it cannot mean."""
    entries: Sequence[Mapping[str, Any]] = told.get("rewritten", ())
    settings = [_setting(entry) for entry in entries if entry["collection"] == "configs"]
    people = [entry for entry in entries if entry["collection"] == "users"]
    tokens = [entry for entry in entries if entry["collection"] == "accesstokens"]
    rescued: Sequence[Mapping[str, Any]] = (told.get("rescue") or {}).get("rescued", ())
    if len(settings) + len(people) + len(tokens) != len(entries):
        raise ValueError("documents of other collections were told to be rewritten")
    if len(people) != len(rescued):
        raise ValueError(f"{len(people)} users were told to be rewritten, and {len(rescued)} to be rescued")
    users = [_user(entry, admin) for entry, admin in zip(people, rescued, strict=True)]
    return [*settings, *users, *(_token(entry, users, former) for entry in tokens)]


def _setting(entry: Mapping[str, Any]) -> Rewrite:
    key = entry["key"]
    if entry["reason"] == "maintenance":
        return Rewrite("configs", "key", key, Action.SET, {"value": "true", "updatedAt": ANY})
    if entry["action"] not in ("set", "remove"):
        raise ValueError(f"{key} was told to be rewritten as {entry['action']!r}")
    return Rewrite("configs", "key", key, Action.KEPT, {"value": FORMER, "updatedAt": ANY})


def _user(entry: Mapping[str, Any], admin: Mapping[str, Any]) -> Rewrite:
    identity = _identity(entry)
    fields: dict[str, Any] = {"username": admin["rescuedUsername"]}
    fields |= {name: ABSENT for name in ("email", "slackMemberId") if admin[f"{name}Removed"]}
    fields |= {"_id": identity} if admin["idReassigned"] else {}
    return Rewrite("users", "_id", identity, Action.ADDED, fields, ("username", admin["originalUsername"]))


def _token(entry: Mapping[str, Any], users: Sequence[Rewrite], former: Former) -> Rewrite:
    identity = _identity(entry)
    owner = _field(former, "accesstokens", ("_id", identity), "user")
    moved = [user.value for user in users if user.was and owner == _field(former, "users", user.was, "_id")]
    return Rewrite("accesstokens", "_id", identity, Action.ADDED, {"user": moved[0]} if moved else {})


def _field(former: Former, collection: str, where: tuple[str, Any], name: str) -> Any:
    """A field of one of the destination's former documents; None when there is no such document."""
    documents = map(parse_document, former.documents.get(collection, ()))
    return next((one.get(name) for one in documents if one.get(where[0]) == where[1]), None)


def _identity(entry: Mapping[str, Any]) -> Any:
    return ObjectId(entry["id"]) if ObjectId.is_valid(entry["id"]) else entry["id"]
