"""The file side of a push: every attachment document gets a row, every file that is missing over there is sent.

Small files go in bundles, large ones alone and by offset. A fault of one file never stops the others and never
disappears: it stays in its row until a later try ends well or the operator has accepted it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import bson
from bson import ObjectId

from growi_transfer.ledger.base import FileRow, ItemState, Ledger, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.mongo.client import DECODED, Database, Snapshot
from growi_transfer.protocol.answers import Planned
from growi_transfer.protocol.digest import EMPTY, combine
from growi_transfer.protocol.errors import (
    CursorLost,
    SnapshotExpired,
    TransferError,
)
from growi_transfer.protocol.wire import (
    PLAN_FILES,
    AttachmentFile,
    PlanPage,
)
from growi_transfer.pusher.adapt import Tuner
from growi_transfer.pusher.answers import checked
from growi_transfer.pusher.excluded_pages import ExcludedPages
from growi_transfer.pusher.file_outcomes import STORED, Outcomes
from growi_transfer.pusher.file_sender import FileSender
from growi_transfer.pusher.gate import Gate
from growi_transfer.pusher.in_flight import InFlight
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.removals import Removals
from growi_transfer.pusher.retry import Retry
from growi_transfer.pusher.server_copy import ServerCopy
from growi_transfer.pusher.sizes import Sizes
from growi_transfer.pusher.source_files import Source, SourceFiles, fingerprint_of
from growi_transfer.storage.base import BucketCopies, Storage
from growi_transfer.storage.digest import digest_of

_LISTINGS = 5
_PAGES_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the attachments found."""

    is_of_moment: bool
    """The attachments were listed as they were at the moment asked for."""
    fingerprint: bytes
    """Of those listed: `source_files.fingerprint_of`."""
    vanished: int = 0
    """Attachments of the list whose documents and files have been removed since: nothing could be sent for these."""
    changed: int = 0
    """Files sent, and files removed."""


