"""One transfer on its way out: from the ledger's state to the next, until it is verified and committed.

Every effect may be repeated. Whatever state a transfer was left in, `run` asks the ledger and the destination what is
there and does what is left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from growi_transfer.ledger.base import CollectionRow, ItemState, Ledger, Role
from growi_transfer.ledger.base import Totals as Sum
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.life import Life
from growi_transfer.ledger.process import peak_rss_mib
from growi_transfer.ledger.retention import moment_text
from growi_transfer.mongo.collections import from_metadata
from growi_transfer.protocol.answers import Commit, Proof
from growi_transfer.protocol.errors import (
    AttachmentsIncomplete,
    PeerRefused,
    PeerUnavailable,
    Superseded,
    TransferError,
    VerificationFailed,
    code_of,
)
from growi_transfer.protocol.machine import Event, State
from growi_transfer.protocol.progress import Noted, Notice, Planned, WarningRaised
from growi_transfer.protocol.wire import PutTransfer, SetUp, Verify
from growi_transfer.pusher.answers import checked
from growi_transfer.pusher.attachments import AttachmentSender
from growi_transfer.pusher.catalogue import to_wire
from growi_transfer.pusher.exporter import Exporter
from growi_transfer.pusher.following import Following
from growi_transfer.pusher.freeze import Freeze
from growi_transfer.pusher.lag import LagTeller
from growi_transfer.pusher.options import PushOptions, options_of
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.receipts import Receipts
from growi_transfer.pusher.refusal import ANSWER_INVALID
from growi_transfer.pusher.retry import Retry
from growi_transfer.pusher.settling import Settling

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_NOT_READY_THERE = ("state_conflict", "verification_failed", "commit_failed")
_ROUNDS = 5
_NAMED = 20
"""Differences that a line of the log names."""
_VERIFY_WAIT = 20.0
_KEEP_ALIVE = 120.0


@dataclass(frozen=True, slots=True)
class Totals:
    """What the preflight counted, for the first progress bars."""

    files: int = 0
    file_bytes: int = 0
    skipped: int = 0
    """Files that are known to stay behind."""


class Push:
    """One run of one transfer. `marker` gives a new name for each reading of the source."""

    def __init__(
        self,
        *,
        transfer_id: str,
        setup: SetUp,
        receipts: Receipts,
        options: PushOptions,
        life: Life,
        ledger: Ledger,
        board: ProgressBoard,
        peer: Peer,
        retry: Retry,
        exporter: Callable[[Any], Exporter],
        sender: AttachmentSender,
        totals: Totals,
        marker: Callable[[], str],
        is_replica_set: bool,
        freeze: Freeze,
    ) -> None:
        self._id = transfer_id
        self._setup = setup
        self._receipts = receipts
        self._options = options
        self._life = life
        self._ledger = ledger
        self._board = board
        self._peer = peer
        self._retry = retry
        self._exporter = exporter(self._declare)
        self._sender = sender
        self._totals = totals
        self._is_replica_set = is_replica_set
        self._freeze = freeze
        self._settling = Settling(
            self._exporter, sender if setup.with_attachments else None, marker, self._notify, self._add
        )
        self._lag = LagTeller(self._exporter, self._settling, life, board, transfer_id)
        self._declared: PutTransfer | None = None
        """What the destination was told in this run."""
        self._started = time.monotonic()
        self.seconds: dict[str, float] = {}
        """Seconds by phase: mongo, attachments, index, verify, commit."""

    async def run(self) -> None:
        """Go on to `ready`, and to `completed` if the transfer is to be committed. Raises TransferError."""
        await _told(self._run())

    async def _run(self) -> None:
        state = await self._life.state(self._id)
        alive = asyncio.ensure_future(self._keep_alive())
        try:
            await self._life.recount(self._id)
            if state is State.CREATED:
                state = (await self._life.step(self._id, Event.CHECK_PASSED)).state
            if state is State.CHECKED:
                state = (await self._life.step(self._id, Event.COPY_STARTED)).state
            if state in (State.RECONCILING, State.INDEXING, State.VERIFYING):
                # Time has passed since the source was read: look again before anything is proved.
                state = (await self._life.step(self._id, Event.DIFFERENCE_FOUND)).state
            if state is not State.COMMITTING:
                # Left over from a run that was killed: whoever froze the source then has not committed.
                await self._freeze.end(self._id)
            if state is State.COPYING:
                state = await self._catch_up()
            if state is State.READY and self._options.follow:
                state = await self._follow()
            elif state is State.READY and self._options.commit and self._options.freeze:
                state = await self._last_pass()
            if state is State.COMMITTING or (state is State.READY and self._options.commit):
                await self._finish(state)
        finally:
            alive.cancel()
            await self._thaw()
            with suppress(asyncio.CancelledError, TransferError):
                await alive
            with suppress(TransferError):  # what ended the run is the error to tell
                await self._life.note(self._id, {"seconds": self.seconds})

    async def _keep_alive(self) -> None:
        while True:
            await self._retry.sleep(_KEEP_ALIVE)
            with suppress(TransferError):
                await self._peer.keep_alive(self._id)
                self._retry.succeeded()

    # copying and reconciling

    async def _catch_up(self, whole: bool = True) -> State:
        """From `copying` to `ready`: whatever differs is sent and proved. `whole`: everything is read."""
        for _ in range(_ROUNDS):
            await _told(self._copy(whole=whole))
            await self._life.recount(self._id)
            state = await self._prove()
            if state is not State.COPYING:
                return state
            whole = True
        raise VerificationFailed("What was read back keeps differing from what was sent.")

    async def _copy(self, *, whole: bool) -> None:
        async def copied() -> None:
            await self._life.step(self._id, Event.COPIED)

        first = self._options.attachments_first and self._declared is None
        settled = await self._settling.settle(copied, whole=whole, files_first=first)
        if not self._is_replica_set:
            self._notify(
                Notice("source_not_replica_set", "The source has no snapshots; it is read until two passes agree.")
            )
        await self._lag.tell(settled.documents, settled.bytes, following=self._options.follow)
        unsettled = await self._sender.unsettled() if self._setup.with_attachments else 0
        if unsettled:
            raise AttachmentsIncomplete(f"Attachments that could not be transferred: {unsettled}.", files=unsettled)

    # a source in use

    async def _follow(self) -> State:
        """Catch up until a commit is ordered, and then once more: what is committed was read whole, at one moment."""
        await self._lag.recall()
        following = Following(self._life, self._id, self._retry.sleep, self._lag.look, self._catch_up)
        await following.run()
        self._options = options_of(await self._life.get(self._id))
        return await self._last_pass()

    async def _last_pass(self) -> State:
        if self._options.freeze and self._options.commit:
            await self._freeze.begin(self._id)
        if await self._life.state(self._id) is not State.COPYING:
            await self._life.step(self._id, Event.DIFFERENCE_FOUND)
        return await self._catch_up()

    async def _thaw(self) -> None:
        """A run that ends without a commit does not leave the source frozen."""
        with suppress(TransferError):
            if await self._life.state(self._id) not in (State.COMMITTING, State.COMPLETED):
                await self._freeze.end(self._id)

    def _notify(self, notice: Notice) -> None:
        self._board.apply(Role.PUSHER, self._id, WarningRaised(notice))

    async def _declare(self, rows: Sequence[CollectionRow]) -> None:
        body = PutTransfer(
            setup=self._setup,
            collections=tuple(to_wire(row) for row in rows),
            files_total=self._totals.files,
            file_bytes_total=self._totals.file_bytes,
        )
        if body == self._declared:
            return  # to be told again would make the destination prove everything again
        await self._retry(lambda: self._peer.put_transfer(self._id, body))
        self._declared = body
        self._board.apply(
            Role.PUSHER,
            self._id,
            Planned(
                documents=sum(collection.documents for collection in body.collections),
                bytes=sum(collection.bytes for collection in body.collections) + self._totals.file_bytes,
                files=self._totals.files + self._totals.skipped,
            ),
        )

    # proof and commit

    async def _prove(self) -> State:
        await self._life.step(self._id, Event.RECONCILED)
        proofs = await self._exporter.proofs()
        totals = await self._ledger.file_totals(Role.PUSHER, self._id)
        stored = sum(total.rows for state, total in totals.items() if state in (ItemState.STORED, ItemState.VERIFIED))
        skipped = totals[ItemState.SKIPPED].rows if ItemState.SKIPPED in totals else 0
        body = Verify(
            collections=tuple(proofs),
            files=stored,
            skipped_files=skipped,
            seconds=_VERIFY_WAIT,
            deep=self._options.deep,
            report=await self._receipts.report(await self._life.get(self._id), self.seconds),
        )
        while True:
            answer = await self._retry(lambda: self._peer.verify(self._id, body))
            proof = checked(Proof, answer, self._peer.origin)
            held = proof.held
            if held.error is not None:
                raise PeerRefused(held.error.message, code=held.error.code, status=409)
            # Of many files the receipt takes its time, and the destination is ready only then.
            outcome = None if held.working else held.verify
            is_indexed = outcome or proof.transfer.state == State.VERIFYING
            if is_indexed and await self._life.state(self._id) is State.INDEXING:
                await self._life.step(self._id, Event.INDEXED)
            if outcome:
                break
        self.seconds["index"] = outcome.index_seconds
        self.seconds["verify"] = outcome.verify_seconds
        if outcome.ok:
            await self._ledger.mark_verified(Role.PUSHER, self._id)
            await self._note_receipt(held.peak_rss_mib)
            await self._receipts.take(await self._life.get(self._id), self._peer, self._retry)
            return (await self._life.step(self._id, Event.VERIFIED)).state
        found = outcome.differences
        _log.warning("difference_found", transfer=self._id, differences=[one.model_dump() for one in found])
        what = ", ".join(f"{one.what} of {one.collection}" for one in found)[:2000] or "files are missing"
        details = {
            "differences": len(found),
            "files_missing": outcome.files_missing_total,
            "found": [{"what": one.what, "collection": one.collection} for one in found[:_NAMED]],
        }
        self._board.apply(
            Role.PUSHER, self._id, Noted("difference_found", f"A difference was found: {what}.", details, "warning")
        )
        if outcome.files_missing or any(one.what == "files" for one in found):
            self._sender.distrust()
        for one in found:
            if one.what in ("documents", "options"):
                await self._exporter.forget(one.collection, one.ranges)
        return (await self._life.step(self._id, Event.DIFFERENCE_FOUND)).state

    async def _finish(self, state: State) -> None:
        if state is State.READY:
            await self._life.step(self._id, Event.COMMIT_STARTED)
        started = time.monotonic()
        try:
            held = (await self._retry(self._commit_there)).held
        except PeerRefused as error:
            if error.peer_code in (Superseded.code, ANSWER_INVALID):
                # The commit is another process's now, and so is the state; or nobody knows what became of it.
                raise
            await self._life.step(self._id, Event.COMMIT_UNDONE)
            if error.peer_code in _NOT_READY_THERE:
                # To commit again would be refused again: whoever resumes looks at everything once more.
                await self._life.step(self._id, Event.DIFFERENCE_FOUND)
            raise error from None
        self._add("commit", started)
        await self._freeze.note_commit(self._id)
        await self._lag.tell_after_commit()
        await self._life.note(self._id, {"told": held.told, "rollback_until": moment_text(held.rollback_until)})
        try:
            await self._receipts.take(await self._life.get(self._id), self._peer, self._retry)
        except TransferError as error:
            # The data are in. The receipt can be had at any time later (`transfers receipt`).
            _log.warning("receipt_not_taken", transfer=self._id, code=code_of(error), message=error.message)
        await self._life.step(self._id, Event.COMMITTED)

    async def _commit_there(self) -> Commit:
        answer = checked(Commit, await self._peer.commit(self._id), self._peer.origin)
        if answer.transfer.state != State.COMPLETED:
            raise PeerUnavailable("The destination has not completed the commit.")
        return answer

    async def _note_receipt(self, peak_rss_mib_there: float | None) -> None:
        """What was proved, in numbers: for the last line of `push` and for whoever asks later."""
        rows = await self._exporter.rows()
        ranges = (await self._ledger.range_totals(Role.PUSHER, self._id)).values()
        files = await self._ledger.file_totals(Role.PUSHER, self._id)
        attachments = files.get(ItemState.VERIFIED, Sum())
        await self._life.note(
            self._id,
            {
                "receipt": {
                    "documents": sum(total.documents for total in ranges),
                    "document_bytes": sum(total.bytes for total in ranges),
                    "attachments": attachments.rows,
                    "attachment_bytes": attachments.bytes,
                    "seconds": time.monotonic() - self._started,
                    "mongo_seconds": self.seconds.get("mongo", 0.0) + self.seconds.get("index", 0.0),
                    "attachment_seconds": self.seconds.get("attachments", 0.0),
                    "verify_seconds": self.seconds.get("verify", 0.0),
                    "verified": {
                        "collections": len(rows),
                        "indexes": sum(len(from_metadata(row.metadata).get("indexes", ())) for row in rows),
                        "attachments": attachments.rows,
                        "mismatches": 0,
                    },
                    "peak_rss_mib": {"pusher": peak_rss_mib(), "receiver": peak_rss_mib_there},
                }
            },
        )

    def _add(self, phase: str, started: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - started


async def _told(work: Awaitable[T]) -> T:
    """The result of work that has tasks of its own; of several errors the one to tell.

    It is raised behind the clause: one that is raised in it, and was raised before, may come out in a group again.
    """
    failure: TransferError | None = None
    result: list[T] = []
    try:
        result.append(await work)
    except* TransferError as group:
        failure = _first(group)
    if failure is not None:
        raise failure from None
    return result[0]


def _first(group: BaseExceptionGroup[TransferError]) -> TransferError:
    """The error to tell: one that cannot be helped by trying again, if there is one."""
    leaves: list[TransferError] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        elif isinstance(error, TransferError):
            leaves.append(error)
    return min(leaves, key=lambda error: (getattr(error, "retryable", False), code_of(error)))
