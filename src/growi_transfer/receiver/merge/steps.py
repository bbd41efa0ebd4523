"""The journal of a merge's commit.

In order: what was merged is told, collections are swapped, views that only the source has come, TTL indexes become TTL
again, the former collections are compared with what was copied, files take their places, what is left over goes. There
are no steps for settings and admins: the destination keeps all of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from growi_transfer.ledger.base import CollectionRow
from growi_transfer.mongo import collections as catalog
from growi_transfer.mongo.client import Database
from growi_transfer.mongo.swap import Swap
from growi_transfer.protocol.errors import CommitFailed, DestinationChanged
from growi_transfer.protocol.names import former_name
from growi_transfer.receiver.merge.copy import Merged
from growi_transfer.receiver.merge.lasting import Expiry, held
from growi_transfer.receiver.merge.merger import Outcome
from growi_transfer.receiver.step_kinds import CREATE_VIEW, FILES, MERGED, SWAP, TIDY, TTL, UNCHANGED


async def merge_steps(
    database: Database, transfer_id: str, rows: Sequence[CollectionRow], outcome: Outcome
) -> list[tuple[str, dict[str, Any]]]:
    """Steps in order: kind and payload."""
    entries = {entry["name"]: entry for entry in await catalog.list_entries(database)}
    numbers = {row.name: row.number for row in rows}
    steps: list[tuple[str, dict[str, Any]]] = [(MERGED, {"report": dict(outcome.report)})]
    formers: list[dict[str, Any]] = []
    ttl_steps: list[tuple[str, dict[str, Any]]] = []
    for merged in outcome.merged:
        if merged.staging not in entries:
            raise CommitFailed(f"The merged copy of {merged.name} is gone.", collection=merged.name)
        swap = Swap(
            live=merged.name,
            live_uuid=catalog.uuid_of(entries.get(merged.name, {})),
            staging=merged.staging,
            staging_uuid=catalog.uuid_of(entries[merged.staging]),
            former=former_name(transfer_id, numbers[merged.name]),
        )
        if bool(swap.live_uuid) != bool(merged.digest):
            raise DestinationChanged(collection=merged.name)
        steps.append((SWAP, asdict(swap)))
        if merged.digest:
            formers.append(former_of(merged, swap.former))
        _, ttl = catalog.split_ttl(catalog.secondary_indexes(catalog.from_metadata(merged.metadata)))
        for index, seconds in ttl.items():
            payload = {"collection": merged.name, "index": index, "seconds": seconds, "metadata": merged.metadata}
            ttl_steps.append((TTL, payload))
    steps += [(CREATE_VIEW, {"name": row.name, "metadata": row.metadata}) for row in outcome.views]
    steps += ttl_steps
    steps += [(UNCHANGED, {"formers": formers}), (FILES, {})]
    swapped = {merged.staging for merged in outcome.merged}
    left = [row.staging for row in rows if row.staging and row.staging not in swapped]
    return [*steps, (TIDY, {"collections": left})]


def former_of(merged: Merged, name: str) -> dict[str, Any]:
    """What `check_unchanged` has to know of a collection that was copied, and will be kept under this name."""
    return {
        "live": merged.name,
        "name": name,
        "documents": merged.documents,
        "digest": merged.digest,
        "fields": [list(one) for one in merged.expiry.fields.items()] if merged.expiry else [],
        "until": merged.expiry.until if merged.expiry else None,
    }


async def check_unchanged(database: Database, formers: Sequence[Mapping[str, Any]]) -> None:
    """Whether the destination's collections held, when they were swapped out, just what had been copied of them.

    Raises DestinationChanged: then the commit is undone, and nothing that was written meanwhile is lost.
    """
    for former in formers:
        seen = await held(database, former["name"], Expiry(dict(former["fields"]), former["until"]))
        if (seen.documents, seen.digest) != (former["documents"], former["digest"]):
            raise DestinationChanged(collection=former["live"])
