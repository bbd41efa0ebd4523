"""The page tree of a merged wiki: parents, counts and empty ancestors follow from the paths, comments are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from growi_transfer.mongo.client import Database
from growi_transfer.protocol.page_tree import LEVELS, SORT_KEY, TreeBuilder, TreeChange, TreePage
from growi_transfer.receiver.merge.copy import Copy, encoded
from growi_transfer.receiver.merge.report import Report

_FLUSH = 1000
_ON_TREE: Mapping[str, Any] = {
    "path": {"$type": "string", "$regex": "^/"},
    "$or": [
        {"path": "/"},
        {"parent": {"$ne": None}},
        {"isEmpty": True, "status": {"$in": [None, "published"]}},
    ],
}


async def rebuild(database: Database, pages: Copy, report: Report, *, new_id: Callable[[], Any], now: datetime) -> None:
    """Put the tree in order in one reading, sorted by the server; holds one branch in memory."""
    builder = TreeBuilder(new_id)
    pipeline: list[Mapping[str, Any]] = [
        {"$match": _ON_TREE},
        {"$project": {"path": 1, "parent": 1, "isEmpty": 1, "descendantCount": 1, "order": SORT_KEY}},
        {"$sort": {"order": 1, "_id": 1}},
    ]
    changes: list[TreeChange] = []
    async for batch in database.aggregate(pages.name, pipeline):
        for page in batch:
            if page["path"].count("/") <= LEVELS:
                changes += builder.feed(_tree_page(page))
        if len(changes) >= _FLUSH:
            await _write(pages, report, changes, now)
            changes = []
    await _write(pages, report, [*changes, *builder.finish()], now)


def _tree_page(page: Mapping[str, Any]) -> TreePage:
    count = page.get("descendantCount")
    return TreePage(
        page["_id"],
        page["path"],
        page.get("parent"),
        page.get("isEmpty") is True,
        count if isinstance(count, int) else None,
    )


async def _write(pages: Copy, report: Report, changes: Sequence[TreeChange], now: datetime) -> None:
    fresh = [encoded(_empty_page(change, now)) for change in changes if change.is_new]
    old = [
        (change.id, {"parent": change.parent, "descendantCount": change.count})
        for change in changes
        if not change.is_new
    ]
    if fresh:
        await pages.insert(fresh)
        report.tree["empty_pages_made"] += len(fresh)
    if old:
        await pages.set(old)
        report.tree["pages_put_in_order"] += len(old)


def _empty_page(change: TreeChange, now: datetime) -> dict[str, Any]:
    """As GROWI 7.3 stores one."""
    return {
        "_id": change.id,
        "parent": change.parent,
        "descendantCount": change.count,
        "isEmpty": True,
        "path": change.path,
        "status": "published",
        "grant": 1,
        "grantedUsers": [],
        "liker": [],
        "seenUsers": [],
        "commentCount": 0,
        "grantedGroups": [],
        "updatedAt": now,
        "__v": 0,
        "createdAt": now,
    }


async def recount_comments(database: Database, pages: Copy, comments: Copy, touched: Iterable[Any]) -> None:
    """`commentCount` of some pages, where it is not the number of their comments."""
    wanted = list(touched)
    counts: dict[Any, int] = {}
    counting: list[Mapping[str, Any]] = [
        {"$match": {"page": {"$in": wanted}}},
        {"$group": {"_id": "$page", "n": {"$sum": 1}}},
    ]
    async for batch in database.aggregate(comments.name, counting):
        counts |= {row["_id"]: int(row["n"]) for row in batch}
    changes: list[tuple[Any, Mapping[str, Any]]] = []
    for page in await database.find(pages.name, {"_id": {"$in": wanted}}, {"commentCount": 1}):
        if page.get("commentCount") != counts.get(page["_id"], 0):
            changes.append((page["_id"], {"commentCount": counts.get(page["_id"], 0)}))
    if changes:
        await pages.set(changes)
