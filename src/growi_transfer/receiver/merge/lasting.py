"""What a collection held at a moment, without what its TTL indexes are about to delete.

A TTL index deletes all the time, in a wiki that is closed too; so whether somebody has written to a collection can only
be seen in the documents that last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import bson

from growi_transfer.mongo import collections as catalog
from growi_transfer.mongo.client import DECODED, Database
from growi_transfer.mongo.ranges import batch_documents, read
from growi_transfer.protocol.digest import combine, set_digest

AHEAD = timedelta(days=1)
"""Documents that expire within this are left out: longer than any commit takes."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """The fields of a collection's TTL indexes with their seconds, and up to which moment it is looked ahead."""

    fields: Mapping[str, float]
    until: datetime

    @classmethod
    def of(cls, metadata: Mapping[str, Any], now: datetime) -> Expiry:
        found: dict[str, float] = {}
        for index in metadata.get("indexes", ()):
            seconds = index.get("expireAfterSeconds")
            if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and len(index["key"]) == 1:
                found[next(iter(index["key"]))] = float(seconds)
        return cls(found, now + AHEAD)

    def lasting(self, documents: Iterable[bytes]) -> list[bytes]:
        """Those that no TTL index deletes before `until`."""
        if not self.fields:
            return list(documents)
        return [document for document in documents if not self._expires(_decoded(document))]

    def _expires(self, document: Mapping[str, Any]) -> bool:
        for name, seconds in self.fields.items():
            value: Any = document
            for step in name.split("."):
                value = value.get(step) if isinstance(value, dict) else None
            dates = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, datetime)]
            if dates and (self.until - min(dates)).total_seconds() >= seconds:
                return True
        return False


def _decoded(document: bytes) -> dict[str, Any]:
    return bson.decode(document, DECODED)


@dataclass(slots=True)
class Held:
    """Adds up what lasts of a collection, batch by batch."""

    expiry: Expiry
    documents: int = 0
    _digests: list[bytes] = field(default_factory=list)

    async def add(self, batch: Sequence[bytes]) -> None:
        lasting = await asyncio.to_thread(self.expiry.lasting, batch)
        self.documents += len(lasting)
        self._digests = [combine([*self._digests, await asyncio.to_thread(set_digest, lasting)])]

    @property
    def digest(self) -> str:
        """Hex."""
        return combine(self._digests).hex()


async def held(database: Database, name: str, expiry: Expiry) -> Held:
    """What lasts of a collection, as it is now."""
    size = await catalog.collection_size(database, name)
    seen = Held(expiry)
    async for batch in read(database, name, per_batch=batch_documents(*size[:2])):
        await seen.add([bytes(document) for document in batch])
    return seen