class AttachmentSender:
    """Sends the files of one transfer. `accepts` tells whether the operator accepted a warning."""

    def __init__(
        self,
        *,
        database: Database,
        storage: Storage,
        ledger: Ledger,
        board: ProgressBoard,
        peer: Peer,
        retry: Retry,
        source: Retry,
        gate: Gate,
        tuner: Tuner,
        sizes: Sizes,
        transfer_id: str,
        accepts: Callable[[str], bool],
        in_flight: InFlight,
        exclude_paths: Sequence[str] = (),
        copies: BucketCopies | None = None,
    ) -> None:
        """`copies`: what the source's storage lets others copy, where it does."""
        self._sources = SourceFiles(database, storage, ledger, transfer_id, ExcludedPages(database, exclude_paths))
        self._removals = Removals(self._sources, ledger, board, peer, retry, transfer_id)
        self._storage = storage
        self._ledger = ledger
        self._board = board
        self._peer = peer
        self._retry = retry
        self._source = source
        self._gate = gate
        self._transfer_id = transfer_id
        self._outcomes = Outcomes(ledger, board, transfer_id, accepts)
        self._server_copy = ServerCopy(copies, peer, retry, self._outcomes, transfer_id)
        self._files = FileSender(
            storage=storage,
            peer=peer,
            retry=retry,
            source=source,
            sizes=sizes,
            tuner=tuner,
            outcomes=self._outcomes,
            transfer_id=transfer_id,
            in_flight=in_flight,
        )

    async def run(self, snapshot: Snapshot | None = None, changed: Iterable[bytes] | None = None) -> Look:
        """Look at every attachment document, as it was at a moment if one is given, and send what is missing. May be
        run again; after a whole look also for those alone that have `changed` since (raw `{_id}` documents).

        Raises the first error that concerns the whole transfer; faults of single files stay in their rows.
        """
        outcomes = self._outcomes
        only = None if changed is None else list({*changed})
        sent, seen, fingerprint = 0, 0, EMPTY
        for left in reversed(range(_LISTINGS)):
            outcomes.begin(whole=only is None)
            seen, fingerprint, ended = await self._list(snapshot, only)
            sent += outcomes.sent
            if ended is None:
                break
            if not left:
                raise ended
            # Sending takes longer than a snapshot lasts: the list is gone through as it is now.
            snapshot = None
        if outcomes.any_failed:
            # Once more after all others: what was wrong for a moment is right by now.
            async for page in outcomes.failed_pages():
                ids = [bson.encode({"_id": ObjectId(one)}) for one in page if ObjectId.is_valid(one)]
                await self._list(snapshot, ids)
        among = None if only is None else [str(bson.decode(one, DECODED)["_id"]) for one in only]
        gone = await self._removals.settle(snapshot, seen - outcomes.skipped, among)
        return Look(snapshot is not None, fingerprint, len(await self._vanished()), sent + gone)

    async def _list(
        self, snapshot: Snapshot | None, only: Sequence[bytes] | None
    ) -> tuple[int, bytes, SnapshotExpired | CursorLost | None]:
        """Go through the list once: how many there were, their fingerprint, and why it broke off, if it did. What was
        begun is done when this returns: no file is sent twice at a time."""
        seen, fingerprint = 0, EMPTY
        pages = Gate(_PAGES_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            try:
                async for page in self._sources.pages(snapshot, only):
                    seen += len(page)
                    fingerprint = combine((fingerprint, fingerprint_of(page)))
                    # While these are asked about the next ones are read.
                    await self._background(pages, group, self._page(page, group))
            except (SnapshotExpired, CursorLost) as error:
                return seen, fingerprint, error
        return seen, fingerprint, None

    async def fingerprint(self) -> bytes:
        """That of the attachments that there are now, to compare with what a look has seen."""
        return await self._sources.fingerprint()

    async def _vanished(self) -> list[FileRow]:
        """Rows of attachments that had no file, because the source has removed them, or given them another file, since
        they were listed."""
        rows = list(self._outcomes.missing.values())
        gone: list[FileRow] = []
        for start in range(0, len(rows), PLAN_FILES):
            page = rows[start : start + PLAN_FILES]
            there = await self._sources.unchanged(page)
            gone += [row for row in page if row.attachment_id not in there]
        return gone

    def distrust(self) -> None:
        """The destination has lost files that were stored: what the source no longer has is missing then."""
        self._outcomes.is_trusted = False

    async def accept_vanished(self) -> int:
        """Be content with what the last look found: the files of attachments that were removed under it exist nowhere
        any more, so their documents arrive without. How many they are."""
        gone = await self._vanished()
        for start in range(0, len(gone), PLAN_FILES):
            await self._removals.forget(gone[start : start + PLAN_FILES])
        return len(gone)

    async def unsettled(self) -> int:
        """How many files of the last run are neither stored nor skipped under an accepted warning.

        Rows that the run did not come to are of attachments that the source has removed since: nothing is to be sent.
        """
        left = 0
        for state in (ItemState.PENDING, ItemState.SENT, ItemState.FAILED):
            gone: list[FileRow] = []
            async for row in self._ledger.files(Role.PUSHER, self._transfer_id, state):
                if self._outcomes.has_failed(row):
                    left += 1
                    continue
                gone.append(row)
                if len(gone) == PLAN_FILES:
                    await self._removals.forget(gone)
                    gone = []
            await self._removals.forget(gone)
        return left

    # one page

    async def _page(self, page: list[Source], group: asyncio.TaskGroup) -> None:
        await self._outcomes.left_out([source for source in page if source.excluded])
        await self._outcomes.failed_now([source for source in page if source.error is not None and not source.excluded])
        good = [source for source in page if source.error is None and not source.excluded]
        if not good:
            return
        missing = await self._ask(good)
        missing -= await self._server_copy.run([source for source in good if source.row.attachment_id in missing])
        small: list[Source] = []
        bundle_bytes = 0
        paths: set[str] = set()
        for source in good:
            if source.row.attachment_id not in missing:
                continue
            if self._files.is_large(source.row.size):
                await self._background(self._gate, group, self._files.large(source))
                continue
            full = self._files.is_full(len(small) + 1, bundle_bytes + source.row.size)
            # Two attachment documents may name one file, here or at the destination; a bundle has no path twice.
            if small and (full or source.paths & paths):
                await self._background(self._gate, group, self._files.bundle(small))
                small, bundle_bytes, paths = [], 0, set()
            small.append(source)
            paths |= source.paths
            bundle_bytes += source.row.size
        if small:
            await self._background(self._gate, group, self._files.bundle(small))

    async def _background(self, gate: Gate, group: asyncio.TaskGroup, work: Any) -> None:
        """Begin the work as soon as there is a place for it."""
        try:
            await gate.acquire()
        except BaseException:
            work.close()
            raise

        async def run() -> None:
            try:
                await work
            finally:
                gate.release()

        group.create_task(run())

    async def _ask(self, sources: Sequence[Source]) -> set[str]:
        """Ids that have to be sent; rows of the others are stored."""
        by_id = {source.row.attachment_id: source for source in sources}
        answer = await self._plan([source.file for source in sources if source.file is not None])
        missing, same_size = set(answer.missing), set(answer.same_size)
        if same_size:
            digested = [await self._with_digest(by_id[one]) for one in same_size if one in by_id]
            known = [file for file in digested if file is not None]
            missing |= same_size - {file.id for file in known}
            missing |= set((await self._plan(known)).missing)
        stored = [source for key, source in by_id.items() if key not in missing]
        await self._outcomes.stored([source.row for source in stored if source.row.state not in STORED])
        await self._ledger.put_files(
            [
                replace(by_id[key].row, state=ItemState.PENDING)
                for key in missing
                if key in by_id and by_id[key].row.state is not ItemState.FAILED
            ]
        )
        return missing

    async def _plan(self, files: Sequence[AttachmentFile]) -> Planned:
        page = PlanPage.model_construct(files=tuple(files))
        answer = await self._retry(lambda: self._peer.plan(self._transfer_id, page))
        return checked(Planned, answer, self._peer.origin)

    async def _with_digest(self, source: Source) -> AttachmentFile | None:
        async def digest() -> str:
            return (await digest_of(self._storage, source.row.path)).hex()

        try:
            found = await self._source(digest)
        except TransferError:
            return None  # it will be told when it is sent
        assert source.file is not None
        return source.file.model_copy(update={"sha256": found})
