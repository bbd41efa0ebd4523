"""Patterns of page paths: what they match, against a slower definition of the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.errors import PagePatternInvalid
from growi_transfer.protocol.page_paths import PagePatterns, check_pattern

LETTERS = "ab.-あ$["
segments = st.text(LETTERS, min_size=1, max_size=3)
paths = st.lists(segments, max_size=4).map(lambda parts: "/" + "/".join(parts))
glob_segments = st.one_of(
    st.just("**"), st.text(LETTERS + "*?", min_size=1, max_size=4).filter(lambda t: "**" not in t)
)
patterns = st.lists(glob_segments, max_size=4).map(lambda parts: "/" + "/".join(parts))


def slow(pattern: str, path: str) -> bool:
    """The pattern matches the path itself or one above it."""
    parts = [] if path == "/" else path[1:].split("/")
    above = ["/" + "/".join(parts[:length]) for length in range(len(parts) + 1)]
    expression = ""
    for part in pattern[1:].split("/") if pattern != "/" else []:
        if part == "**":
            expression += "(/[^/]+)*"
        else:
            one = "".join({"*": "[^/]*", "?": "[^/]"}.get(letter, re.escape(letter)) for letter in part)
            expression += f"/{one}"
    return any(re.fullmatch(expression or "", "" if one == "/" else one) for one in above)


@given(patterns, paths)
def test_every_pattern_means_what_the_slow_definition_says(pattern: str, path: str) -> None:
    assert PagePatterns([pattern]).match(path) == slow(pattern, path)


@given(st.lists(patterns, max_size=4), paths)
def test_many_patterns_mean_any_of_them(several: list[str], path: str) -> None:
    assert PagePatterns(several).match(path) == any(PagePatterns([one]).match(path) for one in several)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/trash", "/trash", True),
        ("/trash", "/trash/a/b", True),
        ("/trash", "/trashcan", False),
        ("/trash", "/Trash", False),
        ("/trash", "/a/trash", False),
        ("/user/x", "/user/x/memo/2026", True),
        ("/user/*/drafts", "/user/alice/drafts/one", True),
        ("/user/*/drafts", "/user/alice/more/drafts", False),
        ("/**/tmp", "/tmp", True),
        ("/**/tmp", "/a/b/tmp/c", True),
        ("/a/**/z", "/a/z", True),
        ("/draft-?", "/draft-1", True),
        ("/draft-?", "/draft-12", False),
        ("/", "/anything", True),
        ("/*", "no path", False),
        ("/?o", "xno", False),
        ("/議事録/2025*", "/議事録/2025年/四月", True),
    ],
)
def test_examples(pattern: str, path: str, matches: bool) -> None:
    assert PagePatterns([pattern]).match(path) is matches


def test_no_pattern_takes_long() -> None:
    assert not PagePatterns(["/" + "*a" * 300 + "b"]).match("/" + "a" * 3000)
    assert not PagePatterns(["/**" * 200 + "/b"]).match("/a" * 500)


@pytest.mark.parametrize("pattern", ["", "trash", "*", "/a//b", "/a**", "/**b/c", "/a\nb", "/" + "x" * 1000, None, 7])
def test_patterns_that_are_none(pattern: object) -> None:
    with pytest.raises(PagePatternInvalid):
        check_pattern(pattern)


def test_slashes_at_the_end_do_not_matter() -> None:
    assert check_pattern("/trash//") == "/trash"
    assert check_pattern("///") == "/"
    assert not PagePatterns([])
