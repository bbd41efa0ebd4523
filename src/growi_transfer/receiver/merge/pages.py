"""Pages: by path, as far as they are on the tree; those beside it (by link only, in the trash) by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from growi_transfer.mongo.client import Database
from growi_transfer.protocol.growi_references import PATHS
from growi_transfer.protocol.page_tree import TOP, ancestor_paths, imported_path, on_tree
from growi_transfer.protocol.wire import MergeRules
from growi_transfer.receiver.merge.fates import Decision, Fates, key_of
from growi_transfer.receiver.merge.look_up import by_field, by_ids
from growi_transfer.receiver.merge.people import HOMES
from growi_transfer.receiver.merge.report import Conflict, Report

PAGES = "pages"
FIELDS = ("path", "parent", "status", "grant", "isEmpty", "revision")
"""What is looked at; enough for a projection."""
_TAKEN = "paths that were given"


class Pages:
    """Decides about batches, which must come in order of their paths: what moves, moves with all below it."""

    def __init__(self, database: Database, fates: Fates, rules: MergeRules, report: Report, staged: str | None) -> None:
        self._database = database
        self._fates = fates
        self._rules = rules
        self._report = report
        self._staged = staged

    async def pages(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """Decide about some pages."""
        pages = [page for page in batch if isinstance(page.get("path"), str)]
        moves = await self._moves(pages)
        known = await by_ids(self._database, PAGES, [page["_id"] for page in pages], FIELDS)
        at = await self._live([_moved(page["path"], moves) for page in pages])
        decided: list[tuple[Any, Decision]] = []
        paths: list[tuple[Any, Decision]] = []
        for page in pages:
            own = known.get(key_of(page["_id"]))
            path = _moved(page["path"], moves)
            if own is not None:
                decision, path = self._again(page, own), str(own.get("path"))
            elif on_tree(page):
                if path not in at:
                    at |= await self._live([path])  # something above it has moved since
                decision = await self._new(page, path, at[path])
                path = str(decision.changes.get("path", path)) if decision is not None else path
            else:
                moved = path != page["path"]
                decision = Decision(page["_id"], inserts=True, changes={"path": path}) if moved else None
            if decision is not None:
                decided.append((page["_id"], decision))
            if path != page["path"]:
                moves[page["path"]] = path
                paths.append((page["path"], Decision(path)))
        await self._fates.put(PAGES, decided)
        await self._fates.put(PATHS, paths)

    async def _moves(self, pages: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        above = {path for page in pages for path in (page["path"], *ancestor_paths(page["path"]))}
        found = {**await self._fates.get(HOMES, above), **await self._fates.get(PATHS, above)}
        return {path: str(found[key_of(path)].to) for path in above if key_of(path) in found}

    async def _live(self, paths: Sequence[str]) -> dict[str, Mapping[str, Any] | None]:
        """The destination's page on the tree at each path, one with content rather than an empty one."""
        found = await by_field(self._database, PAGES, "path", paths, FIELDS)
        at: dict[str, Mapping[str, Any] | None] = {}
        for path in paths:
            candidates = [page for page in found.get(path, ()) if on_tree(page)]
            candidates.sort(key=lambda page: page.get("isEmpty") is True)
            at[path] = candidates[0] if candidates else None
        return at

    def _again(self, page: Mapping[str, Any], own: Mapping[str, Any]) -> Decision | None:
        """A page that the destination has under the same id: a copy of one wiki, or an earlier merge."""
        empty, own_empty = page.get("isEmpty") is True, own.get("isEmpty") is True
        if empty or all(page.get(name) == own.get(name) for name in ("revision", "grant")):
            return None
        resolution = self._rules.resolution(PAGES, page["path"])
        beside = on_tree(page) != on_tree(own) or own.get("path") == TOP
        if own_empty or (resolution == "overwrite" and not beside):
            if not own_empty:
                self._report.add(Conflict(PAGES, page["path"], "overwrite"))
            return Decision(own["_id"], overwrites=True, changes={"path": own.get("path")})
        self._report.add(Conflict(PAGES, page["path"], "skip"))
        return Decision(own["_id"], kept=True, word="skipped")

    async def _new(self, page: Mapping[str, Any], path: str, there: Mapping[str, Any] | None) -> Decision | None:
        changes = {"path": path} if path != page["path"] else {}
        if there is None:
            return Decision(page["_id"], inserts=True, changes=changes) if changes else None
        if page.get("isEmpty") is True:
            return Decision(there["_id"])  # a step on the way to others, which the destination has too
        if there.get("isEmpty") is True:
            return Decision(page["_id"], inserts=True, changes=changes, replaces=there["_id"])
        resolution = "skip" if path == TOP else self._rules.resolution(PAGES, page["path"])
        if resolution == "rename":
            changes = {"path": await self._free_path(path)}
        self._report.add(Conflict(PAGES, page["path"], resolution, changes.get("path", "")))
        if resolution == "rename":
            return Decision(page["_id"], inserts=True, changes=changes)
        if resolution == "overwrite":
            return Decision(there["_id"], overwrites=True, changes={"path": path})
        return Decision(there["_id"], kept=True, word="skipped")

    async def _free_path(self, path: str) -> str:
        number = 1
        while True:
            candidate = imported_path(path, number)
            places = [PAGES, *([self._staged] if self._staged else [])]
            used = [await by_field(self._database, place, "path", [candidate], ("_id",)) for place in places]
            if not any(used) and not await self._fates.get(_TAKEN, [candidate]):
                await self._fates.put(_TAKEN, [(candidate, Decision(None))])
                return candidate
            number += 1


def _moved(path: str, moves: Mapping[str, str]) -> str:
    """The path after the nearest page above it (or it itself) has moved."""
    for top in (path, *ancestor_paths(path)):
        if top in moves:
            return moves[top] + path[len(top) :]
    return path
