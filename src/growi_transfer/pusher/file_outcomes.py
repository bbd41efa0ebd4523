"""What became of each file of a push: its row in the ledger, and what watchers see of it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from growi_transfer.ledger.base import FileRow, ItemState, Ledger, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.protocol.errors import FileNotFound, code_of, is_retryable
from growi_transfer.protocol.progress import (
    Failure,
    FileBytesStored,
    FilesSkipped,
    FilesStored,
    ItemFailed,
    ItemRecovered,
)
from growi_transfer.protocol.wire import PLAN_FILES
from growi_transfer.pusher.excluded_pages import EXCLUDED
from growi_transfer.pusher.source_files import Source

MISSING_FILE = "attachment_file_missing"
"""Code of the warning under which files that the source itself lacks are skipped."""


STORED = (ItemState.STORED, ItemState.VERIFIED)
_MARK = "look"
_MISSING = 10_000
"""Attachments without a file whose documents are looked at again, to tell those that were removed just now."""


class Outcomes:
    """The outcomes of one transfer. `accepts` tells whether the operator accepted a warning."""

    def __init__(self, ledger: Ledger, board: ProgressBoard, transfer_id: str, accepts: Callable[[str], bool]) -> None:
        self._ledger = ledger
        self._board = board
        self._transfer_id = transfer_id
        self._accepts = accepts
        self.counted: dict[str, int] = {}
        """Bytes shown of large files under way, by attachment id."""
        self.any_failed = False
        """Whether there may be files that could not be sent when they were last looked at."""
        self._mark = secrets.token_hex(6)
        """In the rows of these files, however many they are: a row without it is of an attachment that the last whole
        look did not come to."""
        self.missing: dict[str, FileRow] = {}
        """Of the present look: files that the source does not have, at most some thousands."""
        self.is_trusted = True
        """Whether a file that was stored once still is at the destination; the proof says so, or not."""
        self.skipped = 0
        self.sent = 0
        """Of the present look."""

    def begin(self, *, whole: bool) -> None:
        """A look begins; a whole one comes to every file."""
        self.skipped = self.sent = 0
        self.missing.clear()
        if whole:
            self.any_failed = False
            self._mark = secrets.token_hex(6)

    def has_failed(self, row: FileRow) -> bool:
        """Whether this file could not be sent when it was last looked at."""
        return row.state is ItemState.FAILED and row.facts.get(_MARK) == self._mark

    async def failed_pages(self) -> AsyncIterator[list[str]]:
        """Ids of the files that could not be sent, some at a time; each comes once, whatever becomes of it."""
        page: list[str] = []
        async for row in self._ledger.files(Role.PUSHER, self._transfer_id, ItemState.FAILED):
            if not self.has_failed(row):
                continue
            page.append(row.attachment_id)
            if len(page) == PLAN_FILES:
                yield page
                page = []
        if page:
            yield page

    def count(self, attachment_id: str, durable: int) -> None:
        """Show a large file's bytes once, however often it is begun and wherever it goes on."""
        gained = durable - self.counted.get(attachment_id, 0)
        self.counted[attachment_id] = durable
        if gained:
            self._board.apply(Role.PUSHER, self._transfer_id, FileBytesStored(gained, max(0, gained)))

    async def stored(self, rows: Sequence[FileRow], *, wire: int = 0, counted: bool = False) -> None:
        """The destination has these files. `counted`: their bytes are shown already."""
        if not rows:
            return
        for row in rows:
            if row.state is ItemState.FAILED:
                self._board.apply(Role.PUSHER, self._transfer_id, ItemRecovered(row.path, "file"))
        await self._ledger.put_files(
            [replace(row, state=ItemState.STORED, reason="", facts=_unmarked(row)) for row in rows]
        )
        size = 0 if counted else sum(row.size for row in rows)
        self.sent += len(rows)
        self._board.apply(Role.PUSHER, self._transfer_id, FilesStored(len(rows), size, wire))

    async def left_out(self, sources: Sequence[Source]) -> None:
        """Rows of files that the operator excluded; the plan has told them and their bytes."""
        self.skipped += len(sources)
        fresh = [source.row for source in sources if source.row.state is not ItemState.SKIPPED]
        if not fresh:
            return
        for row in fresh:
            if row.state is ItemState.FAILED:
                self._board.apply(Role.PUSHER, self._transfer_id, ItemRecovered(row.path, "file"))
        await self._ledger.put_files([replace(row, state=ItemState.SKIPPED, reason=EXCLUDED) for row in fresh])
        self._board.apply(Role.PUSHER, self._transfer_id, FilesSkipped(len(fresh)))

    async def failed_now(self, sources: Sequence[Source]) -> None:
        """These could not be sent: failed, or skipped if the operator accepted that."""
        rows: list[FileRow] = []
        for source in sources:
            error = source.error
            assert error is not None
            if isinstance(error, FileNotFound) and source.row.state in STORED and self.is_trusted:
                continue  # the destination has it from before
            code = MISSING_FILE if isinstance(error, FileNotFound) else code_of(error)
            if code == MISSING_FILE and len(self.missing) < _MISSING:
                self.missing[source.row.attachment_id] = source.row
            skipped = self._accepts(code)
            self.skipped += skipped
            self.any_failed |= not skipped
            state = ItemState.SKIPPED if skipped else ItemState.FAILED
            facts = _unmarked(source.row) if skipped else {**source.row.facts, _MARK: self._mark}
            rows.append(replace(source.row, state=state, reason=code, tries=source.row.tries + 1, facts=facts))
            if source.row.state is state:
                continue
            if skipped:
                if source.row.state is ItemState.FAILED:
                    self._board.apply(Role.PUSHER, self._transfer_id, ItemRecovered(source.row.path, "file"))
                self._board.apply(Role.PUSHER, self._transfer_id, FilesSkipped(1, source.row.size))
            else:
                failure = Failure(
                    item=source.row.path or source.row.attachment_id,
                    kind="file",
                    code=code,
                    message=error.message,
                    tries=source.row.tries + 1,
                    retryable=is_retryable(error),
                )
                self._board.apply(Role.PUSHER, self._transfer_id, ItemFailed(failure))
        await self._ledger.put_files(rows)


def _unmarked(row: FileRow) -> Mapping[str, Any]:
    return {name: value for name, value in row.facts.items() if name != _MARK} if _MARK in row.facts else row.facts
