"""The contract of `ledger.base` for logs and orders, for every ledger, and the log that writes into it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from growi_transfer.ledger.base import Ledger, LogRow, OrderRow, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.log import KEPT, LEVELS, TransferLog, levels_from
from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.ledger.mongo import MongoLedger
from growi_transfer.mongo.client import Database, open_database
from growi_transfer.protocol.errors import DatabaseUnavailable
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import Failure, ItemFailed, Moved, Noted, Notice, WarningRaised

NOW = datetime(2026, 3, 4, 5, 6, 7, 891_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)
T1, T2 = "1" * 32, "2" * 32
PUSHER, RECEIVER = Role.PUSHER, Role.RECEIVER


@pytest.fixture
async def database(mongo_uri: str, mongo_database_name: str) -> AsyncIterator[Database]:
    opened = await open_database(mongo_uri, database=mongo_database_name)
    yield opened
    await opened.close()


@pytest.fixture(params=["memory", "mongo"])
def unprepared(request: pytest.FixtureRequest) -> Ledger:
    return MemoryLedger() if request.param == "memory" else MongoLedger(request.getfixturevalue("database"))


@pytest.fixture
async def ledger(unprepared: Ledger) -> Ledger:
    await unprepared.prepare()
    return unprepared


def line(number: int, role: Role = PUSHER, transfer_id: str = T1, level: str = "info", **fields: Any) -> LogRow:
    at = NOW + number * SECOND
    return replace(LogRow(role, transfer_id, f"{number:016d}abcd", at, level, "event", f"line {number}"), **fields)


def order(order_id: str = "a", **fields: Any) -> OrderRow:
    given = OrderRow(order_id, PUSHER, T1, "pause", {}, "host|boot|1|2", "somebody", NOW)
    return replace(given, **fields)


async def numbers(ledger: Ledger, *, levels: Any = LEVELS, limit: int = 100, after: str = "") -> list[int]:
    return [
        int(row.message.split()[1]) for row in await ledger.log(PUSHER, T1, levels=levels, limit=limit, after=after)
    ]


async def test_lines_come_back_as_they_were_put_oldest_first(ledger: Ledger) -> None:
    details = {"$a.b": [1, None, "日本語"], "": {"x": 1.5}}
    rows = [line(2, details=details), line(1, level="error"), line(3, message="line \udc80 3")]
    await ledger.append_log(rows)
    found = await ledger.log(PUSHER, T1, levels=LEVELS, limit=10)
    assert found == [rows[1], rows[0], replace(rows[2], message="line \\udc80 3")]


async def test_lines_are_of_one_transfer_and_one_role(ledger: Ledger) -> None:
    await ledger.append_log([line(1), line(2, RECEIVER), line(3, transfer_id=T2)])
    assert await numbers(ledger) == [1]
    assert await ledger.log(RECEIVER, T2, levels=LEVELS, limit=10) == []


async def test_the_newest_lines_of_some_levels_after_a_stamp(ledger: Ledger) -> None:
    await ledger.append_log([line(number, level=LEVELS[number % 3]) for number in range(12)])
    assert await numbers(ledger, limit=3) == [9, 10, 11]
    assert await numbers(ledger, limit=0) == []
    assert await numbers(ledger, levels=levels_from("warning")) == [1, 2, 4, 5, 7, 8, 10, 11]
    assert await numbers(ledger, levels=levels_from("error"), limit=2) == [8, 11]
    assert await numbers(ledger, after=line(8).stamp) == [9, 10, 11]


@pytest.mark.parametrize(("keep", "left"), [(3, [7, 8, 9]), (10, list(range(10))), (11, list(range(10))), (0, [])])
async def test_only_the_newest_lines_stay(ledger: Ledger, keep: int, left: list[int]) -> None:
    await ledger.append_log([line(number) for number in range(10)])
    await ledger.append_log([line(1, RECEIVER), line(1, transfer_id=T2)])
    await ledger.trim_log(PUSHER, T1, keep)
    assert await numbers(ledger) == left
    assert len(await ledger.log(RECEIVER, T1, levels=LEVELS, limit=5)) == 1
    assert len(await ledger.log(PUSHER, T2, levels=LEVELS, limit=5)) == 1


async def test_an_order_is_taken_once_and_answered(ledger: Ledger) -> None:
    given = order(arguments={"volumes": 3, "bandwidth": None})
    await ledger.put_order(given)
    await ledger.put_order(order("b", verb="cancel", to=""))
    assert sorted(row.id for row in await ledger.open_orders()) == ["a", "b"]
    assert await ledger.get_order("a") == given
    assert [await ledger.take_order("a", one) for one in ("first", "second")] == [True, False]
    assert [row.id for row in await ledger.open_orders()] == ["b"]
    await ledger.answer_order("a", {"ok": True, "result": {"transfer": {"$x": 1}}})
    taken = await ledger.get_order("a")
    assert taken == replace(given, taken_by="first", answer={"ok": True, "result": {"transfer": {"$x": 1}}})
    await ledger.delete_order("a")
    assert await ledger.get_order("a") is None
    assert not await ledger.take_order("a", "first")


async def test_orders_that_have_ended_are_forgotten(ledger: Ledger) -> None:
    await ledger.put_order(order("old", expires_at=NOW - SECOND))
    await ledger.put_order(order("answered", expires_at=NOW - SECOND))
    await ledger.answer_order("answered", {"ok": True})
    await ledger.put_order(order("new"))
    await ledger.expire_orders(NOW)
    assert [await ledger.get_order(one) for one in ("old", "answered", "new")] == [None, None, order("new")]


async def test_what_a_board_is_told_becomes_lines(ledger: Ledger) -> None:
    log = TransferLog(ledger, lambda: NOW, "abcd")
    board = ProgressBoard(ledger, lambda: NOW, log=log)
    for event in (
        Moved(Position(State.COPYING)),
        Noted("pass_begun", "A pass begins.", {"collections": 3}),
        WarningRaised(Notice("seed", "They differ.", {"n": 1})),
        ItemFailed(Failure("attachment/x", "file", "size_mismatch", "Too short.", 2, False)),
        Moved(Position(State.FAILED, State.COPYING)),
    ):
        board.apply(PUSHER, T1, event)
    await board.flush()
    told = [(row.level, row.event, row.message) for row in await ledger.log(PUSHER, T1, levels=LEVELS, limit=10)]
    assert told == [
        ("info", "state", "copying"),
        ("info", "pass_begun", "A pass begins."),
        ("warning", "seed", "They differ."),
        ("error", "size_mismatch", "file attachment/x: Too short."),
        ("error", "state", "failed"),
    ], "in this order, though the clock stood still"


async def test_a_log_is_bounded_and_waits_for_a_ledger_that_is_away(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = TransferLog(ledger, lambda: NOW, "abcd")
    with monkeypatch.context() as away:

        async def fails(_: object) -> None:
            raise DatabaseUnavailable

        away.setattr(ledger, "append_log", fails)
        log.note(PUSHER, T1, "info", "first", "line 0", {})
        with pytest.raises(DatabaseUnavailable):
            await log.flush()
    assert log.is_waiting
    for number in range(1, KEPT + 300):
        log.note(PUSHER, T1, "info", "more", f"line {number}" + "x" * 5000 * (number == KEPT + 299), {})
    await log.flush()
    assert not log.is_waiting
    found = await ledger.log(PUSHER, T1, levels=LEVELS, limit=10_000)
    assert len(found) == KEPT
    assert len(found[-1].message) == 2000
