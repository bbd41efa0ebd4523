"""A push to an unmodified GROWI: its archive in one form, then the files, then a look at what it says it has.

A GROWI has no staging and no rollback, and takes the archive at once; what it does with single documents it does not
tell. So nothing is sent before the operator has accepted that, and the result says what was proved: that GROWI took the
archive, and that its listing has every file in its size.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from growi_transfer.ledger.base import ItemState, Ledger, Role
from growi_transfer.ledger.base import Totals as Sum
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.life import Life
from growi_transfer.ledger.process import peak_rss_mib
from growi_transfer.protocol.errors import AttachmentsIncomplete, PeerRefused, TransferError
from growi_transfer.protocol.machine import Event, State
from growi_transfer.protocol.progress import DocumentsStored, Noted, Notice, WarningRaised
from growi_transfer.pusher.export_watch import Wanted
from growi_transfer.pusher.growi_attachments import GrowiAttachments
from growi_transfer.pusher.growi_export import GrowiExporter
from growi_transfer.pusher.growi_forms import archive_form
from growi_transfer.pusher.growi_listing import Listing, parse_listing
from growi_transfer.pusher.growi_peer import GrowiPeer
from growi_transfer.pusher.retry import Retry

_log = structlog.get_logger(__name__)
_KEEP_ALIVE = 300.0
"""Seconds, as GROWI 8.x has it; a GROWI 7.3 does not know the request."""
_READ = 1 << 20
_ROUNDS = 2
_IMPORTED = "growi_import"
"""Fact of a transfer whose archive GROWI has taken: its answer."""
_OVERWRITE = {"isOverwriteAuthorWithCurrentUser": False}
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "pages": {
        **_OVERWRITE,
        "makePublicForGrant2": False,
        "makePublicForGrant4": False,
        "makePublicForGrant5": False,
        "initPageMetadatas": False,
    },
    "revisions": _OVERWRITE,
}


@dataclass(frozen=True, slots=True)
class GrowiSetUp:
    """What is sent, and in whose name."""

    operator: str
    """Id of the user of the source in whose name GROWI imports."""
    upload_configs: Mapping[str, Any]
    exclude_collections: Sequence[str] = ()


class GrowiPush:
    """One run of one transfer. `spool`: a folder for the archive while it is sent."""

    def __init__(
        self,
        *,
        transfer_id: str,
        setup: GrowiSetUp,
        life: Life,
        ledger: Ledger,
        board: ProgressBoard,
        peer: GrowiPeer,
        retry: Retry,
        exporter: GrowiExporter,
        sender: GrowiAttachments,
        spool: Path,
    ) -> None:
        self._id = transfer_id
        self._setup = setup
        self._life = life
        self._ledger = ledger
        self._board = board
        self._peer = peer
        self._retry = retry
        self._exporter = exporter
        self._sender = sender
        self._spool = spool
        self._started = time.monotonic()
        self._seconds: dict[str, float] = {}

    async def run(self) -> None:
        """Go on to `completed`. Raises TransferError."""
        alive = asyncio.ensure_future(self._keep_alive())
        try:
            await self._run()
        finally:
            alive.cancel()
            with suppress(asyncio.CancelledError, TransferError):
                await alive
            with suppress(TransferError):  # what ended the run is the error to tell
                await self._life.note(self._id, {"seconds": self._seconds})

    async def _run(self) -> None:
        state = await self._life.state(self._id)
        await self._life.recount(self._id)
        imported = (await self._life.get(self._id)).facts.get(_IMPORTED)
        if imported:
            self._board.apply(Role.PUSHER, self._id, DocumentsStored(imported["documents"], imported["bytes"], 0))
        if state is State.CREATED:
            state = (await self._life.step(self._id, Event.CHECK_PASSED)).state
        if state is State.CHECKED:
            state = (await self._life.step(self._id, Event.COPY_STARTED)).state
        if state in (State.RECONCILING, State.INDEXING, State.VERIFYING, State.READY):
            state = (await self._life.step(self._id, Event.DIFFERENCE_FOUND)).state
        if state is State.COPYING:
            await self._import()
            await self._files()
            await self._life.step(self._id, Event.COPIED, Event.RECONCILED, Event.INDEXED, Event.VERIFIED)
            state = (await self._life.step(self._id, Event.COMMIT_STARTED)).state
        if state is State.COMMITTING:
            await self._ledger.mark_verified(Role.PUSHER, self._id)
            await self._note_receipt()
            await self._life.step(self._id, Event.COMMITTED)

    async def _keep_alive(self) -> None:
        while True:
            await self._retry.sleep(_KEEP_ALIVE)
            with suppress(TransferError):
                await self._peer.keep_alive()

    # the archive

    async def _import(self) -> None:
        """Have GROWI take the archive, unless it has. A lost answer is asked for by sending it again: everything is
        replaced, so twice has the effect of once."""
        row = await self._life.get(self._id)
        if row.facts.get(_IMPORTED):
            return
        started = time.monotonic()
        self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._spool / f"push-{self._id}.growi.zip"
        try:
            told = await self._exporter.run(path, wanted=Wanted(exclude=self._setup.exclude_collections))
            size = path.stat().st_size
            text = f"The archive has {told['documents']:,} documents in {size:,} bytes."
            noted = Noted("archive_made", text, {"documents": told["documents"], "bytes": size})
            self._board.apply(Role.PUSHER, self._id, noted)
            form = archive_form(
                lambda: _pieces(path),
                size,
                file_name=path.name,
                collections=told["names"],
                options={
                    name: {"collectionName": name, "mode": "flushAndInsert", **_OPTIONS.get(name, {})}
                    for name in told["names"]
                },
                operator=self._setup.operator,
                upload_configs=self._setup.upload_configs,
            )
            answer = await self._retry(lambda: self._peer.import_archive(form))
        finally:
            path.unlink(missing_ok=True)
        _check(answer)
        self._board.apply(Role.PUSHER, self._id, DocumentsStored(told["documents"], told["bytes"], size))
        self._seconds["mongo"] = time.monotonic() - started
        await self._life.note(
            self._id,
            {
                _IMPORTED: {
                    "documents": told["documents"],
                    "bytes": told["bytes"],
                    "collections": len(told["names"]),
                    "answer": {key: answer[key] for key in _TOLD if key in answer},
                }
            },
        )

    # the files

    async def _files(self) -> None:
        started = time.monotonic()
        failed = 0
        for _ in range(_ROUNDS):
            failed = await self._sender.run(await self._listing())
            if failed:
                break
            # What it took is looked for once more: GROWI answers well even when a file is not whole.
            if not await self._lacking(await self._listing()):
                break
        else:
            lacking = await self._lacking(await self._listing())
            if lacking:
                raise AttachmentsIncomplete(
                    f"GROWI does not list {lacking} of the files that it took, or in another size.", files=lacking
                )
        self._seconds["attachments"] = time.monotonic() - started
        if failed:
            raise AttachmentsIncomplete(f"Attachments that could not be transferred: {failed}.", files=failed)

    async def _listing(self) -> Listing:
        body = await self._retry(self._peer.files)
        return await asyncio.to_thread(parse_listing, body)

    async def _lacking(self, listing: Listing) -> int:
        """How many of the files that were sent GROWI does not list."""
        lacking = 0
        async for row in self._ledger.files(Role.PUSHER, self._id, ItemState.STORED):
            lacking += not listing.has_one(row.facts.get("paths", (row.path,)), row.size)
        return lacking

    async def _note_receipt(self) -> None:
        row = await self._life.get(self._id)
        imported = row.facts.get(_IMPORTED, {})
        files = (await self._ledger.file_totals(Role.PUSHER, self._id)).get(ItemState.VERIFIED, Sum())
        notice = Notice(
            "documents_not_confirmed",
            "GROWI took the archive, but does not tell whether it stored every document of it.",
        )
        self._board.apply(Role.PUSHER, self._id, WarningRaised(notice))
        await self._life.note(
            self._id,
            {
                "receipt": {
                    "documents": imported.get("documents", 0),
                    "document_bytes": imported.get("bytes", 0),
                    "attachments": files.rows,
                    "attachment_bytes": files.bytes,
                    "seconds": time.monotonic() - self._started,
                    "mongo_seconds": self._seconds.get("mongo", 0.0),
                    "attachment_seconds": self._seconds.get("attachments", 0.0),
                    "verify_seconds": 0.0,
                    "verified": {"collections": 0, "indexes": 0, "attachments": files.rows, "mismatches": 0},
                    "peak_rss_mib": {"pusher": peak_rss_mib(), "receiver": None},
                }
            },
        )


_TOLD = ("failedCollections", "importAborted", "rescue", "rescueApplied", "postProcessFailures")


def _check(answer: Mapping[str, Any]) -> None:
    """A GROWI 8.x answers with 200 even when it gave up. Raises PeerRefused."""
    failed = answer.get("failedCollections")
    if answer.get("importAborted") is True or (isinstance(failed, list) and failed):
        names = ", ".join(str(name)[:80] for name in failed[:20]) if isinstance(failed, list) else ""
        raise PeerRefused(
            f"GROWI could not import everything: {names or 'it gave up'}.",
            code="mongo_collection_import_failure",
            status=200,
        )


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _READ):
            yield piece
