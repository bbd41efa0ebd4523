from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.ledger.board import ProgressBoard, snapshot_of
from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.protocol.errors import DatabaseUnavailable
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import (
    DocumentsStored,
    Failure,
    ItemFailed,
    Moved,
    Notice,
    Planned,
    RateMeasured,
    Snapshot,
    WarningRaised,
    apply,
)
from growi_transfer.protocol.shape import to_json

NOW = datetime(2026, 1, 1, tzinfo=UTC)
T1, T2 = "1" * 32, "2" * 32
PUSHER, RECEIVER = Role.PUSHER, Role.RECEIVER
COPYING = Position(State.COPYING)


class RecordingLedger(MemoryLedger):
    """Counts what is saved and can be out of reach."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: list[tuple[str, dict[str, Any]]] = []
        self.reachable = True
        self.meanwhile: Callable[[], None] | None = None

    async def set_facts(self, role: Role, transfer_id: str, facts: Mapping[str, Any], now: datetime) -> None:
        await asyncio.sleep(0)
        if self.meanwhile:
            self.meanwhile()
        if not self.reachable:
            raise DatabaseUnavailable()
        self.saved.append((transfer_id, facts["progress"]))
        await super().set_facts(role, transfer_id, facts, now)


class Time:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ledger() -> RecordingLedger:
    return RecordingLedger()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def board(ledger: RecordingLedger, time: Time) -> ProgressBoard:
    return ProgressBoard(ledger, lambda: NOW + timedelta(hours=1), time)


def row(transfer_id: str = T1, role: Role = PUSHER, position: Position = COPYING, **fields: Any) -> TransferRow:
    given: dict[str, Any] = {"setup": {}, "created_at": NOW, "updated_at": NOW, **fields}
    return TransferRow(role=role, id=transfer_id, position=position, **given)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


class Watcher:
    """Gathers what a watcher gets, in a task of its own."""

    def __init__(self, snapshots: AsyncIterator[Snapshot]) -> None:
        self.got: list[Snapshot] = []
        self.task = asyncio.create_task(self._run(snapshots))

    async def _run(self, snapshots: AsyncIterator[Snapshot]) -> None:
        async for snapshot in snapshots:
            self.got.append(snapshot)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


# snapshots


def test_what_is_reported_is_in_the_snapshot_at_once(board: ProgressBoard) -> None:
    assert board.snapshot(PUSHER, T1) is None
    board.start(row(setup={"dialect": "growi"}))
    board.apply(PUSHER, T1, Planned(10, 1000, 2))
    board.apply(PUSHER, T1, DocumentsStored(4, 400, 40))
    board.apply(RECEIVER, T1, DocumentsStored(1, 1, 1))
    snapshot = board.snapshot(PUSHER, T1)
    assert snapshot == Snapshot(
        T1, "pusher", "growi", COPYING, documents_done=4, documents_total=10, bytes_done=400, bytes_total=1000,
        bytes_wire=40, files_total=2,
    )  # fmt: skip
    assert board.snapshots() == [board.snapshot(RECEIVER, T1), snapshot]


def test_starting_again_keeps_the_counts_and_takes_the_position(board: ProgressBoard) -> None:
    board.start(row())
    board.apply(PUSHER, T1, DocumentsStored(4, 400, 40))
    ready = board.start(row(position=Position(State.READY)))
    assert (ready.documents_done, ready.position.state) == (4, State.READY)
    assert board.snapshot(PUSHER, T1) == ready


def test_rates_are_measured_from_what_is_reported_and_fall_with_a_pause(board: ProgressBoard, time: Time) -> None:
    board.start(row())
    for _ in range(100):
        time.now += 0.1
        board.apply(PUSHER, T1, DocumentsStored(10, 1000, 1))
    snapshot = board.snapshot(PUSHER, T1)
    assert snapshot is not None
    assert snapshot.bytes_per_second == pytest.approx(10_000, rel=0.1)
    assert snapshot.documents_per_second == pytest.approx(100, rel=0.1)
    board.apply(PUSHER, T1, Moved(Position(State.PAUSED, State.COPYING)))
    paused = board.snapshot(PUSHER, T1)
    assert paused is not None
    assert paused.bytes_per_second == 0
    time.now += 1000
    board.apply(PUSHER, T1, Moved(COPYING))
    board.apply(PUSHER, T1, DocumentsStored(10, 1000, 1))
    time.now += 1
    board.apply(PUSHER, T1, DocumentsStored(10, 1000, 1))
    resumed = board.snapshot(PUSHER, T1)
    assert resumed is not None
    assert resumed.bytes_per_second == pytest.approx(2000)


# the ledger


async def test_a_snapshot_comes_back_from_the_ledger_as_it_was_without_rates(
    board: ProgressBoard, ledger: RecordingLedger
) -> None:
    paused = Position(State.PAUSED, State.VERIFYING)
    await ledger.create_transfer(row(position=paused))
    board.start(row(position=paused))
    board.apply(PUSHER, T1, DocumentsStored(4, 400, 40))
    board.apply(PUSHER, T1, ItemFailed(Failure("a", "file", "x", "", 1, True)))
    board.apply(PUSHER, T1, WarningRaised(Notice("w", "careful", {"n": [1]})))
    board.apply(PUSHER, T1, RateMeasured(5.0, 5.0, 5.0))
    await board.flush()
    expected = board.snapshot(PUSHER, T1)
    assert expected is not None
    later = ProgressBoard(ledger, lambda: NOW)
    await later.load()
    # A total is never told below what is done.
    assert (expected.documents_total, expected.bytes_total) == (0, 0)
    grown = replace(expected, documents_total=4, bytes_total=400)
    assert later.snapshot(PUSHER, T1) == apply(grown, RateMeasured(0, 0, 0))
    kept = await ledger.get_transfer(PUSHER, T1)
    assert kept is not None
    assert snapshot_of(kept) == later.snapshot(PUSHER, T1)
    assert kept.updated_at == NOW + timedelta(hours=1)


async def test_loading_keeps_what_is_held_and_writes_nothing(board: ProgressBoard, ledger: RecordingLedger) -> None:
    await ledger.create_transfer(row(T1, facts={"progress": to_json(Snapshot(T1, "pusher", documents_done=1))}))
    await ledger.create_transfer(row(T2, created_at=NOW + timedelta(1), position=Position(State.CHECKED)))
    board.apply(PUSHER, T1, DocumentsStored(2, 0, 0))
    await board.flush()
    await board.load()
    await board.flush()
    assert [one for one, _ in ledger.saved] == [T1]
    held = board.snapshot(PUSHER, T1)
    assert held is not None
    assert held.documents_done == 2
    assert board.snapshot(PUSHER, T2) == Snapshot(T2, "pusher", position=Position(State.CHECKED))


@pytest.mark.parametrize("progress", [{}, {"id": T1}, [], "text", {**to_json(Snapshot(T1, "pusher")), "bytes": 5}])
async def test_progress_that_cannot_be_read_is_begun_anew(
    board: ProgressBoard, ledger: RecordingLedger, progress: Any
) -> None:
    await ledger.create_transfer(row(facts={"progress": progress}))
    await board.load()
    assert board.snapshot(PUSHER, T1) == Snapshot(T1, "pusher", position=COPYING)


async def test_flushing_saves_only_what_has_changed(board: ProgressBoard, ledger: RecordingLedger) -> None:
    board.start(row(T1))
    board.start(row(T2))
    await board.flush()
    await board.flush()
    assert sorted(one for one, _ in ledger.saved) == [T1, T2]
    board.apply(PUSHER, T2, DocumentsStored(1, 1, 1))
    await asyncio.gather(board.flush(), board.flush())
    assert [one for one, _ in ledger.saved[2:]] == [T2]
    assert ledger.saved[-1][1]["documents"]["done"] == 1


async def test_what_changes_while_it_is_saved_is_saved_next_time(board: ProgressBoard, ledger: RecordingLedger) -> None:
    board.start(row())
    ledger.meanwhile = lambda: board.apply(PUSHER, T1, DocumentsStored(1, 1, 1))
    await board.flush()
    ledger.meanwhile = None
    await board.flush()
    assert [progress["documents"]["done"] for _, progress in ledger.saved] == [0, 1]


async def test_what_could_not_be_saved_is_saved_later(board: ProgressBoard, ledger: RecordingLedger) -> None:
    ledger.reachable = False
    board.start(row())
    with pytest.raises(DatabaseUnavailable):
        await board.flush()
    ledger.reachable = True
    await board.flush()
    assert len(ledger.saved) == 1


async def test_while_running_changes_are_saved_about_once_a_second(
    board: ProgressBoard, ledger: RecordingLedger
) -> None:
    loop = asyncio.get_running_loop()
    board.start(row())
    async with board.running():
        started = loop.time()
        for number in range(30):
            board.apply(PUSHER, T1, DocumentsStored(1, 1, 1))
            await asyncio.sleep(0.05 if number else 0)
        assert 1 <= len(ledger.saved) <= loop.time() - started + 2
    assert ledger.saved[-1][1]["documents"]["done"] == 30


async def test_while_running_a_change_of_state_is_saved_at_once(
    board: ProgressBoard, ledger: RecordingLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("growi_transfer.ledger.board.SAVE_SECONDS", 3600.0)
    async with board.running():
        board.start(row())
        await until(lambda: len(ledger.saved) == 1)
        board.apply(PUSHER, T1, Moved(Position(State.RECONCILING)))
        await until(lambda: ledger.saved[-1][1]["state"] == "reconciling")


async def test_while_running_a_first_change_after_a_silence_is_saved(
    board: ProgressBoard, ledger: RecordingLedger
) -> None:
    async with board.running():
        board.start(row())
        await until(lambda: board._asleep)
        board.apply(PUSHER, T1, DocumentsStored(1, 1, 1))
        await until(lambda: ledger.saved[-1][1]["documents"]["done"] == 1)


async def test_while_running_rates_fall_when_nothing_is_reported(board: ProgressBoard, time: Time) -> None:
    board.start(row())
    async with board.running():
        for _ in range(10):
            time.now += 0.1
            board.apply(PUSHER, T1, DocumentsStored(1, 1000, 1))
        watcher = Watcher(board.watch(PUSHER, T1))
        await until(lambda: bool(watcher.got) and watcher.got[-1].bytes_per_second > 0)
        time.now += 6
        await until(lambda: watcher.got[-1].bytes_per_second < 2000)
        time.now += 6
        await until(lambda: watcher.got[-1].bytes_per_second == 0)
        await until(lambda: board._asleep)
    await watcher.task


async def test_a_ledger_out_of_reach_does_not_stop_the_board(board: ProgressBoard, ledger: RecordingLedger) -> None:
    ledger.reachable = False
    async with board.running():
        board.start(row())
        await until(lambda: board._unsaved() and not board._wake.is_set())
        board.apply(PUSHER, T1, Moved(Position(State.RECONCILING)))
        await asyncio.sleep(0.02)
        ledger.reachable = True
        board.apply(PUSHER, T1, Moved(Position(State.INDEXING)))
        await until(lambda: len(ledger.saved) == 1)
        ledger.reachable = False
        board.apply(PUSHER, T1, DocumentsStored(1, 1, 1))
    assert len(ledger.saved) == 1


# watching


async def test_a_late_watcher_gets_the_present_state_first(board: ProgressBoard) -> None:
    board.start(row(T1))
    board.start(row(T2, RECEIVER))
    board.apply(PUSHER, T1, DocumentsStored(1, 1, 1))
    async with aclosing(board.watch()) as snapshots:  # type: ignore[type-var]
        assert [await anext(snapshots), await anext(snapshots)] == [
            board.snapshot(RECEIVER, T2),
            board.snapshot(PUSHER, T1),
        ]
    async with aclosing(board.watch(RECEIVER)) as snapshots:  # type: ignore[type-var]
        assert await anext(snapshots) == board.snapshot(RECEIVER, T2)
    async with aclosing(board.watch(transfer_id=T1)) as snapshots:  # type: ignore[type-var]
        assert await anext(snapshots) == board.snapshot(PUSHER, T1)


async def test_changes_are_gathered_and_the_last_is_never_lost(board: ProgressBoard) -> None:
    board.start(row())
    watcher = Watcher(board.watch(PUSHER, T1))
    await until(lambda: len(watcher.got) == 1)
    started = asyncio.get_running_loop().time()
    for _ in range(200):
        board.apply(PUSHER, T1, DocumentsStored(1, 1, 1))
        await asyncio.sleep(0.002)
    await until(lambda: watcher.got[-1].documents_done == 200)
    seconds = asyncio.get_running_loop().time() - started
    assert 3 <= len(watcher.got) <= seconds * 10 + 3
    await watcher.stop()


async def test_a_watcher_of_one_transfer_ends_with_it(board: ProgressBoard) -> None:
    board.start(row())
    one, everything = Watcher(board.watch(PUSHER, T1)), Watcher(board.watch(PUSHER))
    for state in (State.COMMITTING, State.COMPLETED):
        await asyncio.sleep(0)
        board.apply(PUSHER, T1, Moved(Position(state)))
    await asyncio.wait_for(one.task, 10)
    assert one.got[-1].position.state is State.COMPLETED
    await until(lambda: everything.got[-1].position.state is State.COMPLETED)
    assert not everything.task.done()
    await everything.stop()
    assert [snapshot.position.state async for snapshot in board.watch(PUSHER, T1)] == [State.COMPLETED]


@pytest.mark.parametrize("state", [State.FAILED, State.PAUSED, State.READY])
async def test_a_watcher_does_not_end_with_what_can_go_on(board: ProgressBoard, state: State) -> None:
    board.start(row())
    watcher = Watcher(board.watch(PUSHER, T1))
    board.apply(PUSHER, T1, Moved(Position(state)))
    await until(lambda: bool(watcher.got) and watcher.got[-1].position.state is state)
    board.apply(PUSHER, T1, Moved(Position(State.CANCELLED)))
    await asyncio.wait_for(watcher.task, 10)


async def test_what_changes_while_the_last_state_is_handed_over_still_arrives(board: ProgressBoard) -> None:
    board.start(row(position=Position(State.COMPLETED)))
    got = []
    async for snapshot in board.watch(PUSHER, T1):
        got.append(snapshot.position.state)
        if len(got) == 1:
            board.apply(PUSHER, T1, Moved(Position(State.ROLLED_BACK)))
    assert got == [State.COMPLETED, State.ROLLED_BACK]


async def test_a_watcher_waits_for_a_transfer_that_is_not_there_yet(board: ProgressBoard) -> None:
    board.start(row(T2))
    watcher = Watcher(board.watch(PUSHER, T1))
    await asyncio.sleep(0.02)
    assert watcher.got == []
    board.start(row(T1, position=Position(State.CANCELLED)))
    await asyncio.wait_for(watcher.task, 10)
    assert [snapshot.id for snapshot in watcher.got] == [T1]


async def test_slow_and_cancelled_watchers_disturb_nobody(board: ProgressBoard) -> None:
    board.start(row())
    slow = board.watch(PUSHER, T1)
    await anext(slow)
    quick = [Watcher(board.watch(PUSHER, T1)) for _ in range(20)]
    await until(lambda: all(watcher.got for watcher in quick))
    await asyncio.gather(*(watcher.stop() for watcher in quick[::2]))
    for _ in range(1000):
        board.apply(PUSHER, T1, DocumentsStored(1, 1, 1))
    await until(lambda: all(watcher.got[-1].documents_done == 1000 for watcher in quick[1::2]))
    assert (await anext(slow)).documents_done == 1000
    await slow.aclose()  # type: ignore[attr-defined]
    await asyncio.gather(*(watcher.stop() for watcher in quick[1::2]))


async def test_closing_the_board_ends_every_watcher_with_the_last_state(board: ProgressBoard) -> None:
    async with board.running():
        board.start(row())
        watchers = [Watcher(board.watch()), Watcher(board.watch(PUSHER, T1)), Watcher(board.watch(RECEIVER))]
        await until(lambda: bool(watchers[0].got))
        board.apply(PUSHER, T1, DocumentsStored(5, 5, 5))
    await asyncio.wait_for(asyncio.gather(*(watcher.task for watcher in watchers)), 10)
    assert watchers[0].got[-1].documents_done == watchers[1].got[-1].documents_done == 5
    assert watchers[2].got == []


async def test_a_board_can_run_again(board: ProgressBoard, ledger: RecordingLedger) -> None:
    async with board.running():
        pass
    async with board.running():
        board.start(row())
        watcher = Watcher(board.watch(PUSHER, T1))
        await until(lambda: len(watcher.got) == 1 and len(ledger.saved) == 1)
        board.apply(PUSHER, T1, DocumentsStored(5, 5, 5))
        await until(lambda: watcher.got[-1].documents_done == 5)
    await asyncio.wait_for(watcher.task, 10)


async def test_an_error_inside_comes_out_and_the_rest_is_saved(board: ProgressBoard, ledger: RecordingLedger) -> None:
    async def fails() -> None:
        async with board.running():
            board.start(row())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    assert len(ledger.saved) == 1
