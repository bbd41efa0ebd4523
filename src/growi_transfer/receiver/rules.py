"""GROWI's rules at a commit: settings that the destination keeps, admins that are rescued, maintenance mode.

`plan` reads both sides before anything is swapped and says everything that `apply` will write, so that the journal
holds it before it is done; `apply` and `undo` may be repeated. What is written is told by key or name, never by value:
settings may be credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from datetime import datetime
from typing import Any

import bson
from bson import ObjectId

from growi_transfer.mongo.client import DECODED, Database
from growi_transfer.mongo.collections import collection_size
from growi_transfer.protocol.errors import CollectionIllegal, DatabaseRefused
from growi_transfer.protocol.growi_config import merge
from growi_transfer.protocol.growi_rules import (
    IDENTITY_FIELDS,
    TOKEN_IDENTITY_FIELDS,
    SettingChange,
    end_maintenance,
    incoming_users_filter,
    plan_admin_rescue,
    plan_settings,
)

CONFIGS, USERS, TOKENS = "configs", "users", "accesstokens"
_CONFIGS_BYTES = 64 << 20
"""Settings are read whole. Those of a large wiki have less than one MiB."""


class Rules:
    """Plans, applies and undoes GROWI's rules on the wiki's own collections. `environment`: GROWI's variables."""

    def __init__(self, database: Database, environment: Mapping[str, str], clock: Callable[[], datetime]) -> None:
        self._database = database
        self._environment = environment
        self._clock = clock

    async def plan(self, staged: Mapping[str, str], setup: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that will be written, for the journal. `staged`: staging name of each collection that comes.

        Documents are raw BSON, because what a wiki holds need not be storable as a part of another document.
        """
        writes: list[dict[str, Any]] = []
        rewritten: list[dict[str, Any]] = []
        rescue: Mapping[str, Any] = {}
        if CONFIGS in staged:
            changes = await self._setting_changes(staged[CONFIGS], setup)
            for change in changes:
                writes.append(await self._setting_write(staged[CONFIGS], change))
                rewritten.append(
                    {"collection": CONFIGS, "key": change.key, "action": change.action, "reason": change.reason}
                )
        if USERS in staged:
            admins = await self._find(USERS, {"admin": True})
            if admins:
                tokens = await self._find(TOKENS, {"user": {"$in": [admin["_id"] for admin in admins]}})
                plan = plan_admin_rescue(
                    admins,
                    tokens,
                    await self._find(staged[USERS], incoming_users_filter(admins), IDENTITY_FIELDS),
                    await self._same_tokens(staged[TOKENS], tokens) if TOKENS in staged else (),
                    new_id=ObjectId,
                )
                rescue = plan.report
                for user in plan.users:
                    writes.append(_insertion(USERS, user))
                    rewritten.append(_rescued(USERS, user["_id"]))
                if TOKENS in staged:
                    for token in plan.access_tokens:
                        writes.append(_insertion(TOKENS, token))
                        rewritten.append(_rescued(TOKENS, token["_id"]))
        return {"writes": writes, "rewritten": rewritten, "rescue": dict(rescue)}

    async def _same_tokens(self, staged: str, tokens: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The incoming access tokens with the id or the hash of one of these; there may be any number of others."""
        same = [{name: {"$in": [token.get(name) for token in tokens]}} for name in TOKEN_IDENTITY_FIELDS]
        return await self._find(staged, {"$or": same}, TOKEN_IDENTITY_FIELDS)

    async def _setting_changes(self, staged: str, setup: Mapping[str, Any]) -> list[SettingChange]:
        size = (await collection_size(self._database, staged))[1]
        if size > _CONFIGS_BYTES:
            raise CollectionIllegal(f"{CONFIGS} has more than {_CONFIGS_BYTES >> 20} MiB.", collection=CONFIGS)
        destination = _by_key(await self._find(CONFIGS, {}))
        incoming = _by_key(await self._find(staged, {}))
        own = merge(self._environment, {key: value for key, value in destination.items() if value is not None})
        return plan_settings(
            destination,
            incoming,
            destination_upload_type=own.file_upload_type,
            source_upload_settings=setup.get("upload_settings", {}),
        )

    async def _setting_write(self, staged: str, change: SettingChange) -> dict[str, Any]:
        before = await self._find(staged, {"key": change.key})
        kept = await self._find(CONFIGS, {"key": change.key})
        after: dict[str, Any] | None = None
        if change.action == "set":
            # The destination's own document where it has one: its dates are the true ones.
            now = self._clock()
            after = {"key": change.key, "createdAt": now, "updatedAt": now}
            if before:
                after = {**before[0], "updatedAt": now}
            elif kept:
                after = {key: value for key, value in kept[0].items() if key != "_id"}
            after.pop("value", None)
            if change.value is not None:
                after["value"] = change.value
            after["_id"] = before[0]["_id"] if before else ObjectId()
        identity = before[0]["_id"] if before else (after or {}).get("_id")
        return {
            "collection": CONFIGS,
            "id": bson.encode({"_id": identity}),
            "before": bson.encode(before[0], codec_options=DECODED) if before else b"",
            "after": bson.encode(after, codec_options=DECODED) if after is not None else b"",
        }

    async def apply(self, plan: Mapping[str, Any]) -> None:
        """Write what was planned into the live collections."""
        for write in plan["writes"]:
            await self._put(write["collection"], write["id"], write["after"])

    async def undo(self, plan: Mapping[str, Any], swapped: Container[str]) -> None:
        """Put back what stood in the incoming collections; only in those that are under their live names (`swapped`),
        or it would be written into the former ones."""
        for write in reversed(plan["writes"]):
            if write["collection"] in swapped:
                await self._put(write["collection"], write["id"], write["before"])

    async def release_maintenance(self) -> None:
        """End maintenance mode in the live wiki."""
        change = end_maintenance()
        await self._database.command(
            {
                "update": CONFIGS,
                "updates": [
                    {"q": {"key": change.key}, "u": {"$set": {"value": change.value, "updatedAt": self._clock()}}}
                ],
            },
            majority=True,
        )

    async def _put(self, collection: str, identity: bytes, document: bytes) -> None:
        query = {"_id": {"$eq": bson.decode(identity, DECODED)["_id"]}}
        if not document:
            command: dict[str, Any] = {"delete": collection, "deletes": [{"q": query, "limit": 1}]}
        else:
            replacement = bson.decode(document, DECODED)
            command = {"update": collection, "updates": [{"q": query, "u": replacement, "upsert": True}]}
            command["bypassDocumentValidation"] = True
        reply = await self._database.command(command, majority=True)
        for error in reply.get("writeErrors", ()):
            # Not the server's words: they hold values, which may be credentials.
            raise DatabaseRefused(
                f"MongoDB refuses a document of {collection} (code {error['code']}).",
                code=int(error["code"]),
                code_name="",
            )

    async def _find(
        self, collection: str, query: Mapping[str, Any], fields: Iterable[str] = ()
    ) -> list[dict[str, Any]]:
        return await self._database.find(collection, query, dict.fromkeys(("_id", *fields), 1) if fields else None)


def _by_key(configs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {one["key"]: one.get("value") for one in configs if isinstance(one.get("key"), str)}


def _insertion(collection: str, document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "collection": collection,
        "id": bson.encode({"_id": document["_id"]}),
        "before": b"",
        "after": bson.encode(document, codec_options=DECODED),
    }


def _rescued(collection: str, identity: Any) -> dict[str, Any]:
    return {"collection": collection, "id": str(identity), "action": "insert", "reason": "rescue"}
