"""A collection of the destination put together anew: a copy of the live one that takes what the source adds.

The copy is made when the first change comes, so a collection in which there is nothing to do is never copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import bson

from growi_transfer.mongo import collections as catalog
from growi_transfer.mongo.client import DECODED, Database
from growi_transfer.mongo.ranges import batch_documents, read
from growi_transfer.mongo.staging import insert, restore_zero_timestamps
from growi_transfer.protocol.elements import may_have_zero_timestamps, zero_timestamps
from growi_transfer.protocol.errors import DatabaseRefused, DocumentNotStorable
from growi_transfer.receiver.merge.lasting import Expiry, Held

_DUPLICATE = 11000
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Merged:
    """A collection that is to be swapped in."""

    name: str
    staging: str
    metadata: str
    """Options and indexes that it has: those of the destination, if it had one."""
    documents: int = 0
    digest: str = ""
    """What the live collection held when it was copied (hex); empty where there was none."""
    expiry: Expiry | None = None
    """Which documents are left out of both."""


class Copy:
    """One collection. `live`: whether the destination has it; `metadata`: how to make it where not."""

    def __init__(
        self, database: Database, name: str, staging: str, *, live: bool, metadata: str, now: datetime
    ) -> None:
        self._database = database
        self._now = now
        self.live = live
        self.live_name = name
        self._staging = staging
        self._metadata = metadata
        self._copied: Merged | None = None

    @property
    def name(self) -> str:
        """The collection in which to look for what is there by now."""
        return self._staging if self._copied is not None else self.live_name

    @property
    def merged(self) -> Merged | None:
        """What is to be swapped in; None as long as nothing has changed."""
        return self._copied

    async def insert(self, documents: Sequence[bytes]) -> list[tuple[int, str]]:
        """Insert; the positions of those that a unique index refuses, with the fields of the index."""
        await self._make()
        refused: list[tuple[int, str]] = []
        for start in range(0, len(documents), _AT_ONCE):
            batch = documents[start : start + _AT_ONCE]
            for error in await self._database.insert_raw(self._staging, batch):
                if error.get("code") != _DUPLICATE:
                    raise DocumentNotStorable(
                        f"The destination's MongoDB refuses a document of {self.live_name} (code {error.get('code')})."
                    )
                pattern = error.get("keyPattern")
                refused.append((start + int(error["index"]), ", ".join(pattern) if isinstance(pattern, dict) else ""))
        if any(map(may_have_zero_timestamps, documents)):
            gone = {position for position, _ in refused}
            put = [one for position, one in enumerate(documents) if position not in gone and zero_timestamps(one)]
            await restore_zero_timestamps(self._database, self._staging, put)
        return refused

    async def replace(self, documents: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
        """Documents in the place of those with their ids; the positions of those that a unique index refuses."""
        await self._make()
        return await self._update([{"q": {"_id": {"$eq": one["_id"]}}, "u": one, "upsert": True} for one in documents])

    async def set(self, changes: Sequence[tuple[Any, Mapping[str, Any]]]) -> None:
        """Set fields of single documents, by id."""
        await self._make()
        await self._update([{"q": {"_id": {"$eq": identity}}, "u": {"$set": one}} for identity, one in changes])

    async def delete(self, identities: Sequence[Any]) -> None:
        """Take documents out, by id."""
        await self._make()
        for start in range(0, len(identities), _AT_ONCE):
            query = {"_id": {"$in": list(identities[start : start + _AT_ONCE])}}
            await self._database.command({"delete": self._staging, "deletes": [{"q": query, "limit": 0}]})

    async def _update(self, updates: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
        refused: list[tuple[int, str]] = []
        for start in range(0, len(updates), _AT_ONCE):
            reply = await self._database.command(
                {
                    "update": self._staging,
                    "updates": list(updates[start : start + _AT_ONCE]),
                    "ordered": False,
                    "bypassDocumentValidation": True,
                }
            )
            for error in reply.get("writeErrors", ()):
                if error.get("code") != _DUPLICATE:
                    raise DatabaseRefused(
                        f"MongoDB refuses a document of {self.live_name}.", code=int(error["code"]), code_name=""
                    )
                pattern = error.get("keyPattern")
                refused.append((start + int(error["index"]), ", ".join(pattern) if isinstance(pattern, dict) else ""))
        return refused

    async def _make(self) -> None:
        if self._copied is not None:
            return
        metadata = self._metadata
        documents, digest, expiry = 0, "", None
        if self.live:
            metadata = await live_metadata(self._database, self.live_name)
        described = catalog.from_metadata(metadata)
        await catalog.drop(self._database, self._staging)
        await catalog.create_collection(self._database, self._staging, described)
        if self.live:
            expiry = Expiry.of(described, self._now)
            held = await self._fill(expiry)
            documents, digest = held.documents, held.digest
        # Unique ones too: they hold for what is added, and natural keys are looked for by them.
        plain, _ = catalog.split_ttl(catalog.secondary_indexes(described))
        await catalog.create_indexes(self._database, self._staging, plain)
        self._copied = Merged(self.live_name, self._staging, metadata, documents, digest, expiry)

    async def _fill(self, expiry: Expiry) -> Held:
        """Copy the live documents byte for byte; what they were."""
        size = await catalog.collection_size(self._database, self.live_name)
        held = Held(expiry)
        async for batch in read(self._database, self.live_name, per_batch=batch_documents(*size[:2])):
            raw = [bytes(document) for document in batch]
            await held.add(raw)
            await insert(self._database, self._staging, raw)
            if any(map(may_have_zero_timestamps, raw)):
                suspects = [document for document in raw if zero_timestamps(document)]
                await restore_zero_timestamps(self._database, self._staging, suspects)
        return held


async def live_metadata(database: Database, name: str) -> str:
    """Options and indexes of a collection, as it is now."""
    entry = next(one for one in await catalog.list_entries(database) if one["name"] == name)
    return catalog.to_metadata(entry.get("options", {}), await catalog.list_indexes(database, name))


def encoded(document: Mapping[str, Any]) -> bytes:
    """A decoded document as BSON again."""
    return bytes(bson.encode(document, codec_options=DECODED))
