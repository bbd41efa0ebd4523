"""GROWI's page tree: who is on it, and how `parent`, `descendantCount` and empty ancestors follow from the paths.

As GROWI's own normalisation does it: the parent of a page is the page at the path above it; where there is none, an
empty page is made; `descendantCount` counts the pages below that are not empty. Pages that are only reached by their
link and those in the trash have no parent and stand beside the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

TOP = "/"
LEVELS = 500
"""Deeper pages are left beside the tree: each level may need a page of its own."""
_SEPARATOR = "\x01"
SORT_KEY: Mapping[str, Any] = {"$replaceAll": {"input": "$path", "find": "/", "replacement": _SEPARATOR}}
"""MongoDB expression by which pages sort so that each is followed by everything below it."""
_PUBLIC, _LINK_ONLY = 1, 2


def sort_key(path: str) -> str:
    """The value of SORT_KEY."""
    return path.replace("/", _SEPARATOR)


def parent_path(path: str) -> str:
    """The path above; that of `/` is `/`."""
    return path.rpartition("/")[0] or TOP


def ancestor_paths(path: str) -> list[str]:
    """Every path above, the nearest first, without `/`."""
    found = []
    while (path := parent_path(path)) != TOP:
        found.append(path)
    return found


def is_below(path: str, top: str) -> bool:
    """Whether `path` is a descendant of `top`."""
    return path != top and (top == TOP or path.startswith(top + "/"))


def on_tree(page: Mapping[str, Any]) -> bool:
    """Whether a page is on the tree, or would be put there by GROWI's normalisation."""
    path = page.get("path")
    if not isinstance(path, str) or not path.startswith(TOP):
        return False
    if path == TOP or page.get("parent") is not None:
        return True
    published = page.get("status", "published") in (None, "published")
    return published and (page.get("isEmpty") is True or page.get("grant", _PUBLIC) in (None, _PUBLIC))


def imported_path(path: str, number: int) -> str:
    """Another path for a page whose path is taken. Homepages of users stay below them: `/user/<name>-...` would be
    somebody else's."""
    if path.startswith("/user/") and path.count("/") == 2:
        return f"{path}/imported-{number}"
    return f"{path}-imported-{number}"


@dataclass(frozen=True, slots=True)
class TreePage:
    """A page as far as the tree is concerned."""

    id: Any
    path: str
    parent: Any = None
    empty: bool = False
    count: int | None = None


@dataclass(frozen=True, slots=True)
class TreeChange:
    """What a page has to have. `is_new`: there was none at this path, and an empty one is to be made."""

    id: Any
    path: str
    parent: Any
    count: int
    is_new: bool = False


@dataclass(slots=True)
class _Node:
    page: TreePage
    parent: _Node | None
    is_new: bool = False
    count: int = 0


@dataclass(slots=True)
class _Level:
    path: str
    nodes: list[_Node] = field(default_factory=list)


class TreeBuilder:
    """Takes the pages of the tree in order of `sort_key` and tells what has to change. Holds one branch at a time."""

    def __init__(self, new_id: Callable[[], Any]) -> None:
        self._new_id = new_id
        self._branch: list[_Level] = []

    def feed(self, page: TreePage) -> list[TreeChange]:
        """The next page; the changes of pages that are complete by now."""
        changes: list[TreeChange] = []
        while self._branch and not (self._branch[-1].path == page.path or is_below(page.path, self._branch[-1].path)):
            changes += self._close()
        if not self._branch and page.path != TOP:
            self._open(TOP)
        if not self._branch or self._branch[-1].path != page.path:
            above = [
                path for path in ancestor_paths(page.path) if self._branch and is_below(path, self._branch[-1].path)
            ]
            for path in reversed(above):
                self._open(path)
            self._branch.append(_Level(page.path))
        self._branch[-1].nodes.append(_Node(page, self._parent_of(page)))
        return changes

    def finish(self) -> list[TreeChange]:
        """The changes of the rest."""
        changes: list[TreeChange] = []
        while self._branch:
            changes += self._close()
        return changes

    def _open(self, path: str) -> None:
        page = TreePage(self._new_id(), path, empty=True)
        self._branch.append(_Level(path))
        self._branch[-1].nodes.append(_Node(page, self._parent_of(page), is_new=True))

    def _parent_of(self, page: TreePage) -> _Node | None:
        if len(self._branch) < 2:
            return None
        above = self._branch[-2].nodes
        return next((node for node in above if node.page.id == page.parent), above[0])

    def _close(self) -> list[TreeChange]:
        changes: list[TreeChange] = []
        for node in self._branch.pop().nodes:
            page, parent = node.page, node.parent.page.id if node.parent else None
            if node.parent is not None:
                node.parent.count += node.count + (0 if page.empty else 1)
            if node.is_new or page.parent != parent or page.count != node.count:
                changes.append(TreeChange(page.id, page.path, parent, node.count, node.is_new))
        return changes
