"""What a merge did, in numbers and first names: for the operator, the receipt and the dry run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_FIRST = 20
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something of the source that is in the way of something of the destination."""

    kind: str
    """`users`, `groups`, `pages`, `external_accounts`, `documents` or `unique_index`."""
    name: str
    resolution: str
    to: str = ""
    """The new name, where it is renamed; the destination's, where it is mapped."""

    def to_json(self) -> dict[str, Any]:
        shown = {"name": self.name[:_SHOWN], "resolution": self.resolution}
        return {**shown, "to": self.to[:_SHOWN]} if self.to else shown


@dataclass(slots=True)
class Report:
    """Grows while a merge is made; bounded in size."""

    collections: dict[str, Counter[str]] = field(default_factory=dict)
    """By collection: documents `inserted`, `same`, `kept` (the destination's own one), `overwritten`, `mapped`,
    `renamed`, `skipped` and `left` (they belong to something that does not come)."""
    conflicts: dict[str, list[Conflict]] = field(default_factory=dict)
    totals: dict[str, Counter[str]] = field(default_factory=dict)
    untouched: list[str] = field(default_factory=list)
    """Collections in which there was nothing to do."""
    tree: Counter[str] = field(default_factory=Counter)

    def count(self, collection: str, what: str, number: int = 1) -> None:
        if number:
            self.collections.setdefault(collection, Counter())[what] += number

    def add(self, conflict: Conflict) -> None:
        self.totals.setdefault(conflict.kind, Counter())[conflict.resolution] += 1
        first = self.conflicts.setdefault(conflict.kind, [])
        if len(first) < _FIRST:
            first.append(conflict)

    def to_json(self) -> dict[str, Any]:
        return {
            "collections": {name: dict(counts) for name, counts in sorted(self.collections.items())},
            "conflicts": self.conflicts_json(),
            "untouched": sorted(self.untouched),
            "tree": dict(self.tree),
        }

    def conflicts_json(self) -> Mapping[str, Any]:
        """Of each kind: how many, how they are resolved, and the first ones."""
        return {
            kind: {
                "total": sum(totals.values()),
                "resolutions": dict(totals),
                "first": [conflict.to_json() for conflict in self.conflicts[kind]],
            }
            for kind, totals in sorted(self.totals.items())
        }
