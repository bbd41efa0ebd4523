"""Documents out: a collection cut into ranges in `_id` order, and its digest.

Bounds are index bounds (`min`/`max` with the `_id` index as hint), because a query with `$gt` compares within one BSON
type only. `_id`s are never compared in Python: their order is the server's, and depends on the collation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeAlias

import bson
from bson.max_key import MaxKey
from bson.raw_bson import RawBSONDocument

from growi_transfer.mongo.client import BOUNDS, Database, Snapshot
from growi_transfer.protocol.digest import combine, ordered_digest, set_digest
from growi_transfer.protocol.elements import id_document, id_first
from growi_transfer.protocol.wire import RANGE_BYTES

_ID = b"_id\x00"
_BATCH_BYTES = 4 << 20
"""Wanted size of one server batch: large enough to be few, small enough to keep two of them."""


_Bytes: TypeAlias = bytes  # for annotations below a field that is named `bytes`


@dataclass(frozen=True, slots=True)
class RawRange:
    """The documents of one range as they were read. The views keep the server's batches alive: use and drop."""

    minimum: _Bytes | None
    """BSON {"_id": value} of the inclusive lower bound; None is open."""
    maximum: _Bytes | None
    """Exclusive upper bound; None is open."""
    documents: list[_Bytes | memoryview]
    bytes: int
    normalised: int = 0
    """Documents whose `_id` had to be moved to the front, as the server does on insert."""

    def digest(self, *, ordered: bool = False) -> _Bytes:
        """Digest of the documents; call it in a thread."""
        return ordered_digest(self.documents) if ordered else set_digest(self.documents)

    def halves(self, *, ordered: bool = False) -> tuple[RawRange, RawRange]:
        """The same documents as two ranges that follow one another, of about equal size; there must be two. Those of
        an `ordered` one have no bounds."""
        at = size = 0
        for document in self.documents:
            if at and size + len(document) > self.bytes // 2:
                break
            at += 1
            size += len(document)
        first, second = self.documents[:at], self.documents[at:]
        bound = None if ordered else id_document(second[0])
        return (
            RawRange(self.minimum, bound, first, size, self.normalised),
            RawRange(bound, self.maximum, second, self.bytes - size),
        )


