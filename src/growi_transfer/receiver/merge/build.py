"""The second reading of what is staged: every document goes where the plan says, with its references rewritten."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bson

from growi_transfer.mongo import collections as catalog
from growi_transfer.mongo.client import DECODED, Database
from growi_transfer.mongo.ranges import batch_documents, read
from growi_transfer.protocol.growi_references import NATURAL_KEYS, rewrite
from growi_transfer.protocol.page_tree import LEVELS, TOP, on_tree
from growi_transfer.protocol.wire import MergeRules
from growi_transfer.receiver.merge.copy import Copy, encoded
from growi_transfer.receiver.merge.fates import Decision, Fates, key_of
from growi_transfer.receiver.merge.look_up import by_ids, by_natural_key, natural_key
from growi_transfer.receiver.merge.pages import PAGES
from growi_transfer.receiver.merge.people import EXTERNAL_GROUPS, GROUPS, USERS
from growi_transfer.receiver.merge.report import Conflict, Report
from growi_transfer.receiver.merge.resolve import resolver

_BATCH = 500
_DECIDED = (USERS, GROUPS, EXTERNAL_GROUPS, PAGES)
"""Of these the plan alone says what is overwritten."""
_TOGETHER = "yjs-writings"
"""All documents of one natural key are one thing: the unsaved edits of a page."""


@dataclass(slots=True)
class _Work:
    """What one batch comes to."""

    inserts: list[tuple[dict[str, Any], bytes, str]] = field(default_factory=list)
    replaces: list[dict[str, Any]] = field(default_factory=list)
    deletes: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _There:
    """What the collection has already."""

    by_id: Mapping[bytes, Mapping[str, Any]]
    by_key: Sequence[tuple[tuple[str, ...], Mapping[bytes, Mapping[str, Any]]]]
    seen: dict[bytes, Any] = field(default_factory=dict)

    def other(self, document: Mapping[str, Any], *, alone: bool) -> Any:
        """The id of the document that is about the same thing, or None."""
        for fields, found in self.by_key:
            key = natural_key(document, fields)
            if key is None:
                continue
            if key in found:
                return found[key]["_id"]
            mark = ",".join(fields).encode() + key
            if alone and mark in self.seen:
                return self.seen[mark]
            self.seen[mark] = document["_id"]
        return None


class Builder:
    """Puts one collection after the other together."""

    def __init__(self, database: Database, fates: Fates, rules: MergeRules, report: Report) -> None:
        self._database = database
        self._fates = fates
        self._rules = rules
        self._report = report

    async def build(self, name: str, staged: str, copy: Copy) -> None:
        """Apply all of a staged collection."""
        size = await catalog.collection_size(self._database, staged)
        async for raw in read(self._database, staged, per_batch=min(_BATCH, batch_documents(*size[:2]))):
            await self.apply(name, [bytes(document) for document in raw], copy)

    async def apply(self, name: str, raw: Sequence[bytes], copy: Copy) -> set[bytes]:
        """Apply some documents; the keys (`key_of` the id) of those that came."""
        documents: list[dict[str, Any]] = await asyncio.to_thread(_decoded, raw)
        decisions = await self._fates.get(name, [document["_id"] for document in documents])
        resolve = await resolver(self._fates, name, documents)
        rewritten = await asyncio.to_thread(lambda: [rewrite(name, document, resolve) for document in documents])
        there = await self._there(name, documents, [one for one in rewritten if one is not None], copy)
        work = _Work()
        came: set[bytes] = set()
        for document, original, new in zip(documents, raw, rewritten, strict=True):
            key = key_of(document["_id"])
            decision = decisions.get(key)
            if decision is not None:
                came |= {key} if self._decided(name, document, new, decision, there, work) else set()
            elif new is None:
                self._report.count(name, "left")
            elif key in there.by_id:
                came |= {key} if self._again(name, new, there.by_id[key], work) else set()
            else:
                other = there.other(new, alone=name != _TOGETHER)
                if other is not None and self._rules.documents == "overwrite" and name != _TOGETHER:
                    work.replaces.append({**new, "_id": other})
                elif other is not None:
                    self._report.count(name, "mapped")
                else:
                    came.add(key)
                    final = _planted(document, new) if name == PAGES else new
                    work.inserts.append((final, original if final is document else encoded(final), "inserted"))
        return came - await self._do(name, work, copy)

    async def _there(
        self, name: str, documents: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], copy: Copy
    ) -> _There:
        by_id = await by_ids(self._database, copy.name, [document["_id"] for document in documents])
        keys = () if name in _DECIDED else NATURAL_KEYS.get(name, ())
        place = copy.live_name if name == _TOGETHER else copy.name
        return _There(by_id, [(one, await by_natural_key(self._database, place, one, new)) for one in keys])

    def _decided(
        self,
        name: str,
        document: Mapping[str, Any],
        new: dict[str, Any] | None,
        decision: Decision,
        there: _There,
        work: _Work,
    ) -> bool:
        """What the plan has decided; whether the document itself comes."""
        if new is None or not (decision.inserts or decision.overwrites):
            self._report.count(name, "left" if new is None else decision.word)
            return False
        final = {key: value for key, value in {**new, **decision.changes}.items() if key not in decision.removed}
        if name == PAGES:
            final = _planted(document, final)
        if decision.overwrites:
            final["_id"] = decision.to
            work.replaces.append(final)
            return True
        if key_of(document["_id"]) in there.by_id:
            self._report.count(name, "same")
            return True
        if decision.replaces is not None:
            work.deletes.append(decision.replaces)
        work.inserts.append((final, encoded(final), "renamed" if decision.changes else "inserted"))
        return True

    def _again(self, name: str, new: dict[str, Any], there: Mapping[str, Any], work: _Work) -> bool:
        """A document whose id the destination has too; whether what comes with it is wanted."""
        if encoded(new) == encoded(there):
            self._report.count(name, "same")
            return True
        if name in _DECIDED or self._rules.documents != "overwrite":
            self._report.count(name, "kept")
            if name not in _DECIDED:
                self._report.add(Conflict("documents", f"{name} {new['_id']}", "skip"))
            return False
        self._report.add(Conflict("documents", f"{name} {new['_id']}", "overwrite"))
        work.replaces.append(new)
        return True

    async def _do(self, name: str, work: _Work, copy: Copy) -> set[bytes]:
        """Write; the keys of documents that a unique index refuses."""
        refused: set[bytes] = set()
        if work.deletes:
            await copy.delete(work.deletes)
        if work.inserts:
            failed = dict(await copy.insert([raw for _, raw, _ in work.inserts]))
            for position, (document, _, word) in enumerate(work.inserts):
                if position in failed:
                    refused.add(key_of(document["_id"]))
                    self._refused(name, document, failed[position])
                else:
                    self._report.count(name, word)
        if work.replaces:
            failed = dict(await copy.replace(work.replaces))
            for position, document in enumerate(work.replaces):
                if position in failed:
                    self._refused(name, document, failed[position])
                else:
                    self._report.count(name, "overwritten")
        return refused

    def _refused(self, name: str, document: Mapping[str, Any], index: str) -> None:
        self._report.count(name, "skipped")
        self._report.add(Conflict("unique_index", f"{name} {document['_id']} ({index})", "skip"))


def _decoded(raw: Sequence[bytes]) -> list[dict[str, Any]]:
    return [bson.decode(document, DECODED) for document in raw]


def _planted(document: Mapping[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A page on its way to the tree: its parent is found by its path when all pages are there; until then its own id
    says that it belongs there."""
    path = new.get("path")
    if not on_tree(document) or path == TOP or not isinstance(path, str):
        return new
    return {**new, "parent": new["_id"] if path.count("/") <= LEVELS else None}
