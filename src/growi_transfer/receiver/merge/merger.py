"""A merge at the preparation of its commit: everything is put together in copies, nothing of the wiki is touched.

Made from what is staged and proved, and as late as possible, because the destination is in use until the commit. A
crash in the middle loses nothing: the next try begins anew. What the destination had when it was copied is told by
digests, so that a commit can see whether something was written meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import bson
import structlog

from growi_transfer.ledger.base import CollectionRow, Ledger, Role
from growi_transfer.mongo import collections as catalog
from growi_transfer.mongo.client import DECODED, Database
from growi_transfer.mongo.ranges import batch_documents, read
from growi_transfer.protocol.errors import CommitFailed
from growi_transfer.protocol.growi_references import LINKS, NATURAL_KEYS, REFERENCES
from growi_transfer.protocol.names import merge_map_name, merged_name
from growi_transfer.protocol.places import renamed_path
from growi_transfer.protocol.wire import MergeRules
from growi_transfer.receiver.merge.build import Builder
from growi_transfer.receiver.merge.copy import Copy, Merged
from growi_transfer.receiver.merge.fates import Fates, key_of
from growi_transfer.receiver.merge.pages import PAGES
from growi_transfer.receiver.merge.people import USERS
from growi_transfer.receiver.merge.plan import ATTACHMENTS, Planner
from growi_transfer.receiver.merge.report import Report
from growi_transfer.receiver.merge.tree import rebuild, recount_comments

_log = structlog.get_logger(__name__)
_COMMENTS = "comments"
_NEVER = frozenset({"configs"})
"""The destination's settings are its own."""
_BATCH = 500


@dataclass(slots=True)
class Outcome:
    """What a commit has to swap in."""

    merged: list[Merged] = field(default_factory=list)
    views: list[CollectionRow] = field(default_factory=list)
    report: Mapping[str, Any] = field(default_factory=dict)


class Merger:
    """Prepares merges, one call for each."""

    def __init__(
        self, database: Database, ledger: Ledger, clock: Callable[[], datetime], new_id: Callable[[], Any]
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._clock = clock
        self._new_id = new_id

    async def prepare(self, transfer_id: str, setup: Mapping[str, Any]) -> Outcome:
        """Put everything together, from the beginning. Raises the database's errors."""
        rules = MergeRules.model_validate(setup.get("merge") or {})
        report = Report()
        entries = {entry["name"]: entry for entry in await catalog.list_entries(self._database)}
        rows = await self._ledger.collections(Role.RECEIVER, transfer_id)
        outcome = Outcome(views=[row for row in rows if row.kind == "view" and row.name not in entries])
        moving = {row.name: row for row in rows if self._is_merged(row, entries, report)}
        for row in moving.values():
            if row.staging not in entries:
                # Read all the same, it would be empty, and a merge of nothing.
                raise CommitFailed(f"The staged copy of {row.name} is gone.", collection=row.name)
        fates = Fates(self._database, merge_map_name(transfer_id))
        await fates.forget()
        staged = {name: row.staging for name, row in moving.items()}
        await Planner(self._database, self._ledger, transfer_id, staged, fates, rules, report).run()
        builder = Builder(self._database, fates, rules, report)
        copies: dict[str, Copy] = {}
        for name in sorted(moving, key=lambda one: (one != PAGES, one)):
            row = moving[name]
            if name not in entries and not _is_known(name):
                # As it is staged: there is nothing to be put together with, and nothing to be rewritten.
                documents = int((await self._database.command({"count": row.staging}))["n"])
                report.count(name, "inserted", documents)
                outcome.merged.append(Merged(name, row.staging, row.metadata))
                continue
            copies[name] = copy = Copy(
                self._database,
                name,
                merged_name(transfer_id, row.number),
                live=name in entries,
                metadata=row.metadata,
                now=self._clock(),
            )
            if name not in entries:
                await copy.insert(())  # it arrives even when it is empty
            if name == ATTACHMENTS:
                await self._attachments(transfer_id, row.staging, builder, copy, fates)
            elif name == _COMMENTS and PAGES in copies:
                await self._comments(row.staging, builder, copy, copies[PAGES])
            else:
                await builder.build(name, row.staging, copy)
        pages = copies.get(PAGES)
        if pages is not None and pages.merged is not None:
            await rebuild(self._database, pages, report, new_id=self._new_id, now=self._clock())
        for name, copy in copies.items():
            if copy.merged is None:
                report.untouched.append(name)
                await catalog.drop(self._database, merged_name(transfer_id, moving[name].number))
            else:
                outcome.merged.append(copy.merged)
        await fates.forget()
        outcome.report = report.to_json()
        _log.info("merge_prepared", transfer=transfer_id, collections=len(outcome.merged))
        return outcome

    def _is_merged(self, row: CollectionRow, entries: Mapping[str, Mapping[str, Any]], report: Report) -> bool:
        if not row.staging:
            return False
        kind = catalog.kind_of(entries[row.name]) if row.name in entries else ""
        # Two capped collections cannot be one: the older documents of one would push out the other's.
        if row.name in _NEVER or kind not in ("", "collection", "clustered") or (kind and row.kind == "capped"):
            report.untouched.append(row.name)
            return False
        return True

    async def _comments(self, staged: str, builder: Builder, copy: Copy, pages: Copy) -> None:
        before = copy.name
        async for raw in read(self._database, staged, per_batch=_BATCH):
            documents = [bytes(document) for document in raw]
            came = await builder.apply(_COMMENTS, documents, copy)
            if not came or copy.name == before == copy.live_name:
                continue
            found = await self._database.find(copy.name, {"_id": {"$in": _ids(documents)}}, {"page": 1})
            touched = {key_of(one["page"]): one["page"] for one in found if one.get("page") is not None}
            await recount_comments(self._database, pages, copy, touched.values())

    async def _attachments(self, transfer_id: str, staged: str, builder: Builder, copy: Copy, fates: Fates) -> None:
        """Documents, and which of the files that came are wanted, under which names."""
        size = await catalog.collection_size(self._database, staged)
        async for raw in read(self._database, staged, per_batch=min(_BATCH, batch_documents(*size[:2]))):
            documents = [bytes(document) for document in raw]
            came = await builder.apply(ATTACHMENTS, documents, copy)
            identities = _ids(documents)
            decisions = await fates.get(ATTACHMENTS, identities)
            rows = await self._ledger.get_files(Role.RECEIVER, transfer_id, [str(one) for one in identities])
            changed = []
            for identity in identities:
                row = rows.get(str(identity))
                if row is None:
                    continue
                decision = decisions.get(key_of(identity))
                name = decision.changes.get("fileName") if decision is not None else None
                to = renamed_path(row.path, name) if name else ""
                facts = {**row.facts, "unwanted": key_of(identity) not in came, "to": to}
                if facts != row.facts:
                    changed.append(replace(row, facts=facts))
            await self._ledger.put_files(changed)


def _is_known(name: str) -> bool:
    return name in REFERENCES or name in LINKS or name in NATURAL_KEYS or name in (PAGES, USERS)


def _ids(documents: Sequence[bytes]) -> list[Any]:
    return [bson.decode(document, DECODED)["_id"] for document in documents]
