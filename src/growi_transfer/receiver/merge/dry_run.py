"""What would be in the way of a merge: the plan's own rules, on keys that the source sends. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bson import ObjectId

from growi_transfer.mongo.client import Database
from growi_transfer.protocol.merge_keys import AccountKey, GroupKey, MergePlan, PageKey, UserKey
from growi_transfer.receiver.merge.fates import Decision, Fates, key_of
from growi_transfer.receiver.merge.pages import Pages
from growi_transfer.receiver.merge.people import EXTERNAL_GROUPS, GROUPS, People
from growi_transfer.receiver.merge.report import Report


class MemoryFates(Fates):
    """Decisions about the part of a wiki that one request brings."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "")
        self._known: dict[tuple[str, bytes], Decision] = {}

    async def put(self, kind: str, decisions: Iterable[tuple[Any, Decision]]) -> None:
        for identity, one in decisions:
            self.kinds.add(kind)
            self._known[kind, key_of(identity)] = one

    async def get(self, kind: str, identities: Iterable[Any]) -> dict[bytes, Decision]:
        keys = [key_of(identity) for identity in identities]
        return {key: self._known[kind, key] for key in keys if (kind, key) in self._known}


async def dry_run(database: Database, part: MergePlan) -> dict[str, Any]:
    """Conflicts of a part of a wiki by kind: how many, how they would be resolved, and the first ones."""
    fates, report = MemoryFates(database), Report()
    people = People(database, fates, part.merge, report, {})
    await people.accounts([_account(one) for one in part.external_accounts])
    await people.users([_user(one) for one in part.users])
    await people.groups(GROUPS, [_group(one) for one in part.groups if one.provider is None])
    await people.groups(EXTERNAL_GROUPS, [_group(one) for one in part.groups if one.provider is not None])
    await Pages(database, fates, part.merge, report, None).pages([_page(one) for one in part.pages])
    return {"conflicts": report.conflicts_json()}


def _user(one: UserKey) -> dict[str, Any]:
    email = {} if one.email is None else {"email": one.email}
    return {"_id": ObjectId(one.id), "username": one.username, **email}


def _account(one: AccountKey) -> dict[str, Any]:
    user = ObjectId(one.user) if one.user is not None else None
    return {"_id": ObjectId(one.id), "providerType": one.provider_type, "accountId": one.account_id, "user": user}


def _group(one: GroupKey) -> dict[str, Any]:
    return {"_id": ObjectId(one.id), "name": one.name, "externalId": one.external_id, "provider": one.provider}


def _page(one: PageKey) -> dict[str, Any]:
    return {
        "_id": ObjectId(one.id),
        "path": one.path,
        "parent": ObjectId(one.id) if one.has_parent else None,
        "isEmpty": one.is_empty,
        "status": one.status,
        "grant": one.grant,
        "revision": ObjectId(one.revision) if one.revision is not None else None,
    }
