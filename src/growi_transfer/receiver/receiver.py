"""The destination's role, as one object: what the web routes and the command line call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from growi_transfer.archive.growi_archive import is_growi_archive
from growi_transfer.archive.reader import open_archive
from growi_transfer.ledger.base import ItemState, Ledger, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.life import require
from growi_transfer.ledger.process import peak_rss_mib
from growi_transfer.ledger.retention import rollback_until
from growi_transfer.mongo.client import Database
from growi_transfer.protocol.errors import TransferNotFound
from growi_transfer.protocol.machine import Event, State
from growi_transfer.protocol.merge_keys import MergePlan
from growi_transfer.protocol.progress import Notice, Planned, WarningRaised
from growi_transfer.protocol.receipt import CounterSignature
from growi_transfer.protocol.shape import to_json
from growi_transfer.protocol.wire import AttachmentFile, Claim, CopyPage, PlanPage, PutTransfer, Verify
from growi_transfer.receiver.abandoned import BROUGHT_IN_BY, by_this_process
from growi_transfer.receiver.archive_import import import_archive
from growi_transfer.receiver.attachments import Attachments
from growi_transfer.receiver.beginnings import Beginnings
from growi_transfer.receiver.endings import Endings
from growi_transfer.receiver.growi_import import import_growi_archive
from growi_transfer.receiver.importer import Appended, Importer
from growi_transfer.receiver.in_flight import InFlight
from growi_transfer.receiver.keys import Keys
from growi_transfer.receiver.merge.dry_run import dry_run
from growi_transfer.receiver.proof import Prover
from growi_transfer.receiver.receipts import Receipts
from growi_transfer.receiver.staging_proof import StagingProof
from growi_transfer.receiver.transfers import Transfers
from growi_transfer.receiver.uploads import Uploads, UploadState
from growi_transfer.receiver.work import VERIFICATION, Work
from growi_transfer.storage.base import Storage, StoredFile

_COPYING = (State.COPYING, State.RECONCILING, State.INDEXING, State.VERIFYING, State.READY)
"""Data may come in all of these: the source decides when it has looked at everything. The receiver itself is
`reconciling` for one write only, but a crash may leave it there."""


class Receiver:
    """Takes transfers in. Use inside `running()`, which owns the background work and ends it."""

    def __init__(
        self,
        *,
        database: Database,
        ledger: Ledger,
        board: ProgressBoard,
        keys: Keys,
        transfers: Transfers,
        importer: Importer,
        staging: StagingProof,
        prover: Prover,
        attachments: Attachments,
        uploads: Uploads,
        beginnings: Beginnings,
        endings: Endings,
        work: Work,
        in_flight: InFlight,
        receipts: Receipts,
        info: Callable[[], Awaitable[dict[str, Any]]],
        storage: Storage,
        new_id: Callable[[], str],
        growi_version: str | None,
        retention: timedelta,
    ) -> None:
        self.keys = keys
        self._database = database
        self._ledger = ledger
        self._board = board
        self._transfers = transfers
        self._importer = importer
        self._staging = staging
        self._prover = prover
        self._attachments = attachments
        self._uploads = uploads
        self._info = info
        self._storage = storage
        self._new_id = new_id
        self._growi_version = growi_version
        self._retention = retention
        self._beginnings = beginnings
        self._endings = endings
        self._work = work
        self._in_flight = self.in_flight = in_flight
        self._receipts = receipts
        self._setting_up: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._going_back: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._serving = False

    @asynccontextmanager
    async def running(self, *, finish_commits: bool) -> AsyncIterator[None]:
        """Owns the background work. `finish_commits`: this is the server, and first finishes what a crash interrupted;
        another process must not, while the server may be at it."""
        self._serving = finish_commits
        if finish_commits:
            for row in await self._ledger.list_transfers(Role.RECEIVER):
                if row.position.state in _COPYING:
                    await self._transfers.recount(row.id)
            await self._endings.finish_interrupted()
        try:
            yield
        finally:
            await self._work.end_all()

    # what the source asks before it sends

    async def growi_info(self) -> dict[str, Any]:
        """GROWI's document about this instance plus our `transfer` block."""
        return await self._info()

    async def plan_merge(self, part: MergePlan) -> dict[str, Any]:
        """What of a part of the source's wiki would be in the way of a merge. Writes nothing."""
        return await dry_run(self._database, part)

    async def put_transfer(
        self, transfer_id: str, body: PutTransfer, *, key_id: str | None, epoch: int, brought_in: bool = False
    ) -> dict[str, Any]:
        """Begin or go on with a transfer; sending the same again changes nothing. `brought_in`: this process has all of
        it, and nobody goes on with it once it is gone.

        Raises KeyClaimed, DestinationBusy, SetupDiffers, Superseded, StateConflict, CollectionIllegal.
        """
        # A request whose line was cut is still worked on when it is sent again.
        async with self._setting_up.setdefault(transfer_id, asyncio.Lock()):
            return await self._put_transfer(transfer_id, body, key_id=key_id, epoch=epoch, brought_in=brought_in)

    async def _put_transfer(
        self, transfer_id: str, body: PutTransfer, *, key_id: str | None, epoch: int, brought_in: bool
    ) -> dict[str, Any]:
        facts = by_this_process(server=self._serving) if brought_in else {}
        await self._beginnings.begin(transfer_id, body.setup, key_id=key_id, epoch=epoch, facts=facts)
        row = await self._transfers.admit(transfer_id, epoch)
        if row.position.state is State.CHECKED:
            await self._transfers.step(transfer_id, Event.COPY_STARTED)
        else:
            # What is declared may differ from what was proved, even if no volume follows.
            await self._admit_data(transfer_id, epoch)
        await self._importer.declare(transfer_id, body.collections)
        self._board.apply(
            Role.RECEIVER,
            transfer_id,
            Planned(
                documents=sum(collection.documents for collection in body.collections),
                files=body.files_total,
                bytes=sum(collection.bytes for collection in body.collections) + body.file_bytes_total,
            ),
        )
        return await self.transfer(transfer_id)

    async def claim(self, transfer_id: str, body: Claim, *, key_id: str) -> dict[str, Any]:
        """Let a new key take over a transfer, whatever state it is in. Raises SetupDiffers, KeyClaimed."""
        await self._beginnings.take_over(transfer_id, body.setup, key_id=key_id)
        return await self.transfer(transfer_id)

    async def transfer(self, transfer_id: str) -> dict[str, Any]:
        """The public shape, and what is held: the authority on resume."""
        row = await self._transfers.get(transfer_id)
        until = rollback_until(row, self._retention)
        held = {
            "epoch": row.epoch,
            "verify": row.facts.get("verify"),
            "error": row.facts.get("error"),
            "told": row.facts.get("told"),
            "rollback_until": until.isoformat() if until else None,
            "working": transfer_id in self._work,
            "peak_rss_mib": peak_rss_mib(),
        }
        return {"transfer": to_json(self._board.shown(row)), "held": held}

    async def volumes(self, transfer_id: str, collection: str) -> list[dict[str, Any]]:
        """The ranges of a collection that are stored whole: number, count, digest."""
        await self._transfers.get(transfer_id)
        row = await self._importer.row(transfer_id, collection)
        return [
            {"number": held.number, "documents": held.documents, "bytes": held.bytes, "digest": held.digest.hex()}
            async for held in self._ledger.ranges(Role.RECEIVER, transfer_id, row.number)
            if held.state in (ItemState.STORED, ItemState.VERIFIED)
        ]

    # data

    async def _admit_data(self, transfer_id: str, epoch: int) -> None:
        require(await self._transfers.admit(transfer_id, epoch), *_COPYING)
        # Of several requests that come at once the first one goes back to copying, and the others wait for that.
        async with self._going_back.setdefault(transfer_id, asyncio.Lock()):
            row = await self._transfers.get(transfer_id)
            require(row, *_COPYING)
            if row.position.state is State.COPYING:
                return
            # The step first: a commit that began meanwhile refuses it, and then its work must not be ended.
            await self._transfers.step(transfer_id, Event.DIFFERENCE_FOUND)
            await self._work.end(transfer_id)
            await self._transfers.note(transfer_id, {"verify": None})
            await self._staging.drop_indexes(transfer_id)

    async def put_volume(
        self, transfer_id: str, collection: str, number: int, body: bytes, *, epoch: int
    ) -> dict[str, Any]:
        """Store one volume; durable when this returns."""
        async with self._in_flight.of(transfer_id):
            await self._admit_data(transfer_id, epoch)
            started = time.monotonic()
            stored = await self._importer.put_volume(
                transfer_id, collection, number, body, admit=lambda: self._admit_data(transfer_id, epoch)
            )
        return {
            "number": stored.number,
            "documents": stored.documents,
            "digest": stored.digest.hex(),
            "seconds": time.monotonic() - started,
        }

    async def append(
        self, transfer_id: str, collection: str, number: int, documents: Sequence[bytes], *, keep_first: bool
    ) -> Appended:
        """Stage documents of an archive, which come in no known order and only once."""
        return await self._importer.append(transfer_id, collection, number, documents, keep_first=keep_first)

    def warn(self, transfer_id: str, notice: Notice) -> None:
        """Something that whoever looks at the transfer has to know."""
        self._board.apply(Role.RECEIVER, transfer_id, WarningRaised(notice))

    async def left_to_the_admin(self, transfer_id: str) -> None:
        """An import that is proved and not to be committed at once waits for that, whatever becomes of this process."""
        await self._transfers.note(transfer_id, {BROUGHT_IN_BY: None})

    async def plan_attachments(self, transfer_id: str, page: PlanPage, *, epoch: int) -> dict[str, Any]:
        """Which files of a page are missing here; those of removed attachments go."""
        require(await self._transfers.admit(transfer_id, epoch), *_COPYING)
        if page.gone:
            async with self._in_flight.of(transfer_id):
                await self._admit_data(transfer_id, epoch)
                await self._attachments.drop(transfer_id, page.gone)
        return await self._attachments.plan(transfer_id, page.files)

    async def put_bundle(self, transfer_id: str, body: bytes | CopyPage, *, epoch: int) -> dict[str, Any]:
        """Store a bundle of small files, or files that the store copies: one result per file."""
        async with self._in_flight.of(transfer_id):
            await self._admit_data(transfer_id, epoch)
            if isinstance(body, CopyPage):
                return {"results": await self._attachments.copy(transfer_id, body)}
            return {"results": await self._attachments.put_bundle(transfer_id, body)}

    async def upload_state(self, transfer_id: str, attachment_id: str) -> UploadState:
        """Where a large file is."""
        await self._transfers.get(transfer_id)
        return await self._uploads.upload_state(transfer_id, attachment_id)

    async def patch_upload(
        self,
        transfer_id: str,
        attachment_id: str,
        *,
        file: AttachmentFile | None,
        offset: int,
        complete: bool,
        sha256: str | None,
        chunks: AsyncIterator[bytes],
        epoch: int,
    ) -> UploadState:
        """Append to a large file."""
        async with self._in_flight.of(transfer_id):
            await self._admit_data(transfer_id, epoch)
            return await self._uploads.patch_upload(
                transfer_id,
                attachment_id,
                file=file,
                offset=offset,
                complete=complete,
                sha256=sha256,
                chunks=chunks,
            )

    # proof

    async def verify(self, transfer_id: str, expected: Verify, *, epoch: int) -> dict[str, Any]:
        """Build indexes and read staging back, in the background; the answer may wait for the end for some seconds.

        Asking again goes on waiting; the outcome stands in `held.verify`.
        """
        row = await self._transfers.admit(transfer_id, epoch)
        require(row, *_COPYING)
        if row.position.state is not State.READY and transfer_id not in self._work:
            self._work.begin(transfer_id, self._prover.run(transfer_id, expected), VERIFICATION)
        await self._work.wait(transfer_id, seconds=expected.seconds)
        return await self.transfer(transfer_id)

    async def receipt(self, transfer_id: str) -> dict[str, Any]:
        """The newest version of the receipt. Raises ReceiptNotFound before the transfer is `ready`."""
        return (await self._receipts.get(transfer_id)).to_json()

    async def countersign(self, transfer_id: str, mark: CounterSignature) -> dict[str, Any]:
        """Keep the source's mark under the receipt."""
        await self._receipts.countersign(transfer_id, mark)
        return await self.receipt(transfer_id)

    # commit and the ways back: see `receiver.endings`

    async def commit(self, transfer_id: str, *, epoch: int | None) -> dict[str, Any]:
        """Swap what was verified in. Once begun it goes on even if nobody waits for the answer."""
        await self._endings.commit(transfer_id, epoch=epoch)
        return await self.transfer(transfer_id)

    async def rollback(self, transfer_id: str, *, epoch: int | None) -> dict[str, Any]:
        """After a commit: the former data come back. Raises NotRestorable, DestinationBusy, StateConflict."""
        await self._endings.rollback(transfer_id, epoch=epoch)
        return await self.transfer(transfer_id)

    async def cancel(self, transfer_id: str, *, epoch: int | None) -> dict[str, Any]:
        """End a transfer that is not committed, and leave the destination as it was."""
        await self._endings.cancel(transfer_id, epoch=epoch)
        return await self.transfer(transfer_id)

    async def purge(self, transfer_id: str) -> dict[str, Any]:
        """Drop what a finished transfer keeps for rollback; after this it cannot be rolled back."""
        await self._endings.purge(transfer_id)
        return await self.transfer(transfer_id)

    async def purge_expired(self, retention: timedelta) -> list[str]:
        """Purge every finished transfer whose retention is over; their ids."""
        return await self._endings.purge_expired(retention)

    async def release_maintenance(self, transfer_id: str) -> dict[str, Any]:
        """End the maintenance mode that the commit left on. GROWI reads it at its next start or reload."""
        await self._endings.release_maintenance(transfer_id)
        return await self.transfer(transfer_id)

    async def keep_alive(self, transfer_id: str, *, epoch: int) -> None:
        """Nothing but a sign of life; the key's lease was renewed by the guard."""
        await self._transfers.admit(transfer_id, epoch)

    async def check_archive(self, path: Path) -> str:
        """What kind of archive a file is, `bson` or `growi`, as far as its directory tells. Raises ArchiveInvalid,
        ArchiveTooLarge, JsonInvalid."""
        if await is_growi_archive(path):
            return "growi"
        async with open_archive(path):
            return "bson"

    async def import_archive(self, path: Path, *, transfer_id: str | None = None) -> dict[str, Any]:
        """Bring a whole archive in, ours or GROWI's: stage, verify, commit; as a transfer of a new id, or of this one.

        See `receiver.archive_import` and `receiver.growi_import`.
        """
        new = transfer_id or self._new_id()
        if await is_growi_archive(path):
            return await import_growi_archive(self, self._database, path, new, version=self._growi_version)
        return await import_archive(self, path, new)

    def files(self) -> AsyncIterator[list[StoredFile]]:
        """Pages of what the attachment storage holds."""
        return self._storage.list_files()

    async def exists(self, transfer_id: str) -> bool:
        """Whether this instance knows the transfer as its destination."""
        try:
            await self._transfers.get(transfer_id)
        except TransferNotFound:
            return False
        return True
