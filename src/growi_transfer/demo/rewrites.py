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
    """The destination's own document stayed, or the named fields of it in the source's; what it did not have is out."""
    SET = "set"
    """The named fields got the told values; the document came into being if there was none."""
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
    """What may differ from the document that it came from: values by name, or ANY, ABSENT, FORMER."""
    was: tuple[str, Any] | None = None
    """Field and value by which the destination knew the document before, where these are others."""

    def __str__(self) -> str:
        return f"{self.collection} {self.by}={self.value!r} ({self.action})"

    def covers(self, document: Mapping[str, Any]) -> bool:
        """Whether this is a change of that document."""
        return self.by in document and _encoded(document[self.by]) == _encoded(self.value)


ANY, ABSENT, FORMER = object(), object(), object()
"""Instead of a value in `Rewrite.fields`: any or none (a time of change); no such field; the destination's former."""


def parse_document(raw: bytes) -> RawBSONDocument:
    return RawBSONDocument(raw, RAW)


def find(documents: Iterable[bytes], rewrite: Rewrite) -> RawBSONDocument | None:
    """The document among the destination's former ones that the rewrite is about."""
    name, value = rewrite.was or (rewrite.by, rewrite.value)
    return next(
        (one for one in map(parse_document, documents) if name in one and _encoded(one[name]) == _encoded(value)), None
    )


def wrong(
    rewrite: Rewrite, source: RawBSONDocument | None, former: RawBSONDocument | None, now: RawBSONDocument | None
) -> str:
    """Why the destination's present document is not what the rewrite says; empty when it is."""
    if rewrite.action is Action.REMOVED:
        return "" if now is None else "it is still there"
    if rewrite.action is Action.KEPT and former is None:
        return "" if now is None else "the destination did not have it, and has it now"
    if rewrite.action is Action.ADDED and source is not None:
        return "the source has one too"
    if rewrite.action is Action.ADDED and former is None:
        return "the destination did not have it before"
    if now is None:
        return "it is gone"
    if former is not None and rewrite.action is Action.KEPT and now.raw == former.raw:
        return ""
    base: Mapping[str, Any] = source or former or {rewrite.by: rewrite.value}
    changed = {name: _wanted(name, value, former) for name, value in rewrite.fields.items()}
    if source is None and rewrite.action is not Action.ADDED:
        # A document that came into being; whose dates are its own only if the destination had it before.
        changed |= {"_id": ANY} if former is not None else {"_id": ANY, "createdAt": ANY}
    return _unlike(now, base, changed)


def _wanted(name: str, value: Any, former: Mapping[str, Any] | None) -> Any:
    return (former or {}).get(name, ABSENT) if value is FORMER else value


def first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The name of the first field in which two documents differ, for people."""
    names: Sequence[str] = [*one, *(name for name in other if name not in one)]
    return next((name for name in names if _element(one, name) != _element(other, name)), "the order of fields")


def _unlike(now: Mapping[str, Any], base: Mapping[str, Any], changed: Mapping[str, Any]) -> str:
    for name in dict.fromkeys([*base, *now, *changed]):
        if name not in changed:
            if _element(now, name) != _element(base, name):
                return f"{name} was changed too"
        elif changed[name] is ANY:
            continue
        elif (changed[name] is ABSENT) != (name not in now):
            return f"{name} is {'missing' if name not in now else 'there'}"
        elif name in now and _encoded(now[name]) != _encoded(changed[name]):
            return f"{name} is {str(now[name])[:80]!r}"
    return ""


def _element(document: Mapping[str, Any], name: str) -> bytes | None:
    return _encoded(document[name]) if name in document else None


def _encoded(value: Any) -> bytes:
    return bson.encode({"": value})
