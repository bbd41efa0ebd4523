"""Differences that are meant to be: what GROWI's rules change at a commit, as the transfer tells it.

A rule is believed only as far as it says: each told change is checked against the documents of the source, of the
destination as it was before, and of the destination as it is now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

RAW = CodecOptions(RawBSONDocument)


class Action(StrEnum):
    KEPT = "kept"
    """The destination's own document, or only the named fields of it, stayed; what it did not have was left out."""
    SET = "set"
    """The named fields got the told values."""
    ADDED = "added"
    """A document of the destination was put beside the source's; the named fields of it were changed."""
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One change, of the document of `collection` whose field `by` is `value`."""

    collection: str
    by: str
    value: Any
    action: Action
    fields: Mapping[str, Any] = field(default_factory=dict)
    """New values by name for `set` and `added`; for `kept` only the names count."""

    def __str__(self) -> str:
        return f"{self.collection} {self.by}={self.value!r} ({self.action})"

    def covers(self, document: Mapping[str, Any]) -> bool:
        """Whether this is a change of that document."""
        return self.by in document and _encoded(document[self.by]) == _encoded(self.value)


ANY = object()
"""As a value of `Rewrite.fields`: the field may have any value (a time of change)."""


def parse_document(raw: bytes) -> RawBSONDocument:
    return RawBSONDocument(raw, RAW)


def find(documents: Iterable[bytes], rewrite: Rewrite) -> RawBSONDocument | None:
    """The document among these that the rewrite is about."""
    return next((parsed for parsed in map(parse_document, documents) if rewrite.covers(parsed)), None)


def wrong(
    rewrite: Rewrite, source: RawBSONDocument | None, former: RawBSONDocument | None, now: RawBSONDocument | None
) -> str:
    """Why the destination's present document is not what the rewrite says; empty when it is."""
    match rewrite.action:
        case Action.REMOVED:
            return "" if now is None else "it is still there"
        case Action.KEPT:
            if former is None:
                return "" if now is None else "the destination did not have it, and has it now"
            if now is None:
                return "it is gone"
            if now.raw == former.raw:
                return ""
            kept = {name: former.get(name, _ABSENT) for name in rewrite.fields}
            return _unlike(now, former if source is None else source, kept)
        case Action.SET:
            if now is None:
                return "it is gone"
            base = source if source is not None else former
            return _unlike(now, {} if base is None else base, rewrite.fields)
        case Action.ADDED:
            if source is not None:
                return "the source has one too"
            if former is None:
                return "the destination did not have it before"
            return "it is gone" if now is None else _unlike(now, former, rewrite.fields)


def first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The name of the first field in which two documents differ, for people."""
    names: Sequence[str] = [*one, *(name for name in other if name not in one)]
    return next((name for name in names if _element(one, name) != _element(other, name)), "the order of fields")


_ABSENT = object()


def _unlike(now: Mapping[str, Any], base: Mapping[str, Any], changed: Mapping[str, Any]) -> str:
    for name in dict.fromkeys([*base, *now, *changed]):
        if name not in changed:
            if _element(now, name) != _element(base, name):
                return f"{name} was changed too"
        elif changed[name] is ANY:
            continue
        elif (changed[name] is _ABSENT) != (name not in now):
            return f"{name} is {'missing' if name not in now else 'there'}"
        elif name in now and _encoded(now[name]) != _encoded(changed[name]):
            return f"{name} is {str(now[name])[:80]!r}"
    return ""


def _element(document: Mapping[str, Any], name: str) -> bytes | None:
    return _encoded(document[name]) if name in document else None


def _encoded(value: Any) -> bytes:
    return bson.encode({"": value})
