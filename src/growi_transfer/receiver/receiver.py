"""The destination's role, as one object: what the web routes and the command line call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from growi_transfer.ledger.base import ItemState, Ledger, Role, TransferRow
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.life import require
from growi_transfer.ledger.process import peak_rss_mib
from growi_transfer.mongo.client import Database
from growi_transfer.protocol.errors import (
    DestinationBusy,
    KeyClaimed,
    NotRestorable,
    SameInstance,
    SetupDiffers,
    TransferError,
    TransferNotFound,
    VerificationFailed,
    code_of,
)
from growi_transfer.protocol.machine import FINISHED, Event, Position, State
from growi_transfer.protocol.progress import Planned, to_json
from growi_transfer.protocol.wire import AttachmentFile, PlanPage, PutTransfer, Verify
from growi_transfer.receiver.archive_import import import_archive
from growi_transfer.receiver.attachments import Attachments
from growi_transfer.receiver.commit import Committer
from growi_transfer.receiver.file_swap import FileSwap
from growi_transfer.receiver.importer import Importer
from growi_transfer.receiver.in_flight import InFlight
from growi_transfer.receiver.keys import Keys
from growi_transfer.receiver.proof import Prover
from growi_transfer.receiver.transfers import Transfers
from growi_transfer.receiver.uploads import Uploads, UploadState
from growi_transfer.storage.base import Storage, StoredFile

_log = structlog.get_logger(__name__)
_ROWS = 1000
_COMMIT = "commit"
_NOBODY = "nobody"
_COPYING = (State.COPYING, State.INDEXING, State.VERIFYING, State.READY)


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
        prover: Prover,
        attachments: Attachments,
        uploads: Uploads,
        files: FileSwap,
        committer: Committer,
        info: Callable[[], Awaitable[dict[str, Any]]],
        storage: Storage,
        new_id: Callable[[], str],
        instance_id: str,
    ) -> None:
        self.keys = keys
        self._database = database
        self._ledger = ledger
        self._board = board
        self._transfers = transfers
        self._importer = importer
        self._prover = prover
        self._attachments = attachments
        self._uploads = uploads
        self._files = files
        self._committer = committer
        self._info = info
        self._storage = storage
        self._new_id = new_id
        self._instance_id = instance_id
        self._work: dict[str, asyncio.Task[None]] = {}
        self._in_flight = InFlight()
        self._going_back: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def running(self, *, finish_commits: bool) -> AsyncIterator[None]:
        """Owns the background work. `finish_commits`: this is the server, and first finishes what a crash interrupted;
        another process must not, while the server may be at it."""
        for row in await self._ledger.list_transfers(Role.RECEIVER):
            if row.position.state in _COPYING:
                await self._transfers.recount(row.id)
            if finish_commits and row.position.state is State.COMMITTING:
                _log.info("commit_resumed", transfer=row.id)
                try:
                    await self._commit(row.id)
                except TransferError as error:
                    # The server must start all the same: through it the admin sees what is wrong.
                    _log.error("commit_not_finished", transfer=row.id, code=code_of(error), message=error.message)
        if finish_commits:
            await self._release_claim_of_nobody()
        try:
            yield
        finally:
            for task in self._work.values():
                task.cancel()
            await asyncio.gather(*self._work.values(), return_exceptions=True)

    async def _release_claim_of_nobody(self) -> None:
        """A crash between the claim and the row, or at the very end, leaves a claim that nobody could release."""
        owner = await self._ledger.claim_destination(_NOBODY)
        row = await self._ledger.get_transfer(Role.RECEIVER, owner)
        if row is None or row.position.state in FINISHED:
            await self._ledger.release_destination(owner)

    # what the source asks before it sends

    async def growi_info(self) -> dict[str, Any]:
        """GROWI's document about this instance plus our `transfer` block."""
        return await self._info()

    async def put_transfer(
        self, transfer_id: str, body: PutTransfer, *, key_id: str | None, epoch: int
    ) -> dict[str, Any]:
        """Begin or go on with a transfer; sending the same again changes nothing.

        Raises KeyClaimed, DestinationBusy, SetupDiffers, Superseded, StateConflict, CollectionIllegal.
        """
        if body.setup.source.instance_id == self._instance_id:
            raise SameInstance()
        if key_id is not None and await self.keys.claim(key_id, transfer_id) != transfer_id:
            raise KeyClaimed()
        known = await self._ledger.get_transfer(Role.RECEIVER, transfer_id)
        setup = body.setup.model_dump(mode="json")
        if known is None:
            owner = await self._ledger.claim_destination(transfer_id)
            if owner != transfer_id:
                raise DestinationBusy(
                    f"The transfer {owner} into this wiki is not finished. Let it end, or cancel it here.",
                    transfer=owner,
                )
            now = self._transfers.clock()
            known = await self._ledger.create_transfer(
                TransferRow(Role.RECEIVER, transfer_id, Position(State.CHECKED), setup, now, now, epoch)
            )
            self._board.start(known)
        if dict(known.setup) != setup:
            different = sorted(key for key in setup if known.setup.get(key) != setup[key])
            raise SetupDiffers(f"The transfer was begun with another {', '.join(different)}.", different=different)
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

    async def transfer(self, transfer_id: str) -> dict[str, Any]:
        """The public shape, and what is held: the authority on resume."""
        row = await self._transfers.get(transfer_id)
        snapshot = self._board.snapshot(Role.RECEIVER, transfer_id)
        held = {
            "epoch": row.epoch,
            "verify": row.facts.get("verify"),
            "error": row.facts.get("error"),
            "told": row.facts.get("told"),
            "working": transfer_id in self._work,
            "peak_rss_mib": peak_rss_mib(),
        }
        shape = to_json(snapshot) if snapshot is not None else row.facts.get("progress")
        return {"transfer": shape, "held": held}

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
            await self._end_work(transfer_id)
            await self._transfers.note(transfer_id, {"verify": None})
            await self._importer.drop_indexes(transfer_id)

    async def put_volume(
        self, transfer_id: str, collection: str, number: int, body: bytes, *, epoch: int
    ) -> dict[str, Any]:
        """Store one volume; durable when this returns."""
        async with self._in_flight.of(transfer_id):
            await self._admit_data(transfer_id, epoch)
            started = time.monotonic()
            stored = await self._importer.put_volume(transfer_id, collection, number, body)
        return {
            "number": stored.number,
            "documents": stored.documents,
            "digest": stored.digest.hex(),
            "seconds": time.monotonic() - started,
        }

    async def append(
        self, transfer_id: str, collection: str, number: int, documents: Sequence[bytes], digest: bytes
    ) -> None:
        """Stage documents of an archive, which come in no known order and only once."""
        await self._importer.append(transfer_id, collection, number, documents, digest)

    async def plan_attachments(self, transfer_id: str, page: PlanPage, *, epoch: int) -> dict[str, Any]:
        """Which files of a page are missing here."""
        require(await self._transfers.admit(transfer_id, epoch), *_COPYING)
        return await self._attachments.plan(transfer_id, page.files)

    async def put_bundle(self, transfer_id: str, body: bytes, *, epoch: int) -> dict[str, Any]:
        """Store a bundle of small files: one result per file."""
        async with self._in_flight.of(transfer_id):
            await self._admit_data(transfer_id, epoch)
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
            self._begin(transfer_id, self._prover.run(transfer_id, expected))
        task = self._work.get(transfer_id)
        if task is not None:
            await asyncio.wait({task}, timeout=expected.seconds)
        return await self.transfer(transfer_id)

    def _begin(self, transfer_id: str, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._work[transfer_id] = task

        def ended(done: asyncio.Task[None]) -> None:
            if self._work.get(transfer_id) is done:
                del self._work[transfer_id]

        task.add_done_callback(ended)

    async def _end_work(self, transfer_id: str) -> None:
        task = self._work.get(transfer_id)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # commit and the ways back

    async def commit(self, transfer_id: str, *, epoch: int | None) -> dict[str, Any]:
        """Swap what was verified in. Once begun it goes on even if nobody waits for the answer."""
        row = await self._transfers.admit(transfer_id, epoch)
        if row.position.state is State.COMPLETED:
            return await self.transfer(transfer_id)
        require(row, State.READY, State.COMMITTING)
        if not (row.facts.get("verify") or {}).get("ok"):
            raise VerificationFailed("Only a transfer whose verification found no difference can be committed.")
        verifying = self._work.get(transfer_id)
        if verifying is not None and verifying.get_name() != _COMMIT:
            # It has said its last word already, or the state would be another.
            await asyncio.wait({verifying})
        if transfer_id not in self._work:
            self._begin(transfer_id, self._commit(transfer_id))
            self._work[transfer_id].set_name(_COMMIT)
        await asyncio.shield(self._work[transfer_id])
        return await self.transfer(transfer_id)

    async def _commit(self, transfer_id: str) -> None:
        row = await self._transfers.get(transfer_id)
        if row.position.state is State.COMPLETED:
            return
        if row.position.state is State.READY:
            await self._committer.prepare(transfer_id, row.setup)
            await self._transfers.step(transfer_id, Event.COMMIT_STARTED)
        try:
            told = await self._committer.run(transfer_id)
        except TransferError as error:
            if error.retryable:
                raise
            await self._committer.undo(transfer_id)
            await self._transfers.note(transfer_id, {"error": {"code": code_of(error), "message": error.message}})
            await self._transfers.step(transfer_id, Event.COMMIT_UNDONE)
            raise
        await self._transfers.note(transfer_id, {"told": told, "committed_at": self._transfers.clock().isoformat()})
        # Before the last step: nobody comes back to a completed transfer to release what it still holds.
        await self._ledger.release_destination(transfer_id)
        await self._transfers.step(transfer_id, Event.COMMITTED)

    async def rollback(self, transfer_id: str, *, epoch: int | None) -> dict[str, Any]:
        """After a commit: the former data come back. Raises NotRestorable, DestinationBusy, StateConflict."""
        row = await self._transfers.admit(transfer_id, epoch)
        if row.position.state is State.ROLLED_BACK:
            return await self.transfer(transfer_id)
        require(row, State.COMPLETED)
        owner = await self._ledger.claim_destination(transfer_id)
        if owner != transfer_id:
            raise DestinationBusy(f"The transfer {owner} into this wiki is not finished.", transfer=owner)
        try:
            await self._committer.rollback(transfer_id)
        except NotRestorable:
            # Refused before anything was changed. After any other error the claim stays until a rollback ends well:
            # nothing may begin on a wiki that is half the one and half the other.
            await self._ledger.release_destination(transfer_id)
            raise
        await self._files.discard(transfer_id)
        await self._ledger.release_destination(transfer_id)
        await self._transfers.step(transfer_id, Event.ROLLED_BACK)
        return await self.transfer(transfer_id)

    async def cancel(self, transfer_id: str, *, epoch: int | None) -> dict[str, Any]:
        """End a transfer that is not committed, and leave the destination as it was."""
        row = await self._transfers.admit(transfer_id, epoch)
        if row.position.state is not State.CANCELLED:
            # The step first: a commit that has begun refuses it, and must not be ended half done.
            await self._transfers.step(transfer_id, Event.CANCELLED)
            await self._end_work(transfer_id)
        self._uploads.end_all(transfer_id)
        await self._in_flight.drained(transfer_id)
        await self._files.discard(transfer_id)
        await self._committer.purge(transfer_id)
        await self._ledger.delete_items(Role.RECEIVER, transfer_id)
        await self._ledger.release_destination(transfer_id)
        self._importer.forget(transfer_id)
        return await self.transfer(transfer_id)

    async def purge(self, transfer_id: str) -> dict[str, Any]:
        """Drop what a finished transfer keeps for rollback; after this it cannot be rolled back."""
        row = await self._transfers.get(transfer_id)
        require(row, *FINISHED)
        await self._committer.purge(transfer_id)
        await self._ledger.delete_items(Role.RECEIVER, transfer_id)
        await self._transfers.note(transfer_id, {"purged_at": self._transfers.clock().isoformat()})
        return await self.transfer(transfer_id)

    async def purge_expired(self, retention: timedelta) -> list[str]:
        """Purge every finished transfer whose retention is over; their ids."""
        purged: list[str] = []
        for row in await self._ledger.list_transfers(Role.RECEIVER, _ROWS):
            over = row.updated_at + retention <= self._transfers.clock()
            if row.position.state in (State.COMPLETED, State.ROLLED_BACK) and over and not row.facts.get("purged_at"):
                await self.purge(row.id)
                _log.info("transfer_purged", transfer=row.id)
                purged.append(row.id)
        return purged

    async def release_maintenance(self, transfer_id: str) -> dict[str, Any]:
        """End the maintenance mode that the commit left on. GROWI reads it at its next start or reload."""
        require(await self._transfers.get(transfer_id), State.COMPLETED)
        await self._committer.release_maintenance()
        await self._transfers.note(transfer_id, {"maintenance_released_at": self._transfers.clock().isoformat()})
        return await self.transfer(transfer_id)

    async def keep_alive(self, transfer_id: str, *, epoch: int) -> None:
        """Nothing but a sign of life; the key's lease was renewed by the guard."""
        await self._transfers.admit(transfer_id, epoch)

    async def import_archive(self, path: Path) -> dict[str, Any]:
        """Bring a whole archive in: stage, verify, commit (see `receiver.archive_import`)."""
        return await import_archive(self, path, self._new_id())

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
