"""What became of single documents of the source, where it is anything but "inserted as it is".

Kept in a collection of the transfer's own, not in memory: in a merge of two copies of one wiki that can be every page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import bson
from bson import ObjectId

from growi_transfer.mongo.client import DECODED, Database
from growi_transfer.mongo.collections import drop
from growi_transfer.protocol.growi_references import Fate

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Decision:
    """About one document of the source."""

    to: Any
    """What references to it become; None: it does not come."""
    inserts: bool = False
    """The document itself is inserted."""
    overwrites: bool = False
    """The destination's document `to` gets its content."""
    kept: bool = False
    """`to` is the destination's own one and stays as it is, with all that belongs to it."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields that get another value."""
    removed: tuple[str, ...] = ()
    """Fields that are left out."""
    replaces: Any = None
    """A document of the destination that makes room."""
    word: str = "mapped"
    """What the report calls it when the document is not inserted."""

    @property
    def fate(self) -> Fate:
        """For references."""
        return Fate(self.to, self.kept)


def key_of(value: Any) -> bytes:
    """Any BSON value as something that can be a key."""
    return bytes(bson.encode({"": value}, codec_options=DECODED))


class Fates:
    """Decisions of one transfer by collection (or another kind of name) and id."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self.kinds: set[str] = set()
        """Kinds that have any."""

    async def forget(self) -> None:
        """Begin anew."""
        await drop(self._database, self._name)
        self.kinds.clear()

    async def put(self, kind: str, decisions: Iterable[tuple[Any, Decision]]) -> None:
        """Remember; what is known under the same id is replaced."""
        updates = [
            {"q": {"_id": {"k": kind, "i": identity}}, "u": _to_document(kind, identity, one), "upsert": True}
            for identity, one in decisions
        ]
        if updates:
            self.kinds.add(kind)
        for start in range(0, len(updates), _AT_ONCE):
            await self._database.command(
                {"update": self._name, "updates": updates[start : start + _AT_ONCE], "ordered": False}
            )

    async def get(self, kind: str, identities: Iterable[Any]) -> dict[bytes, Decision]:
        """Those that are known, by `key_of` the id."""
        if kind not in self.kinds:
            return {}
        wanted = {key_of(identity): identity for identity in identities}
        keys = [{"k": kind, "i": identity} for identity in wanted.values()]
        found: dict[bytes, Decision] = {}
        for start in range(0, len(keys), _AT_ONCE):
            for row in await self._database.find(self._name, {"_id": {"$in": keys[start : start + _AT_ONCE]}}):
                found[key_of(row["_id"]["i"])] = _to_decision(row)
        return found


def object_id(text: Any) -> Any:
    """The ObjectId that 24 hex digits stand for; anything else as it is."""
    return ObjectId(text) if isinstance(text, str) and ObjectId.is_valid(text) else text


def _to_document(kind: str, identity: Any, one: Decision) -> dict[str, Any]:
    # Names of fields as values: they may have dots or dollars in them.
    return {
        "_id": {"k": kind, "i": identity},
        "to": one.to,
        "does": [name for name in ("inserts", "overwrites", "kept") if getattr(one, name)],
        "changes": [[name, value] for name, value in one.changes.items()],
        "removed": list(one.removed),
        "replaces": one.replaces,
        "word": one.word,
    }


def _to_decision(row: Mapping[str, Any]) -> Decision:
    return Decision(
        to=row["to"],
        inserts="inserts" in row["does"],
        overwrites="overwrites" in row["does"],
        kept="kept" in row["does"],
        changes=dict(row["changes"]),
        removed=tuple(row["removed"]),
        replaces=row["replaces"],
        word=row["word"],
    )
