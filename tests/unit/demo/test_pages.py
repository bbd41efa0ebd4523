from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.demo.identity import seeded
from growi_transfer.demo.pages import LINK_ONLY, plant
from growi_transfer.demo.text import TextPool

POOL = TextPool(1)


@given(count=st.integers(1, 400), seed=st.integers(0, 50))
def test_a_tree_has_as_many_pages_as_asked_and_right_counts(count: int, seed: int) -> None:
    pages = plant(count, ["admin", "user1", "user2"], seeded(str(seed)))
    assert sum(not page.empty for page in pages) == count
    assert pages[0].path == "/"
    assert len({page.path for page in pages}) == len(pages)
    below = dict.fromkeys(range(len(pages)), 0)
    for number, page in enumerate(pages):
        assert page.number == number
        if page.parent is None:
            assert page.path == "/" or page.grant == LINK_ONLY or page.trashed
            continue
        assert page.parent.number < number
        assert page.parent.path == (page.path.rpartition("/")[0] or "/")
        above = None if page.empty else page.parent
        while above is not None:
            below[above.number] += 1
            above = above.parent
    assert [page.descendants for page in pages] == list(below.values())
    assert all(page.descendants for page in pages if page.empty)


@given(page=st.integers(0, 10**6), revision=st.integers(0, 1000), size=st.integers(1, 20_000))
def test_a_body_has_about_the_size_asked(page: int, revision: int, size: int) -> None:
    body = POOL.body(page, revision, size).encode()
    assert size // 2 - 5 <= len(body) <= size * 3 // 2 + 1


def test_bodies_longer_than_the_pool_can_be_made() -> None:
    assert len(POOL.body(3, 0, 12 << 20).encode()) > 6 << 20


def test_revisions_of_a_page_are_alike_and_not_the_same() -> None:
    one, other = POOL.body(7, 1, 4000), POOL.body(7, 2, 4000)
    assert one != other
    assert one[:2000] == other[:2000]
