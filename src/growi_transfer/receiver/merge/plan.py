"""The first of two readings of what is staged: decides about every document that others refer to.

In an order in which the ids that a natural key is made of are decided before it: people, tags, pages, the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from growi_transfer.ledger.base import FileRow, Ledger, Role
from growi_transfer.mongo.client import Database
from growi_transfer.protocol.growi_references import NATURAL_KEYS, rewrite
from growi_transfer.protocol.wire import MergeRules
from growi_transfer.receiver.file_rows import is_stored
from growi_transfer.receiver.merge.fates import Decision, Fates, key_of
from growi_transfer.receiver.merge.look_up import by_ids, by_natural_key, natural_key
from growi_transfer.receiver.merge.pages import FIELDS, PAGES, Pages
from growi_transfer.receiver.merge.people import ACCOUNTS, EXTERNAL_GROUPS, GROUPS, USERS, People
from growi_transfer.receiver.merge.report import Report
from growi_transfer.receiver.merge.resolve import resolver

ATTACHMENTS = "attachments"
_BATCH = 500


class Planner:
    """Plans one merge. `staged`: staging collection by name."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        transfer_id: str,
        staged: Mapping[str, str],
        fates: Fates,
        rules: MergeRules,
        report: Report,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._id = transfer_id
        self._staged = staged
        self._fates = fates
        self._people = People(database, fates, rules, report, staged)
        self._pages = Pages(database, fates, rules, report, staged.get(PAGES))

    async def run(self) -> None:
        """Decide. May be run again."""
        async for batch in self._read(ACCOUNTS):
            await self._people.accounts(batch)
        async for batch in self._read(USERS):
            await self._people.users(batch)
        for collection in (GROUPS, EXTERNAL_GROUPS):
            async for batch in self._read(collection):
                await self._people.groups(collection, batch)
        await self._by_keys("tags")
        by_path: list[Mapping[str, Any]] = [
            {"$sort": {"path": 1, "_id": 1}},
            {"$project": dict.fromkeys(FIELDS, 1)},
        ]
        async for batch in self._read(PAGES, by_path):
            await self._pages.pages(batch)
        async for batch in self._read(ATTACHMENTS):
            await self._attachments(batch)
        for collection in ("vectorstores", "newsitems", "bookmarks"):
            await self._by_keys(collection)

    async def _read(
        self, collection: str, pipeline: Sequence[Mapping[str, Any]] | None = None
    ) -> AsyncIterator[list[dict[str, Any]]]:
        if collection in self._staged:
            async for batch in self._database.aggregate(
                self._staged[collection], pipeline or [], batch_documents=_BATCH
            ):
                yield batch

    async def _by_keys(self, collection: str) -> None:
        """Documents that the destination has under another id."""
        async for batch in self._read(collection):
            resolve = await resolver(self._fates, collection, batch)
            known = await by_ids(self._database, collection, [one["_id"] for one in batch], ("_id",))
            pairs = [(one, rewrite(collection, one, resolve)) for one in batch if key_of(one["_id"]) not in known]
            decided: dict[bytes, tuple[Any, Decision]] = {
                key_of(one["_id"]): (one["_id"], Decision(None, word="left")) for one, new in pairs if new is None
            }
            for fields in NATURAL_KEYS[collection]:
                there = await by_natural_key(self._database, collection, fields, [new for _, new in pairs if new])
                twins = await self._twins(collection, fields, [(one, new) for one, new in pairs if new])
                for one, new in pairs:
                    key = natural_key(new, fields) if new is not None else None
                    other = there[key]["_id"] if key in there else twins.get(key_of(one["_id"]))
                    if key is not None and other is not None:
                        decided.setdefault(key_of(one["_id"]), (one["_id"], Decision(other)))
            await self._fates.put(collection, decided.values())

    async def _twins(
        self, collection: str, fields: Sequence[str], pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> dict[bytes, Any]:
        """Documents of the source that become one when two people have: ids of the first, by `key_of` the other."""
        changed = [(one, new) for one, new in pairs if new is not one and natural_key(new, fields) is not None]
        if not changed:
            return {}
        kind = f"{','.join(fields)} of {collection}"
        keys = {key_of(one["_id"]): natural_key(new, fields) for one, new in changed}
        firsts = {key: one.to for key, one in (await self._fates.get(kind, keys.values())).items()}
        staged = await by_natural_key(self._database, self._staged[collection], fields, [new for _, new in changed])
        twins: dict[bytes, Any] = {}
        for one, new in changed:
            key = natural_key(new, fields)
            first = staged[key]["_id"] if key in staged else firsts.setdefault(key_of(key), one["_id"])
            if first != one["_id"]:
                twins[key_of(one["_id"])] = first
        wanted = {key_of(key): key for key in keys.values()}
        await self._fates.put(kind, [(wanted[one], Decision(to)) for one, to in firsts.items() if one in wanted])
        return twins

    async def _attachments(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """A file name that is taken: the same file, or one that gets another name."""
        known = await by_ids(self._database, ATTACHMENTS, [one["_id"] for one in batch], ("_id",))
        fresh = [one for one in batch if key_of(one["_id"]) not in known]
        there = await by_natural_key(self._database, ATTACHMENTS, ("fileName",), fresh)
        taken = [one for one in fresh if (natural_key(one, ("fileName",)) or b"") in there]
        rows: Mapping[str, FileRow] = {}
        if taken:
            rows = await self._ledger.get_files(Role.RECEIVER, self._id, [str(one["_id"]) for one in taken])
        decided: list[tuple[Any, Decision]] = []
        for one in taken:
            row = rows.get(str(one["_id"]))
            if row is not None and is_stored(row) and not row.facts.get("aside"):
                decided.append((one["_id"], Decision(there[natural_key(one, ("fileName",)) or b""]["_id"])))
            else:
                name = self._file_name(one)
                decided.append((one["_id"], Decision(one["_id"], inserts=True, changes={"fileName": name})))
        await self._fates.put(ATTACHMENTS, decided)

    def _file_name(self, attachment: Mapping[str, Any]) -> str:
        """A name of GROWI's kind that follows from the transfer and the attachment."""
        stem = hashlib.sha256(f"{self._id} {attachment['_id']}".encode()).hexdigest()[:32]
        _, dot, extension = str(attachment["fileName"]).rpartition(".")
        return stem + (f".{extension}" if dot and extension.isalnum() and len(extension) <= 16 else "")
