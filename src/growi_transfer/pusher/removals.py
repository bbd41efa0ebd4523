"""Attachments that the source removes while a transfer runs: their files do not stay at the destination."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace

from growi_transfer.ledger.base import FileRow, ItemState, Ledger, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.mongo.client import Snapshot
from growi_transfer.protocol.progress import ItemRecovered
from growi_transfer.protocol.wire import PLAN_FILES, PlanPage
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.retry import Retry
from growi_transfer.pusher.source_files import SourceFiles

REMOVED = "attachment_removed"
"""Reason of rows whose attachment the source has removed since it was first seen."""


class Removals:
    """What becomes of the rows and files of removed attachments of one transfer."""

    def __init__(
        self,
        sources: SourceFiles,
        ledger: Ledger,
        board: ProgressBoard,
        peer: Peer,
        retry: Retry,
        transfer_id: str,
    ) -> None:
        self._sources = sources
        self._ledger = ledger
        self._board = board
        self._peer = peer
        self._retry = retry
        self._transfer_id = transfer_id

    async def settle(self, snapshot: Snapshot | None, seen: int, among: Sequence[str] | None) -> int:
        """Find the rows of attachments that are no longer there (at a moment, if one is given), and have the
        destination remove their files; how many there were.

        `seen`: rows that a look at all attachments came to and did not skip; when there are no others, nothing has to
        be searched. `among`: ids of the attachments that may be gone, if only these may be.
        """
        gone = 0
        if among is None:
            totals = await self._ledger.file_totals(Role.PUSHER, self._transfer_id)
            if sum(total.rows for state, total in totals.items() if state is not ItemState.SKIPPED) <= seen:
                return 0
        async for page in self._pages(among):
            there = await self._sources.present(page, snapshot)
            gone += await self.forget([row for row in page if row.attachment_id not in there])
        return gone

    async def _pages(self, among: Sequence[str] | None) -> AsyncIterator[list[FileRow]]:
        if among is not None:
            for start in range(0, len(among), PLAN_FILES):
                rows = await self._ledger.get_files(Role.PUSHER, self._transfer_id, among[start : start + PLAN_FILES])
                yield [row for row in rows.values() if row.reason != REMOVED]
            return
        page: list[FileRow] = []
        async for row in self._ledger.files(Role.PUSHER, self._transfer_id):
            if row.reason == REMOVED:
                continue
            page.append(row)
            if len(page) == PLAN_FILES:
                yield page
                page = []
        yield page

    async def forget(self, rows: Sequence[FileRow]) -> int:
        """Nothing of these attachments (at most PLAN_FILES) is to be at the destination; how many they are."""
        if not rows:
            return 0
        for row in rows:
            if row.state is ItemState.FAILED:
                self._board.apply(Role.PUSHER, self._transfer_id, ItemRecovered(row.path, "file"))
        # Those of failed and skipped rows too: an earlier try may have been stored.
        page = PlanPage(files=(), gone=tuple(row.attachment_id for row in rows))
        await self._retry(lambda: self._peer.plan(self._transfer_id, page))
        await self._ledger.put_files(removed(rows))
        return len(rows)


def removed(rows: Iterable[FileRow]) -> list[FileRow]:
    """The rows, as those of attachments that are no longer there."""
    return [replace(row, state=ItemState.SKIPPED, reason=REMOVED) for row in rows]
