"""What a page shows of one transfer beside its snapshot: set-up and plan, each collection, and every failed item.

All of it is read from the ledger, so it is the same whichever process runs the transfer, and after a restart.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from growi_transfer.ledger.base import FileRow, ItemState, Ledger, Role, Totals, TransferRow
from growi_transfer.protocol.errors import InvalidRequest, all_errors
from growi_transfer.protocol.machine import State
from growi_transfer.pusher.options import options_of
from growi_transfer.web.auth import guard_of, services_of
from growi_transfer.web.present import row_of, shape_of
from growi_transfer.web.requests import api, role_of, transfer_id_of, whole_number

_FAILURES = 50
_FAILURES_LIMIT = 500
_Key = tuple[Role, str, State]
_COLLECTIONS_SECONDS = 1.0
"""How old the sums of collections may be: many watchers cost what one does."""
_REMEMBERED = 50
_TOLD = ("rewritten", "rescue", "strays", "files_replaced", "merge", "kept")


async def details(request: Request) -> Response:
    """What the transfer is, what was agreed to, and how it ended. Nothing in it is a secret."""
    row = await _row(request)
    facts = row.facts
    return JSONResponse(
        {
            "transfer": await shape_of(services_of(request), row),
            "came_from": row.position.came_from.value if row.position.came_from else None,
            "updated_at": row.updated_at.isoformat(),
            "destination": row.setup.get("destination"),
            "preset": row.setup.get("preset"),
            "source": row.setup.get("source"),
            "excluded_collections": list(row.setup.get("excluded_collections", ())),
            "excluded_paths": list(row.setup.get("excluded_paths", ())),
            "options": _options(row),
            "plan": facts.get("plan"),
            "accepted_warnings": facts.get("accepted_warnings") or [],
            "error": facts.get("error"),
            "seconds": facts.get("seconds"),
            "told": _told(facts.get("told")),
            "freeze": facts.get("freeze"),
            "maintenance_released_at": facts.get("maintenance_released_at"),
            "purged_at": facts.get("purged_at"),
        }
    )


def _options(row: TransferRow) -> dict[str, Any] | None:
    """The options in force, in the words of `POST transfer`; None at the receiver, which is not told them."""
    if row.role is not Role.PUSHER:
        return None
    options = options_of(row)
    return {
        "parallelism": {"volumes": options.volumes, "attachments": options.attachments},
        "bandwidth_bytes_per_second": options.bandwidth,
        "deflate": options.deflate,
        "commit": options.commit,
        "deep": options.deep,
        "follow": options.follow,
        "freeze": options.freeze,
        "attachments_first": options.attachments_first,
        "patience_seconds": options.patience,
    }


def _told(told: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if not told else {name: told[name] for name in _TOLD if name in told}


async def collections(request: Request) -> Response:
    """Each collection with what of it has arrived, in the order of names."""
    row = await _row(request)
    sums: CollectionSums = request.state.sums
    return JSONResponse({"collections": await sums.of(services_of(request).ledger, row)})


async def failures(request: Request) -> Response:
    """Files that could not be moved, by page: `after` is the `next` of the page before."""
    row = await _row(request)
    limit = whole_number(request, "limit", _FAILURES, _FAILURES_LIMIT)
    after = request.query_params.get("after", "")
    if len(after) > 24 or not ((after.isascii() and after.isalnum()) or not after):
        raise InvalidRequest("after is the `next` of an earlier answer.", field="after")
    ledger = services_of(request).ledger
    found: list[FileRow] = []
    async for file in ledger.files(row.role, row.id, ItemState.FAILED, after):
        found.append(file)
        if len(found) > limit:
            break
    total = (await ledger.file_totals(row.role, row.id))[ItemState.FAILED].rows
    shown = found[:limit]
    following = shown[-1].attachment_id if len(found) > limit else None
    return JSONResponse({"failures": [_failure(file) for file in shown], "total": total, "next": following})


def _failure(file: FileRow) -> dict[str, Any]:
    return {
        "item": file.path or file.attachment_id,
        "kind": "file",
        "attachment_id": file.attachment_id,
        "bytes": file.size,
        "code": file.reason,
        "message": _MEANINGS.get(file.reason, ""),
        "tries": file.tries,
    }


_MEANINGS = {
    "attachment_file_missing": "The source has no file for this attachment.",
    **{kind.code: (kind.__doc__ or "").split("\n")[0] for kind in all_errors() if "code" in vars(kind)},
}
"""What a code says where only the code was kept."""


class CollectionSums:
    """Sums by collection, kept for a second for each transfer in its state: a page that hears of the last state asks
    once more and then no more, so what it gets must not be from before."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, tuple[float, asyncio.Task[list[dict[str, Any]]]]] = OrderedDict()

    async def of(self, ledger: Ledger, row: TransferRow) -> list[dict[str, Any]]:
        key = (row.role, row.id, row.position.state)
        known = self._known.get(key)
        if known is None or (known[1].done() and time.monotonic() - known[0] > _COLLECTIONS_SECONDS):
            known = (time.monotonic(), asyncio.ensure_future(_collections(ledger, row)))
            self._known[key] = known
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        # A reader that goes away must not end what others wait for.
        return await asyncio.shield(known[1])


async def _collections(ledger: Ledger, row: TransferRow) -> list[dict[str, Any]]:
    stored = await ledger.stored_by_collection(row.role, row.id)
    rows = await ledger.collections(row.role, row.id)
    if not rows:
        return _planned(row)
    found = []
    for one in sorted(rows, key=lambda each: each.name):
        done = stored.get(one.number, Totals())
        found.append(
            {
                "name": one.name,
                "kind": one.kind,
                # The totals are what the server said before it was counted: a source in use may have more by now.
                "documents": _of(done.documents, int(one.facts.get("documents", 0))),
                "bytes": _of(done.bytes, int(one.facts.get("bytes", 0))),
            }
        )
    return found


def _planned(row: TransferRow) -> list[dict[str, Any]]:
    """Before the first row, and after a purge, the plan is all there is."""
    plan: Mapping[str, Any] = row.facts.get("plan") or {}
    return [
        {
            "name": one["name"],
            "kind": one["kind"],
            "documents": _of(0, one["documents"]),
            "bytes": _of(0, one["bytes"]),
        }
        for one in plan.get("collections", ())
    ]


def _of(done: int, total: int) -> dict[str, int]:
    return {"done": done, "total": max(done, total)}


async def _row(request: Request) -> TransferRow:
    guard_of(request).admin(request)
    return await row_of(request, transfer_id_of(request), role_of(request))


ROUTES = [
    api("GET", "/transfers/{transfer_id}/details", details),
    api("GET", "/transfers/{transfer_id}/collections", collections),
    api("GET", "/transfers/{transfer_id}/failures", failures),
]