def batch_documents(documents: int, size: int) -> int:
    """How many documents to ask for at once, from a collection's estimated count and bytes."""
    average = max(64, size // documents) if documents else 1024
    return max(1, min(50_000, _BATCH_BYTES // average))


AT_THE_END = bson.encode({"_id": MaxKey()})
"""The one lower bound after which there is nothing to scan: only MaxKey itself can have it."""


def _bound(raw: bytes | None) -> tuple[object] | None:
    return None if raw is None else (RawBSONDocument(raw, BOUNDS)["_id"],)


async def read(
    database: Database,
    collection: str,
    minimum: bytes | None = None,
    maximum: bytes | None = None,
    *,
    per_batch: int,
    snapshot: Snapshot | None = None,
    natural: bool = False,
    projection: Mapping[str, Any] | None = None,
    limit: int = 0,
) -> AsyncIterator[list[memoryview]]:
    """Raw documents of everything from `minimum` (inclusive) to `maximum` (exclusive); of at least the first `limit`
    documents, if it is not 0."""
    if minimum != AT_THE_END:
        async for batch in database.raw_batches(
            collection,
            minimum=_bound(minimum),
            maximum=_bound(maximum),
            batch_documents=per_batch,
            snapshot=snapshot,
            natural=natural,
            projection=projection,
            limit=limit,
        ):
            yield batch
    if minimum is not None and maximum is None:
        # An index scan with a lower bound only stops short of MaxKey itself.
        async for batch in database.raw_batches(
            collection, query={"_id": MaxKey()}, snapshot=snapshot, projection=projection
        ):
            yield batch


async def cut(
    database: Database,
    collection: str,
    minimum: bytes | None = None,
    maximum: bytes | None = None,
    *,
    per_batch: int,
    snapshot: Snapshot | None = None,
    natural: bool = False,
    target: int | Callable[[], int] = RANGE_BYTES,
    counts: Iterable[int] = (),
) -> AsyncGenerator[RawRange, None]:
    """Cut everything between two bounds into ranges of about `target` bytes that follow one another without a gap.

    The first range begins at `minimum`, the last one ends at `maximum`; there is at least one, even if it is empty.
    A document larger than `target` makes a range of its own or ends one. `target` may be a function, which is asked
    again for each range. With `natural` the ranges have no bounds, and the first ones have `counts` documents.
    """
    wanted = target if callable(target) else lambda: target
    known = iter(counts)
    count = next(known, 0)
    most = wanted()
    documents: list[bytes | memoryview] = []
    size = normalised = 0
    low = minimum
    async for batch in read(
        database, collection, minimum, maximum, per_batch=per_batch, snapshot=snapshot, natural=natural
    ):
        found, moved = (batch, 0) if natural else await asyncio.to_thread(_id_first, batch)
        for document in found:
            full = len(documents) == count if count else size + len(document) > most
            if documents and full:
                high = None if natural else id_document(document)
                yield RawRange(low, high, documents, size, normalised)
                documents, size, normalised, low = [], 0, 0, high
                count, most = next(known, 0), wanted()
            documents.append(document)
            size += len(document)
        normalised += moved
    yield RawRange(low, None if natural else maximum, documents, size, normalised)


def _id_first(batch: Sequence[memoryview]) -> tuple[Sequence[_Bytes | memoryview], int]:
    """The documents with `_id` at the front of each, as nearly all have it, and how many had not."""
    if all(bytes(document[5:9]) == _ID for document in batch):
        return batch, 0
    documents = [id_first(document) for document in batch]
    return documents, sum(new is not old for new, old in zip(documents, batch, strict=True))


@dataclass(frozen=True, slots=True)
class CollectionDigest:
    documents: int
    bytes: int
    digest: _Bytes


async def digest_collection(
    database: Database,
    collection: str,
    *,
    per_batch: int,
    ordered: list[int] | None = None,
    snapshot: Snapshot | None = None,
    minimum: bytes | None = None,
    maximum: bytes | None = None,
) -> CollectionDigest:
    """Count and digest of a whole collection (or of one range), in flat memory.

    `ordered` gives the document counts of the volumes of a capped collection: then the result is the combination of
    the volumes' sequence digests, in natural order.
    """
    documents = size = 0
    digests: list[bytes] = []
    pending: asyncio.Task[bytes] | None = None
    chain = _Chain(ordered) if ordered is not None else None
    async for batch in read(
        database,
        collection,
        minimum,
        maximum,
        per_batch=per_batch,
        snapshot=snapshot,
        natural=ordered is not None,
    ):
        # One batch is hashed while the server prepares the next.
        if pending is not None:
            digests.append(await pending)
        documents += len(batch)
        size += sum(map(len, batch))
        hashed = asyncio.to_thread(set_digest if chain is None else chain.feed, batch)
        pending = asyncio.ensure_future(hashed)
    if pending is not None:
        digests.append(await pending)
    if chain is not None:
        return CollectionDigest(documents, size, chain.finish())
    return CollectionDigest(documents, size, combine(digests))


class _Chain:
    """Sequence digests of consecutive volumes that have given numbers of documents."""

    def __init__(self, counts: list[int]) -> None:
        self._counts = iter(counts)
        self._left = next(self._counts, -1)
        self._hasher = sha256()
        self._done: list[bytes] = []

    def feed(self, documents: list[memoryview]) -> bytes:
        for document in documents:
            while self._left == 0:
                self._next()
            self._hasher.update(document)
            self._left -= 1
        return b""

    def _next(self) -> None:
        self._done.append(self._hasher.digest())
        self._hasher = sha256()
        self._left = next(self._counts, -1)

    def finish(self) -> bytes:
        while self._left == 0:
            self._next()
        if self._left > 0 or self._hasher.digest() != sha256().digest():
            self._done.append(self._hasher.digest())
        return combine(self._done)
