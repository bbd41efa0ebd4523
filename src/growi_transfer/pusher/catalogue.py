"""The source's collections as the transfer knows them: what moves, under which number, and what changed meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from growi_transfer.ledger.base import CollectionRow, Ledger, Role
from growi_transfer.mongo.collections import CollectionInfo, from_metadata, to_metadata
from growi_transfer.mongo.ranges import batch_documents
from growi_transfer.protocol.errors import CollectionIllegal
from growi_transfer.protocol.names import check_collection, is_operating_state
from growi_transfer.protocol.wire import Collection

MOVABLE = ("collection", "capped", "clustered", "view")


@dataclass(frozen=True, slots=True)
class Left:
    """A collection that does not move, and why: `operating_state`, `excluded`, or a kind that cannot be moved."""

    name: str
    reason: str
    documents: int = 0
    bytes: int = 0


def partition(
    found: Iterable[CollectionInfo], excluded: Iterable[str]
) -> tuple[list[CollectionInfo], list[Left], list[CollectionInfo]]:
    """What moves, what is left on purpose, and what cannot be moved (a blocker unless it is excluded)."""
    left_out = set(excluded)
    moving: list[CollectionInfo] = []
    left: list[Left] = []
    unmovable: list[CollectionInfo] = []
    for info in found:
        if is_operating_state(info.name):
            left.append(Left(info.name, "operating_state", info.documents, info.bytes))
        elif info.name in left_out:
            left.append(Left(info.name, "excluded", info.documents, info.bytes))
        elif info.kind not in MOVABLE or not _is_legal(info.name):
            unmovable.append(info)
        else:
            moving.append(info)
    return moving, left, unmovable


def _is_legal(name: str) -> bool:
    try:
        check_collection(name)
    except CollectionIllegal:
        return False
    return True


def to_wire(row: CollectionRow) -> Collection:
    """How a collection is declared to the destination."""
    return Collection(
        number=row.number,
        name=row.name,
        kind=row.kind,  # type: ignore[arg-type]
        uuid=row.source_uuid,
        metadata=row.metadata,
        documents=int(row.facts.get("documents", 0)),
        bytes=int(row.facts.get("bytes", 0)),
    )


def per_batch(row: CollectionRow) -> int:
    """How many documents of this collection to ask for at once."""
    return batch_documents(int(row.facts.get("documents", 0)), int(row.facts.get("bytes", 0)))


class Catalogue:
    """The collection rows of one outgoing transfer."""

    def __init__(self, ledger: Ledger, transfer_id: str) -> None:
        self._ledger = ledger
        self._transfer_id = transfer_id

    async def rows(self) -> list[CollectionRow]:
        """In order of their numbers."""
        return await self._ledger.collections(Role.PUSHER, self._transfer_id)

    async def follow(self, moving: Sequence[CollectionInfo]) -> tuple[list[CollectionRow], bool]:
        """Make the rows fit what the source has now; tells whether anything had changed.

        A collection that was re-created gets a new number, so that nothing of the old one can be taken for it.
        """
        known: dict[str, CollectionRow] = {}
        for one in await self.rows():
            if one.name in known:
                # What `renumber` was about to delete.
                await self._ledger.delete_collection(Role.PUSHER, self._transfer_id, known[one.name].number)
            known[one.name] = one
        free = max((row.number for row in known.values()), default=-1) + 1
        changed = False
        fresh: list[CollectionRow] = []
        current: list[CollectionRow] = []
        for info in moving:
            row: CollectionRow | None = known.pop(info.name, None)
            if row is not None and (row.source_uuid, row.kind) != (info.uuid, info.kind):
                await self._ledger.delete_collection(Role.PUSHER, self._transfer_id, row.number)
                row = None
            if row is None:
                row = CollectionRow(
                    role=Role.PUSHER,
                    transfer_id=self._transfer_id,
                    number=free,
                    name=info.name,
                    kind=info.kind,
                    source_uuid=info.uuid,
                    metadata=info.metadata,
                    facts={"documents": info.documents, "bytes": info.bytes},
                )
                free += 1
                fresh.append(row)
                changed = True
            elif row.metadata != info.metadata:
                if row.kind == "view" or _options_differ(row.metadata, info.metadata):
                    await self._ledger.delete_ranges(Role.PUSHER, self._transfer_id, row.number)
                row = replace(row, metadata=info.metadata)
                fresh.append(row)
                changed = True
            current.append(row)
        for gone in known.values():
            await self._ledger.delete_collection(Role.PUSHER, self._transfer_id, gone.number)
            changed = True
        await self._ledger.put_collections(fresh)
        return sorted(current, key=lambda row: row.number), changed

    async def is_newer(self, moving: Sequence[CollectionInfo]) -> bool:
        """Whether the source has other collections, options or indexes than the rows."""
        known = {row.name: (row.source_uuid, row.kind, row.metadata) for row in await self.rows()}
        return known != {info.name: (info.uuid, info.kind, info.metadata) for info in moving}

    async def renumber(self, row: CollectionRow) -> None:
        """Begin a collection again under a number that was never used: what the destination holds under the old one
        does not fit any more."""
        number = max(known.number for known in await self.rows()) + 1
        await self._ledger.put_collections([replace(row, number=number)])
        await self._ledger.delete_collection(Role.PUSHER, self._transfer_id, row.number)


def _options_differ(old: str, new: str) -> bool:
    return to_metadata(from_metadata(old).get("options", {}), ()) != to_metadata(
        from_metadata(new).get("options", {}), ()
    )
