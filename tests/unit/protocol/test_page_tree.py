"""The page tree follows from the paths, whatever parents and counts it had."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.page_tree import (
    TreeBuilder,
    TreePage,
    ancestor_paths,
    imported_path,
    is_below,
    on_tree,
    parent_path,
    sort_key,
)

NAMES = st.sampled_from(["a", "b", "a b", "a-b", "日本", "a.b"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))
PAGES = st.dictionaries(PATHS, st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 9)), max_size=12)


def built(pages: list[TreePage]) -> dict[str, TreePage]:
    """The tree after all changes, by path."""
    fresh = (f"new {number}" for number in count())
    builder = TreeBuilder(lambda: next(fresh))
    changes = [change for page in pages for change in builder.feed(page)] + builder.finish()
    after = {page.path: page for page in pages}
    for change in changes:
        empty = change.is_new or after[change.path].empty
        after[change.path] = TreePage(change.id, change.path, change.parent, empty, change.count)
    return after


@given(PAGES, st.booleans())
def test_a_tree_is_right_after_it_was_put_in_order_and_stays_so(
    found: dict[str, tuple[bool, int, int]], with_top: bool
) -> None:
    pages = [
        TreePage(number, path, parent, empty, size)
        for number, (path, (empty, parent, size)) in enumerate(found.items(), 100)
    ]
    if with_top:
        pages.append(TreePage(99, "/", 7, False, 3))
    pages.sort(key=lambda page: sort_key(page.path))
    tree = built(pages)
    assert set(tree) >= {page.path for page in pages}
    for path, page in tree.items():
        if path == "/":
            assert page.parent is None
        else:
            assert page.parent == tree[parent_path(path)].id
        assert page.count == sum(1 for other in tree.values() if is_below(other.path, path) and not other.empty)
    again = TreeBuilder(lambda: pytest.fail("nothing is missing any more"))
    ordered = sorted(tree.values(), key=lambda page: sort_key(page.path))
    assert not [change for page in ordered for change in again.feed(page)] + again.finish()


@given(st.lists(PATHS, max_size=20))
def test_each_page_is_followed_by_all_below_it(paths: list[str]) -> None:
    ordered = sorted(set(paths), key=sort_key)
    for position, path in enumerate(ordered):
        below = [is_below(other, path) for other in ordered[position + 1 :]]
        assert below == sorted(below, reverse=True)


def test_two_pages_of_one_path_keep_their_children() -> None:
    pages = [TreePage(1, "/", None, False, 3), TreePage(2, "/a", 1, False, 0), TreePage(3, "/a", 1, False, 1)]
    builder = TreeBuilder(lambda: None)
    changes = [change for page in [*pages, TreePage(4, "/a/b", 3, False, 0)] for change in builder.feed(page)]
    assert changes + builder.finish() == []


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ({"path": "/"}, True),
        ({"path": "/a"}, True),
        ({"path": "/a", "grant": 1, "status": "published"}, True),
        ({"path": "/a", "grant": 2}, False),
        ({"path": "/a", "grant": 4}, False),
        ({"path": "/a", "grant": 4, "parent": 1}, True),
        ({"path": "/trash/a", "status": "deleted"}, False),
        ({"path": "/a", "isEmpty": True, "grant": 1}, True),
        ({"path": 1}, False),
        ({}, False),
    ],
)
def test_who_is_on_the_tree(page: dict[str, object], expected: bool) -> None:
    assert on_tree(page) is expected


def test_paths() -> None:
    assert ancestor_paths("/a/b/c") == ["/a/b", "/a"]
    assert ancestor_paths("/") == ancestor_paths("/a") == []
    assert imported_path("/a/b", 2) == "/a/b-imported-2"
    assert imported_path("/user/bob", 1) == "/user/bob/imported-1"
    assert imported_path("/user/bob/memo", 1) == "/user/bob/memo-imported-1"
    assert not is_below("/ab", "/a")
