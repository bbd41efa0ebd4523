"""How a transfer ends at the destination: commit, rollback, cancel, purge.

Each may be interrupted anywhere and asked for again; `finish_interrupted` does that for a server that starts. Who may
go on is decided by facts that are written before the first change (`undoing`, `rolling_back`, `purging`), because a
command line and a server may work on the same wiki.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import structlog

from growi_transfer.ledger.base import Ledger, Role, TransferRow
from growi_transfer.ledger.life import require
from growi_transfer.ledger.retention import kept_until
from growi_transfer.protocol.errors import (
    CommitFailed,
    DestinationBusy,
    NotRestorable,
    StateConflict,
    TransferError,
    VerificationFailed,
    code_of,
)
from growi_transfer.protocol.machine import FINISHED, Event, State
from growi_transfer.receiver.abandoned import is_abandoned
from growi_transfer.receiver.commit import Committer
from growi_transfer.receiver.file_swap import FileSwap
from growi_transfer.receiver.importer import Importer
from growi_transfer.receiver.in_flight import InFlight
from growi_transfer.receiver.receipts import Receipts
from growi_transfer.receiver.transfers import Transfers
from growi_transfer.receiver.uploads import Uploads
from growi_transfer.receiver.work import COMMIT, Work

_log = structlog.get_logger(__name__)
_ROWS = 1000
_NOBODY = "nobody"


class Endings:
    """Ends transfers. Nothing here answers before it is done, and everything may be called again."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        transfers: Transfers,
        committer: Committer,
        files: FileSwap,
        importer: Importer,
        uploads: Uploads,
        in_flight: InFlight,
        work: Work,
        receipts: Receipts,
    ) -> None:
        self._ledger = ledger
        self._transfers = transfers
        self._committer = committer
        self._files = files
        self._importer = importer
        self._uploads = uploads
        self._in_flight = in_flight
        self._work = work
        self._receipts = receipts
        self._turns: dict[str, asyncio.Lock] = {}
        """Endings of one transfer take turns: a rollback that is asked for twice is done once."""

    def _turn(self, transfer_id: str) -> asyncio.Lock:
        return self._turns.setdefault(transfer_id, asyncio.Lock())

    async def finish_interrupted(self) -> None:
        """What a server does first: finish what a crash interrupted."""
        for row in await self._ledger.list_transfers(Role.RECEIVER, _ROWS):
            try:
                await self._finish(row)
            except TransferError as error:
                # The server must start all the same: through it the admin sees what is wrong.
                _log.error("ending_not_finished", transfer=row.id, code=code_of(error), message=error.message)
        await self._release_claim_of_nobody()

    async def _finish(self, row: TransferRow) -> None:
        state = row.position.state
        if state is State.COMMITTING:
            _log.info("commit_resumed", transfer=row.id)
            await self._commit(row.id)
        elif state is State.COMPLETED and row.facts.get("rolling_back"):
            _log.info("rollback_resumed", transfer=row.id)
            await self.rollback(row.id, epoch=None)
        elif state is State.CANCELLED and not row.facts.get("cleared_at"):
            _log.info("cancel_resumed", transfer=row.id)
            await self.cancel(row.id, epoch=None)
        elif state in FINISHED and row.facts.get("purging") and not row.facts.get("purged_at"):
            _log.info("purge_resumed", transfer=row.id)
            await self.purge(row.id)
        elif is_abandoned(row, starting=True):
            _log.info("import_abandoned", transfer=row.id)
            await self.cancel(row.id, epoch=None)

    async def clear_abandoned(self, transfer_id: str) -> bool:
        """Whether this was an import whose process is gone; then it is ended: finished if its commit had begun, else
        cancelled."""
        row = await self._ledger.get_transfer(Role.RECEIVER, transfer_id)
        if row is None or not is_abandoned(row):
            return False
        _log.info("import_abandoned", transfer=row.id)
        if row.position.state is State.COMMITTING:
            await self.commit(row.id, epoch=None)
        else:
            await self.cancel(row.id, epoch=None)
        return True

    async def _release_claim_of_nobody(self) -> None:
        """A crash between the claim and the row, or at the very end, leaves a claim that nobody could release."""
        owner = await self._ledger.claim_destination(_NOBODY)
        row = await self._ledger.get_transfer(Role.RECEIVER, owner)
        half_back = row is not None and row.position.state is State.COMPLETED and row.facts.get("rolling_back")
        if row is None or (row.position.state in FINISHED and not half_back):
            await self._ledger.release_destination(owner)

    # commit

    async def commit(self, transfer_id: str, *, epoch: int | None) -> None:
        """Swap what was verified in. Once begun it goes on even if nobody waits for the answer.

        Raises StateConflict, VerificationFailed, CommitFailed (undone), Superseded.
        """
        row = await self._transfers.admit(transfer_id, epoch)
        if row.position.state is State.COMPLETED:
            return
        require(row, State.READY, State.COMMITTING)
        if not (row.facts.get("verify") or {}).get("ok"):
            raise VerificationFailed("Only a transfer whose verification found no difference can be committed.")
        task = self._work.of(transfer_id)
        if task is not None and task.get_name() != COMMIT:
            # It has said its last word already, or the state would be another.
            await self._work.wait(transfer_id)
        task = self._work.of(transfer_id) or self._work.begin(transfer_id, self._commit(transfer_id), COMMIT)
        await asyncio.shield(task)

    async def _commit(self, transfer_id: str) -> None:
        row = await self._transfers.get(transfer_id)
        if row.position.state is State.COMPLETED:
            return
        if row.position.state is State.READY:
            await self._transfers.note(transfer_id, {"undoing": None, "commit_began_at": self._now()})
            await self._committer.prepare(transfer_id, row.setup)
            await self._transfers.step(transfer_id, Event.COMMIT_STARTED)
        elif row.facts.get("undoing"):
            raise await self._undo(transfer_id, row.facts["undoing"])
        try:
            told = await self._committer.run(transfer_id)
        except TransferError as error:
            if error.retryable:
                raise
            reason = {"code": code_of(error), "message": error.message}
            # Before the first step back: steps that the journal has as done are then no longer done.
            await self._transfers.note(transfer_id, {"undoing": reason})
            await self._undo(transfer_id, reason)
            raise
        told["kept"] = await self._committer.kept(transfer_id)
        await self._transfers.note(transfer_id, {"told": told, "committed_at": self._now()})
        await self._receipts.make(transfer_id, "completed")
        # Before the last step: nobody comes back to a completed transfer to release what it still holds.
        await self._ledger.release_destination(transfer_id)
        await self._transfers.step(transfer_id, Event.COMMITTED)

    async def _undo(self, transfer_id: str, reason: Mapping[str, str]) -> CommitFailed:
        await self._committer.undo(transfer_id)
        await self._transfers.note(transfer_id, {"error": dict(reason)})
        await self._transfers.step(transfer_id, Event.COMMIT_UNDONE)
        return CommitFailed(reason["message"])

    # the ways back

    async def rollback(self, transfer_id: str, *, epoch: int | None) -> None:
        """After a commit: the former data come back. Raises NotRestorable, DestinationBusy, StateConflict."""
        async with self._turn(transfer_id):
            row = await self._transfers.admit(transfer_id, epoch)
            if row.position.state is State.ROLLED_BACK:
                return
            require(row, State.COMPLETED)
            owner = await self._ledger.claim_destination(transfer_id)
            if owner != transfer_id:
                raise DestinationBusy(f"The transfer {owner} into this wiki is not finished.", transfer=owner)
            begun = bool(row.facts.get("rolling_back"))
            await self._transfers.note(transfer_id, {"rolling_back": True})
            # A purge says what it is about to do, and then looks for this note: one of the two sees the other.
            if (await self._transfers.get(transfer_id)).facts.get("purging"):
                await self._refuse_rollback(transfer_id)
                raise NotRestorable()
            await self._in_flight.drained(transfer_id)  # files that a GROWI sends after its archive
            try:
                await self._committer.rollback(transfer_id, begun=begun)
            except NotRestorable:
                if not begun:
                    # Refused before anything was changed. After any other error the claim stays until a rollback ends
                    # well: nothing may begin on a wiki that is half the one and half the other.
                    await self._refuse_rollback(transfer_id)
                raise
            await self._files.discard(transfer_id)
            await self._transfers.note(transfer_id, {"rolled_back_at": self._now()})
            await self._receipts.make(transfer_id, "rolled_back")
            await self._ledger.release_destination(transfer_id)
            await self._transfers.step(transfer_id, Event.ROLLED_BACK)
            await self._transfers.note(transfer_id, {"rolling_back": None})

    async def _refuse_rollback(self, transfer_id: str) -> None:
        await self._transfers.note(transfer_id, {"rolling_back": None})
        await self._ledger.release_destination(transfer_id)

    async def cancel(self, transfer_id: str, *, epoch: int | None) -> None:
        """End a transfer that is not committed, and leave the destination as it was."""
        row = await self._transfers.admit(transfer_id, epoch)
        if row.position.state is not State.CANCELLED:
            # The step first: a commit that has begun refuses it, and must not be ended half done.
            await self._transfers.step(transfer_id, Event.CANCELLED)
            await self._work.end(transfer_id)
        self._uploads.end_all(transfer_id)
        await self._in_flight.drained(transfer_id)
        async with self._turn(transfer_id):
            await self._files.discard(transfer_id)
            await self._committer.purge(transfer_id)
            await self._ledger.delete_items(Role.RECEIVER, transfer_id)
            await self._ledger.release_destination(transfer_id)
            self._importer.forget(transfer_id)
            await self._transfers.note(transfer_id, {"cleared_at": self._now()})

    # what is kept

    async def refuse_taken_names(self, transfer_id: str) -> None:
        """What is staged and kept is named by the first digits of an id. The source chooses its id, so one that begins
        like that of a transfer whose former data are still kept must not get at them. Raises StateConflict."""
        for row in await self._ledger.list_transfers(Role.RECEIVER, _ROWS):
            cleared = row.facts.get("purged_at") or row.facts.get("cleared_at")
            if row.id != transfer_id and row.id[:8] == transfer_id[:8] and not cleared:
                raise StateConflict(
                    f"What is kept of the transfer {row.id} has the names that this one would need. Purge that one, or "
                    "ask for a new key.",
                    transfer=row.id,
                )

    async def purge(self, transfer_id: str) -> None:
        """Drop what a finished transfer keeps for rollback; after this it cannot be rolled back."""
        async with self._turn(transfer_id):
            row = await self._transfers.get(transfer_id)
            require(row, *FINISHED)
            if row.facts.get("purged_at"):
                return
            await self._transfers.note(transfer_id, {"purging": True})
            row = await self._transfers.get(transfer_id)
            if row.facts.get("rolling_back") and row.position.state is State.COMPLETED:
                await self._transfers.note(transfer_id, {"purging": None})
                raise StateConflict("The transfer is being rolled back.", state=row.position.state.value)
            await self._in_flight.drained(transfer_id)
            await self._committer.purge(transfer_id)
            await self._ledger.delete_items(Role.RECEIVER, transfer_id)
            await self._transfers.note(transfer_id, {"purged_at": self._now()})

    async def purge_expired(self, retention: timedelta) -> list[str]:
        """Purge every finished transfer whose retention is over; their ids."""
        purged: list[str] = []
        for row in await self._ledger.list_transfers(Role.RECEIVER, _ROWS):
            if row.position.state not in (State.COMPLETED, State.ROLLED_BACK) or row.facts.get("purged_at"):
                continue
            if kept_until(row, retention) > self._transfers.clock():
                continue
            try:
                await self.purge(row.id)
            except TransferError as error:
                # The others are purged all the same, and this one the next time.
                _log.warning("purge_failed", transfer=row.id, code=code_of(error), message=error.message)
                continue
            _log.info("transfer_purged", transfer=row.id)
            purged.append(row.id)
        return purged

    async def release_maintenance(self, transfer_id: str) -> None:
        """End the maintenance mode that the commit left on. GROWI reads it at its next start or reload."""
        require(await self._transfers.get(transfer_id), State.COMPLETED)
        await self._committer.release_maintenance()
        await self._transfers.note(transfer_id, {"maintenance_released_at": self._now()})

    def _now(self) -> str:
        return self._transfers.clock().isoformat()
