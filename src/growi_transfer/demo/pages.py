"""The page tree of the generated wiki, as GROWI 5 and later keep it: `parent`, empty ancestors, `descendantCount`.

Pure: everything follows from the random generator that is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from growi_transfer.demo.text import area, title

PUBLIC, LINK_ONLY, ONLY_ME, GROUP = 1, 2, 4, 5
"""GROWI's grants."""


@dataclass(slots=True)
class Page:
    path: str
    parent: Page | None
    """None for `/`, and for what GROWI keeps outside the tree (link-only pages, the trash)."""
    empty: bool = False
    grant: int = PUBLIC
    trashed: bool = False
    children: int = 0
    descendants: int = 0
    """Pages with content below this one."""
    owner: str = ""
    """Username for a page under `/user/`."""
    number: int = 0
    """Place in the list that `plant` returns."""


def plant(count: int, usernames: Sequence[str], rng: Random) -> list[Page]:
    """A tree of `count` pages with content (at least one) and as many empty ancestors as it needs, parents first."""
    tree = _Tree()
    tree.add("/")
    for path in ("/Sandbox", "/Sandbox/Markdown", "/Sandbox/Bootstrap5", "/Sandbox/Diagrams", "/Sandbox/Math"):
        tree.add_up_to(count, path)
    for username in usernames[: max(1, count // 10)]:
        tree.add_up_to(count, f"/user/{username}", owner=username)
    sections: list[str] = []
    number = 0
    while tree.with_content < count:
        number += 1
        if number % 50 == 0:
            tree.add(f"/trash/{title(rng, number)}", trashed=True)
            continue
        if not sections or rng.random() < 0.03:
            # No page is made here: it is empty until one gets this very path.
            sections.append(f"/{area(rng)}/{title(rng, number)}")
        section = sections[int(rng.random() ** 2 * len(sections))]
        path = f"{section}/{title(rng, number)}"
        tree.add(path)
        if path.count("/") < 7 and rng.random() < 0.15:
            sections.append(path)
    tree.restrict(rng)
    return tree.finish()


class _Tree:
    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}
        self.with_content = 0

    def add_up_to(self, count: int, path: str, *, owner: str = "") -> None:
        if self.with_content < count:
            self.add(path, owner=owner)

    def add(self, path: str, *, owner: str = "", trashed: bool = False) -> None:
        known = self._pages.get(path)
        if known is not None and not known.empty:
            return
        self.with_content += 1
        if known is not None:
            known.empty = False
            return
        parent = None if trashed or path == "/" else self._ancestor(path.rpartition("/")[0] or "/")
        self._pages[path] = Page(path, parent, owner=owner, trashed=trashed)

    def _ancestor(self, path: str) -> Page:
        page = self._pages.get(path)
        if page is None:
            page = Page(path, self._ancestor(path.rpartition("/")[0] or "/"), empty=True)
            self._pages[path] = page
        page.children += 1
        return page

    def restrict(self, rng: Random) -> None:
        """Give some leaves another grant than public."""
        for page in self._pages.values():
            if page.children or page.empty or page.trashed or page.parent is None or page.path.startswith("/Sandbox"):
                continue
            page.grant = rng.choices((PUBLIC, LINK_ONLY, ONLY_ME, GROUP), (84, 4, 6, 6))[0]
            if page.grant == LINK_ONLY and not page.owner:
                page.parent.children -= 1
                page.parent = None
            elif page.grant == LINK_ONLY:
                page.grant = PUBLIC

    def finish(self) -> list[Page]:
        for page in self._pages.values():
            above = page.parent if not page.empty else None
            while above is not None:
                above.descendants += 1
                above = above.parent
        # An empty page exists only for those below it; a link-only page that left the tree may have been the last.
        needed = [page for page in self._pages.values() if not page.empty or page.descendants]
        needed.sort(key=lambda page: (page.path.count("/"), page.path != "/"))
        for number, page in enumerate(needed):
            page.number = number
        return needed
