"""One transfer on its way out: from the ledger's state to the next, until it is verified and committed.

Every effect may be repeated. Whatever state a transfer was left in, `run` asks the ledger and the destination what is
there and does what is left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import structlog

from growi_transfer.archive.volume import pack
from growi_transfer.ledger.base import CollectionRow, ItemState, Ledger, RangeRow, Role
from growi_transfer.ledger.base import Totals as Sum
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.life import Life
from growi_transfer.ledger.process import peak_rss_mib
from growi_transfer.ledger.retention import moment_text
from growi_transfer.mongo.collections import from_metadata
from growi_transfer.mongo.ranges import RawRange
from growi_transfer.protocol.errors import (
    AttachmentsIncomplete,
    PeerRefused,
    PeerUnavailable,
    SourceChanged,
    TransferError,
    VerificationFailed,
    code_of,
)
from growi_transfer.protocol.machine import Event, State
from growi_transfer.protocol.progress import DocumentsStored, Noted, Notice, Planned, WarningRaised
from growi_transfer.protocol.wire import PutTransfer, SetUp, Verify
from growi_transfer.pusher.attachments import AttachmentSender
from growi_transfer.pusher.catalogue import to_wire
from growi_transfer.pusher.exporter import Exporter, RangeRestart, is_stored
from growi_transfer.pusher.link import Link
from growi_transfer.pusher.manifest import manifest_of
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.receipts import Receipts
from growi_transfer.pusher.retry import Retry

_log = structlog.get_logger(__name__)
_NOT_READY_THERE = ("state_conflict", "verification_failed", "commit_failed")
_PASSES = 12
_ROUNDS = 5
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
        commit: bool,
        deep: bool,
        receipts: Receipts,
        life: Life,
        ledger: Ledger,
        board: ProgressBoard,
        peer: Peer,
        retry: Retry,
        link: Link,
        exporter: Callable[[Any, Any], Exporter],
        sender: AttachmentSender,
        totals: Totals,
        marker: Callable[[], str],
        is_replica_set: bool,
    ) -> None:
        self._id = transfer_id
        self._setup = setup
        self._commit = commit
        self._deep = deep
        self._receipts = receipts
        self._life = life
        self._ledger = ledger
        self._board = board
        self._peer = peer
        self._retry = retry
        self._link = link
        self._exporter = exporter(self._declare, self._send)
        self._sender = sender
        self._totals = totals
        self._marker = marker
        self._is_replica_set = is_replica_set
        self._declared = asyncio.Event()
        """The destination knows the transfer, and so takes its files."""
        self._started = time.monotonic()
        self.seconds: dict[str, float] = {}
        """Seconds by phase: mongo, attachments, index, verify, commit."""

    async def run(self) -> None:
        """Go on to `ready`, and to `completed` if the transfer is to be committed. Raises TransferError."""
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
            for _ in range(_ROUNDS):
                if state is not State.COPYING:
                    break
                await self._copy()
                await self._life.recount(self._id)
                state = await self._prove()
            if state is State.COPYING:
                raise VerificationFailed("What was read back keeps differing from what was sent.")
            if state is State.COMMITTING or (state is State.READY and self._commit):
                await self._finish(state)
        except* TransferError as group:
            raise _first(group) from None
        finally:
            alive.cancel()
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

    async def _copy(self) -> None:
        async with asyncio.TaskGroup() as group:
            passes = group.create_task(self._first_pass())
            files = group.create_task(self._files())
        final, seen = passes.result(), files.result()
        await self._life.step(self._id, Event.COPIED)
        only_capped = final is None
        for _ in range(_PASSES):
            if final is True and await self._has_all_files(seen):
                break
            result = await self._exporter.run(self._marker(), only_capped=only_capped)
            if not only_capped:
                seen = await self._files()
            only_capped = result.is_final_but_for_capped
            final = result.is_final or result.is_quiet or (None if only_capped else False)
            # When only files are missing, documents have to be read again with them.
            only_capped = final is None
        else:
            raise SourceChanged("The source changes faster than it can be read; it is not at rest.")
        unsettled = await self._sender.unsettled() if self._setup.with_attachments else 0
        if unsettled:
            raise AttachmentsIncomplete(f"{unsettled} attachments could not be transferred.", files=unsettled)

    async def _first_pass(self) -> bool | None:
        """True: the destination equals one moment of the source. None: but for its capped collections."""
        started = time.monotonic()
        result = await self._exporter.run(self._marker())
        self._add("mongo", started)
        if not self._is_replica_set:
            self._board.apply(
                Role.PUSHER,
                self._id,
                WarningRaised(
                    Notice("source_not_replica_set", "The source has no snapshots; it is read until two passes agree.")
                ),
            )
        return True if result.is_final else None if result.is_final_but_for_capped else False

    async def _files(self) -> int:
        await self._declared.wait()
        started = time.monotonic()
        seen = await self._sender.run() if self._setup.with_attachments else 0
        self._add("attachments", started)
        return seen

    async def _has_all_files(self, seen: int) -> bool:
        """Whether the files looked at are those of the documents that were read."""
        if not self._setup.with_attachments:
            return True
        rows = await self._exporter.rows()
        number = next((row.number for row in rows if row.name == "attachments"), None)
        proof = next((proof for proof in await self._exporter.proofs() if proof.number == number), None)
        return proof is None or proof.documents == seen

    async def _declare(self, rows: Sequence[CollectionRow]) -> None:
        body = PutTransfer(
            setup=self._setup,
            collections=tuple(to_wire(row) for row in rows),
            files_total=self._totals.files,
            file_bytes_total=self._totals.file_bytes,
        )
        await self._retry(lambda: self._peer.put_transfer(self._id, body))
        self._declared.set()
        self._board.apply(
            Role.PUSHER,
            self._id,
            Planned(
                documents=sum(collection.documents for collection in body.collections),
                bytes=sum(collection.bytes for collection in body.collections) + self._totals.file_bytes,
                files=self._totals.files + self._totals.skipped,
            ),
        )

    async def _send(self, row: CollectionRow, one: RangeRow, raw: RawRange, before: RangeRow) -> None:
        manifest = manifest_of(row, one)
        pieces = await asyncio.to_thread(pack, manifest, raw.documents, deflate=self._link.deflate)
        raw.documents.clear()
        size = sum(map(len, pieces))
        started = time.monotonic()
        try:
            answer = await self._retry(lambda: self._peer.put_volume(self._id, row.name, one.number, pieces))
        except PeerRefused as error:
            if error.peer_code in ("range_mismatch", "collection_not_found"):
                _log.info("collection_restarted", transfer=self._id, collection=row.name, code=error.peer_code)
                raise RangeRestart from None
            raise
        self._link.note(size, time.monotonic() - started - float(answer.get("seconds", 0)))
        # The ledger first: what is shown as done must still be done after a crash.
        await self._ledger.put_ranges([replace(one, state=ItemState.STORED, tries=one.tries + 1)])
        held = before if is_stored(before) else replace(before, documents=0, bytes=0)
        self._board.apply(
            Role.PUSHER, self._id, DocumentsStored(one.documents - held.documents, one.bytes - held.bytes, size)
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
            deep=self._deep,
            report=await self._receipts.report(await self._life.get(self._id), self.seconds),
        )
        while True:
            answer = await self._retry(lambda: self._peer.verify(self._id, body))
            held = answer["held"]
            if held.get("error"):
                error = held["error"]
                raise PeerRefused(str(error["message"]), code=str(error["code"]), status=409)
            outcome = held.get("verify")
            is_indexed = outcome or (answer.get("transfer") or {}).get("state") == State.VERIFYING
            if is_indexed and await self._life.state(self._id) is State.INDEXING:
                await self._life.step(self._id, Event.INDEXED)
            if outcome:
                break
        self.seconds["index"] = float(outcome["index_seconds"])
        self.seconds["verify"] = float(outcome["verify_seconds"])
        if outcome["ok"]:
            await self._ledger.mark_verified(Role.PUSHER, self._id)
            await self._note_receipt(held)
            await self._receipts.take(await self._life.get(self._id), self._peer, self._retry)
            return (await self._life.step(self._id, Event.VERIFIED)).state
        _log.warning("difference_found", transfer=self._id, differences=outcome["differences"])
        what = (
            ", ".join(f"{one['what']} of {one['collection']}" for one in outcome["differences"]) or "files are missing"
        )
        details = {"differences": len(outcome["differences"]), "files_missing": outcome.get("files_missing_total")}
        self._board.apply(
            Role.PUSHER, self._id, Noted("difference_found", f"A difference was found: {what}.", details, "warning")
        )
        for difference in outcome["differences"]:
            if difference["what"] in ("documents", "options"):
                await self._exporter.forget(difference["collection"], difference["ranges"])
        return (await self._life.step(self._id, Event.DIFFERENCE_FOUND)).state

    async def _finish(self, state: State) -> None:
        if state is State.READY:
            await self._life.step(self._id, Event.COMMIT_STARTED)
        started = time.monotonic()
        try:
            answer = await self._retry(self._commit_there)
        except PeerRefused as error:
            await self._life.step(self._id, Event.COMMIT_UNDONE)
            if error.peer_code in _NOT_READY_THERE:
                # To commit again would be refused again: whoever resumes looks at everything once more.
                await self._life.step(self._id, Event.DIFFERENCE_FOUND)
            raise error from None
        self._add("commit", started)
        held = answer["held"]
        await self._life.note(
            self._id, {"told": held.get("told"), "rollback_until": moment_text(held.get("rollback_until"))}
        )
        try:
            await self._receipts.take(await self._life.get(self._id), self._peer, self._retry)
        except TransferError as error:
            # The data are in. The receipt can be had at any time later (`transfers receipt`).
            _log.warning("receipt_not_taken", transfer=self._id, code=code_of(error), message=error.message)
        await self._life.step(self._id, Event.COMMITTED)

    async def _commit_there(self) -> dict[str, Any]:
        answer = await self._peer.commit(self._id)
        if (answer.get("transfer") or {}).get("state") != State.COMPLETED:
            raise PeerUnavailable("The destination has not completed the commit.")
        return answer

    async def _note_receipt(self, held: Mapping[str, Any]) -> None:
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
                    "peak_rss_mib": {"pusher": peak_rss_mib(), "receiver": held.get("peak_rss_mib")},
                }
            },
        )

    def _add(self, phase: str, started: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - started


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
