"""The dry run of a merge, from the source's side: sends who and what is here, a page at a time, and adds up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from typing import Any

from bson import ObjectId
from pydantic import ValidationError

from growi_transfer.mongo.client import Database
from growi_transfer.protocol.findings import Finding, Judgement, counted
from growi_transfer.protocol.merge_keys import (
    AccountKey,
    GroupKey,
    MergeAnswer,
    MergePlan,
    PageKey,
    UserKey,
)
from growi_transfer.protocol.wire import MERGE_KEYS, MergeRules, Shape
from growi_transfer.pusher.answers import checked
from growi_transfer.pusher.peer import Peer

_PEOPLE = 500
"""Users at once: their accounts come with them."""
_SHOWN = 20
_OF_A_REPLACEMENT = frozenset({"destination_not_empty", "no_loginable_admin", "sessions_not_invalidatable"})


async def find_conflicts(
    database: Database, peer: Peer, rules: MergeRules, moving: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Conflicts by kind: how many, how they would be resolved, and the first ones. Nothing is written anywhere."""
    names = set(moving)
    found: dict[str, dict[str, Any]] = {}
    async for part in _parts(database, rules, names):
        for kind, one in checked(MergeAnswer, await peer.plan_merge(part), peer.origin).conflicts.items():
            known = found.setdefault(kind, {"total": 0, "resolutions": {}, "first": []})
            known["total"] += one.total
            for resolution, number in one.resolutions.items():
                known["resolutions"][resolution] = known["resolutions"].get(resolution, 0) + number
            shown = [each.model_dump(exclude_defaults=True) for each in one.first]
            known["first"] = [*known["first"], *shown][:_SHOWN]
    return found


def conflict_warning(conflicts: Mapping[str, Mapping[str, Any]]) -> Finding | None:
    """A merge in whose way something is has to be agreed to."""
    if not conflicts:
        return None
    told = ", ".join(
        f"{kind.replace('_', ' ')} {one['total']:,} ({_resolutions(one)})" for kind, one in sorted(conflicts.items())
    )
    total = sum(one["total"] for one in conflicts.values())
    return Finding(
        "merge_conflicts",
        f"{counted(total, 'conflict')} with what the destination has: {told}.",
        {kind: one["resolutions"] for kind, one in conflicts.items()},
    )


def of_a_merge(judgement: Judgement, conflicts: Mapping[str, Mapping[str, Any]]) -> Judgement:
    """What was judged, without what is only so when a wiki is replaced, and with what is in the way of a merge."""
    found = conflict_warning(conflicts)
    kept = [one for one in judgement.warnings if one.code not in _OF_A_REPLACEMENT]
    return replace(judgement, warnings=(*kept, *([] if found is None else [found])))


def _resolutions(one: Mapping[str, Any]) -> str:
    return ", ".join(f"{resolution} {number:,}" for resolution, number in sorted(one["resolutions"].items()))


async def _parts(database: Database, rules: MergeRules, names: set[str]) -> AsyncIterator[MergePlan]:
    if "users" in names:
        names_only = [{"$project": {"username": 1, "email": 1}}]
        async for batch in database.aggregate("users", names_only, batch_documents=_PEOPLE):
            ids = [one["_id"] for one in batch]
            accounts = await database.find("externalaccounts", {"user": {"$in": ids}}, limit=MERGE_KEYS)
            yield MergePlan(
                merge=rules,
                users=tuple(_keys(UserKey, batch, username="username", email="email")),
                external_accounts=tuple(
                    _keys(AccountKey, accounts, provider_type="providerType", account_id="accountId", user="user")
                ),
            )
    for collection in ("usergroups", "externalusergroups"):
        if collection in names:
            async for batch in database.aggregate(collection, [], batch_documents=MERGE_KEYS):
                fields = {"name": "name"}
                if collection == "externalusergroups":
                    fields |= {"external_id": "externalId", "provider": "provider"}
                yield MergePlan(merge=rules, groups=tuple(_keys(GroupKey, batch, **fields)))
    if "pages" in names:
        wanted = ("path", "parent", "isEmpty", "status", "grant", "revision")
        sort = [{"$sort": {"path": 1, "_id": 1}}, {"$project": dict.fromkeys(wanted, 1)}]
        async for batch in database.aggregate("pages", sort, batch_documents=MERGE_KEYS):
            for page in batch:
                page["hasParent"] = page.get("parent") is not None
            keys = _keys(
                PageKey,
                batch,
                path="path",
                has_parent="hasParent",
                is_empty="isEmpty",
                status="status",
                grant="grant",
                revision="revision",
            )
            yield MergePlan(merge=rules, pages=tuple(keys))


def _keys(shape: type[Shape], documents: Iterable[Mapping[str, Any]], **fields: str) -> Iterable[Any]:
    """What has the fields that GROWI gives it; anything else has no name by which it could be in the way."""
    for document in documents:
        values = {name: document.get(field) for name, field in {"id": "_id", **fields}.items()}
        values = {name: str(one) if isinstance(one, ObjectId) else one for name, one in values.items()}
        try:
            yield shape.model_validate({name: one for name, one in values.items() if one is not None})
        except ValidationError:
            continue
