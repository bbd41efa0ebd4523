"""Users, groups and external accounts that both wikis have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from growi_transfer.mongo.client import Database
from growi_transfer.protocol.wire import MergeRules
from growi_transfer.receiver.merge.fates import Decision, Fates, key_of
from growi_transfer.receiver.merge.look_up import by_field, by_ids, by_natural_key, natural_key
from growi_transfer.receiver.merge.report import Conflict, Report

USERS, GROUPS, EXTERNAL_GROUPS, ACCOUNTS = "users", "usergroups", "externalusergroups", "externalaccounts"
HOMES = "homes"
"""Kind of fate: the path of a user's homepage, when the user has another name at the destination."""
_ACCOUNT_USERS = "account users"
_NAMES = "names of "
_OPTIONAL = ("email", "slackMemberId", "apiToken")
"""Fields that only one user may have, and that a user may do without."""
_USER_FIELDS = ("username", *_OPTIONAL)


class People:
    """Decides about batches. `staged`: names of the staged collections; empty in a dry run."""

    def __init__(
        self, database: Database, fates: Fates, rules: MergeRules, report: Report, staged: Mapping[str, str]
    ) -> None:
        self._database = database
        self._fates = fates
        self._rules = rules
        self._report = report
        self._staged = staged
        self._substitute: Any = None
        self._knows_substitute = False

    async def accounts(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """External accounts that the destination knows tell who is who. Before `users`."""
        fields = ("providerType", "accountId")
        there = await by_natural_key(self._database, ACCOUNTS, fields, batch)
        same: list[tuple[Any, Decision]] = []
        for account in batch:
            known = there.get(natural_key(account, fields) or b"")
            if known is None or known.get("user") == account.get("user"):
                continue
            name = f"{account['providerType']}:{account['accountId']}"
            resolution = self._rules.resolution("external_accounts", name)
            self._report.add(Conflict("external_accounts", name, resolution))
            if resolution == "map":
                same.append((account.get("user"), Decision(known.get("user"))))
        await self._fates.put(_ACCOUNT_USERS, same)

    async def users(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """Users that are at the destination under another id, or whose name or address is taken there."""
        known = await by_ids(self._database, USERS, [user["_id"] for user in batch], ("_id",))
        taken = {
            field: await by_field(self._database, USERS, field, [user.get(field) for user in batch], _USER_FIELDS)
            for field in _USER_FIELDS
        }
        linked = await self._fates.get(_ACCOUNT_USERS, [user["_id"] for user in batch])
        persons = await by_ids(self._database, USERS, [one.to for one in linked.values()], _USER_FIELDS)
        decided: list[tuple[Any, Decision]] = []
        homes: list[tuple[Any, Decision]] = []
        for user in batch:
            key = key_of(user["_id"])
            if key in known:
                continue  # the same person, who stays as the destination knows him
            link = persons.get(key_of(linked[key].to)) if key in linked else None
            decision = await self._user(user, taken, link)
            if decision is None:
                continue
            decided.append((user["_id"], decision))
            name = decision.changes.get("username")
            if name is None and decision.word == "mapped":
                name = (persons.get(key_of(decision.to)) or self._other(user, taken) or {}).get("username")
            if isinstance(name, str) and isinstance(user.get("username"), str) and name != user["username"]:
                homes.append((f"/user/{user['username']}", Decision(f"/user/{name}")))
        await self._fates.put(USERS, decided)
        await self._fates.put(HOMES, homes)

    def _other(self, user: Mapping[str, Any], taken: Mapping[str, Mapping[str, list[Any]]]) -> dict[str, Any] | None:
        for field in ("username", "email"):
            found = taken[field].get(user.get(field, "")) if isinstance(user.get(field), str) else None
            if found:
                return dict(found[0])
        return None

    async def _user(
        self,
        user: Mapping[str, Any],
        taken: Mapping[str, Mapping[str, list[Any]]],
        link: Mapping[str, Any] | None,
    ) -> Decision | None:
        removed = tuple(field for field in _OPTIONAL if _is_taken(taken[field], user.get(field)))
        other = self._other(user, taken) or link
        name = str(user.get("username", ""))
        if other is None:
            return Decision(user["_id"], inserts=True, removed=removed) if removed else None
        resolution = self._rules.resolution("users", name)
        if resolution == "match":
            equal = all(user.get(field) == other.get(field) for field in ("username", "email"))
            resolution = "map" if equal or (link is not None and link["_id"] == other["_id"]) else "rename"
        if resolution == "map":
            self._report.add(Conflict("users", name, "map", str(other.get("username", ""))))
            # `kept`: tokens do not follow; who may use the destination's account is the destination's business.
            return Decision(other["_id"], kept=True)
        if resolution == "skip":
            self._report.add(Conflict("users", name, "skip", self._rules.substitute))
            return Decision(await self._instead(), kept=True, word="skipped")
        changes = {}
        if _is_taken(taken["username"], user.get("username")):
            changes = {"username": await self.free_name(USERS, "username", name)}
        self._report.add(Conflict("users", name, "rename", changes.get("username", name)))
        return Decision(user["_id"], inserts=True, changes=changes, removed=removed)

    async def _instead(self) -> Any:
        if not self._knows_substitute and self._rules.substitute:
            found = await by_field(self._database, USERS, "username", [self._rules.substitute], ("_id",))
            self._substitute = found[self._rules.substitute][0]["_id"] if found else None
        self._knows_substitute = True
        return self._substitute

    async def groups(self, collection: str, batch: Sequence[Mapping[str, Any]]) -> None:
        """Groups (of one of the two collections) whose name is taken."""
        known = await by_ids(self._database, collection, [group["_id"] for group in batch], ("_id",))
        keys = (("name",),) if collection == GROUPS else (("externalId",), ("name", "provider"))
        there = [await by_natural_key(self._database, collection, fields, batch) for fields in keys]
        decided: list[tuple[Any, Decision]] = []
        for group in batch:
            if key_of(group["_id"]) in known:
                continue
            matches = (found.get(natural_key(group, fields) or b"") for fields, found in zip(keys, there, strict=True))
            other = next((match for match in matches if match is not None), None)
            if other is None:
                continue
            name = str(group.get("name", ""))
            resolution = self._rules.resolution("groups", name)
            if resolution == "rename" and collection == EXTERNAL_GROUPS:
                resolution = "map"  # its name is that of the directory it comes from
            changes = {"name": await self.free_name(collection, "name", name)} if resolution == "rename" else {}
            self._report.add(Conflict("groups", name, resolution, changes.get("name", "")))
            if resolution == "rename":
                decided.append((group["_id"], Decision(group["_id"], inserts=True, changes=changes)))
            elif resolution == "skip":
                decided.append((group["_id"], Decision(None, word="skipped")))
            else:
                decided.append((group["_id"], Decision(other["_id"])))
        await self._fates.put(collection, decided)

    async def free_name(self, collection: str, field: str, name: str) -> str:
        """A name that nobody has on either side, nor has got in this merge."""
        number = 1
        while True:
            candidate = f"{name}-imported" if number == 1 else f"{name}-imported-{number}"
            places = [collection, *([self._staged[collection]] if collection in self._staged else [])]
            used = [await by_field(self._database, place, field, [candidate], ("_id",)) for place in places]
            if not any(used) and not await self._fates.get(_NAMES + collection, [candidate]):
                await self._fates.put(_NAMES + collection, [(candidate, Decision(None))])
                return candidate
            number += 1


def _is_taken(found: Mapping[str, Any], value: Any) -> bool:
    return isinstance(value, str) and value in found
