"""Which pages an operator means: patterns of page paths, and the one matcher for them.

A pattern is a path such as `/trash` and means that page and all pages below it. Segments may have `*` (any characters
but the slash) and `?` (one of them); a segment `**` stands for any number of whole segments, also for none. So
`/user/*/drafts` means the drafts of every user with all that is below them, and `/**/tmp` every page named `tmp`.
Upper and lower case differ, as in GROWI. GROWI allows neither `*` nor `?` in the path of a page, so nothing has to be
quoted. The work of a match is bounded by the product of both lengths, whatever the pattern.
"""

from __future__ import annotations

from collections.abc import Sequence

from growi_transfer.protocol.errors import PagePatternInvalid

PATTERN_LIMIT = 1000
"""Characters."""
PATTERNS = 1000
_ANY = "**"


def check_pattern(pattern: object) -> str:
    """The pattern without slashes at its end (`/` stays). Raises PagePatternInvalid."""
    if not isinstance(pattern, str) or not pattern.startswith("/"):
        raise PagePatternInvalid(f"A page path begins with a slash: {str(pattern)[:80]!r} does not.")
    shown = pattern[:80]
    if len(pattern) > PATTERN_LIMIT:
        raise PagePatternInvalid(f"The page path {shown!r} is longer than {PATTERN_LIMIT} characters.")
    if any(ord(character) < 32 for character in pattern):
        raise PagePatternInvalid(f"The page path {shown!r} has a control character.")
    pattern = pattern.rstrip("/") or "/"
    segments = _segments(pattern)
    if "" in segments:
        raise PagePatternInvalid(f"The page path {shown!r} has two slashes one after the other.")
    if any(_ANY in segment and segment != _ANY for segment in segments):
        raise PagePatternInvalid(f"In {shown!r}, ** has to stand alone between two slashes.")
    return pattern


class PagePatterns:
    """Any number of patterns, compiled once."""

    def __init__(self, patterns: Sequence[str]) -> None:
        plain: list[str] = []
        self._globs: list[list[str]] = []
        for pattern in map(check_pattern, patterns):
            if "*" in pattern or "?" in pattern:
                self._globs.append(_segments(pattern))
            else:
                plain.append(pattern)
        self._plain = frozenset(plain)
        self._below = tuple("/" if one == "/" else one + "/" for one in plain)

    def __bool__(self) -> bool:
        return bool(self._plain or self._globs)

    def match(self, path: str) -> bool:
        """Whether a page with this path is meant: it matches a pattern, or a page above it does."""
        if path in self._plain or path.startswith(self._below):
            return True
        if not self._globs or not path.startswith("/"):
            return False
        segments = _segments(path)
        return any(_match(glob, segments) for glob in self._globs)


def _segments(path: str) -> list[str]:
    return path[1:].split("/") if path != "/" else []


def _match(glob: Sequence[str], path: Sequence[str]) -> bool:
    """Whether the glob matches the path or the beginning of it that some page above has."""
    reached = _past_any(glob, {0})
    for segment in path:
        if len(glob) in reached:
            return True
        reached = _past_any(
            glob,
            {
                position if glob[position] == _ANY else position + 1
                for position in reached
                if glob[position] == _ANY or _match_segment(glob[position], segment)
            },
        )
        if not reached:
            return False
    return len(glob) in reached


def _past_any(glob: Sequence[str], positions: set[int]) -> set[int]:
    """The same positions, and those behind each `**`, which may stand for nothing."""
    for position in tuple(positions):
        while position < len(glob) and glob[position] == _ANY:
            position += 1
            positions.add(position)
    return positions


def _match_segment(glob: str, text: str) -> bool:
    """The usual greedy walk: on a mismatch the last star takes one character more."""
    position = star = mark = 0
    has_star = False
    at = 0
    while at < len(text):
        if position < len(glob) and glob[position] == "*":
            has_star, star, mark = True, position, at
            position += 1
        elif position < len(glob) and glob[position] in ("?", text[at]):
            position += 1
            at += 1
        elif has_star:
            mark += 1
            position, at = star + 1, mark
        else:
            return False
    return not glob[position:].strip("*")
