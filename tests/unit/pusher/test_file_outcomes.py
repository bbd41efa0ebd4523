"""What watchers and the ledger are told of a file."""

from __future__ import annotations

from datetime import UTC, datetime

from growi_transfer.ledger.base import FileRow, ItemState, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.protocol.errors import FileNotFound
from growi_transfer.pusher.file_outcomes import MISSING_FILE, Outcomes
from growi_transfer.pusher.source_files import Source

ID = "0" * 32


async def test_a_file_whose_fault_was_accepted_later_is_skipped_and_no_longer_failed() -> None:
    ledger = MemoryLedger()
    board = ProgressBoard(ledger, lambda: datetime(2026, 1, 1, tzinfo=UTC))
    accepted: set[str] = set()
    outcomes = Outcomes(ledger, board, ID, lambda code: code in accepted)
    row = FileRow(Role.PUSHER, ID, "a", "attachment/a.png", 3, ItemState.PENDING)
    await outcomes.failed_now([Source(row, None, FileNotFound())])
    accepted.add(MISSING_FILE)
    known = (await ledger.get_files(Role.PUSHER, ID, ["a"]))["a"]
    assert known.state is ItemState.FAILED
    await outcomes.failed_now([Source(known, None, FileNotFound())])
    snapshot = board.snapshot(Role.PUSHER, ID)
    assert snapshot is not None
    assert (snapshot.files_failed, snapshot.files_skipped, snapshot.failures) == (0, 1, ())
    assert (await ledger.get_files(Role.PUSHER, ID, ["a"]))["a"].state is ItemState.SKIPPED
