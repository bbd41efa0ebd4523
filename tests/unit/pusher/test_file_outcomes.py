"""What watchers and the ledger are told of a file."""

from __future__ import annotations

from datetime import UTC, datetime

from growi_transfer.ledger.base import FileRow, ItemState, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.protocol.errors import FileNotFound, StorageUnavailable
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


async def test_failed_files_are_kept_in_their_rows_and_not_in_memory() -> None:
    ledger = MemoryLedger()
    outcomes = Outcomes(ledger, ProgressBoard(ledger, lambda: datetime(2026, 1, 1, tzinfo=UTC)), ID, lambda _: False)
    rows = [FileRow(Role.PUSHER, ID, f"{number:024x}", "attachment/a", 3, ItemState.PENDING) for number in range(4500)]
    outcomes.begin(whole=True)
    await outcomes.failed_now([Source(row, None, StorageUnavailable()) for row in rows])
    assert [len(page) async for page in outcomes.failed_pages()] == [2000, 2000, 500]
    assert all(len(held) < 10 for held in vars(outcomes).values() if isinstance(held, dict | list | set))
    known = list((await ledger.get_files(Role.PUSHER, ID, [row.attachment_id for row in rows[:2]])).values())
    assert all(map(outcomes.has_failed, known))
    await outcomes.stored([known[0]])
    [stored] = (await ledger.get_files(Role.PUSHER, ID, [known[0].attachment_id])).values()
    assert (stored.state, stored.facts) == (ItemState.STORED, {})
    outcomes.begin(whole=False)
    assert outcomes.has_failed(known[1])
    outcomes.begin(whole=True)
    assert not outcomes.has_failed(known[1]), "a whole look comes to every file anew"
    assert [page async for page in outcomes.failed_pages()] == []
