"""One reader of the board for all watchers, each change encoded once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.fakes.web import OTHER, TRANSFER, MemoryBoard

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import Snapshot
from growi_transfer.web import feed as feeds
from growi_transfer.web.feed import Feed, Told, Watching

COPYING = Snapshot(TRANSFER, "pusher", position=Position(State.COPYING))


@pytest.fixture
async def board() -> MemoryBoard:
    return MemoryBoard()


@pytest.fixture
async def feed(board: MemoryBoard) -> AsyncIterator[Feed]:
    feed = Feed(board)
    async with feed.running():
        yield feed


async def next_of(watching: Watching) -> list[Told]:
    async with asyncio.timeout(5):
        await watching.changed()
    return watching.take()


async def told(feed: Feed, version: int) -> None:
    """Wait until so many changes were told."""
    async with asyncio.timeout(5):
        while feed.version < version:
            await asyncio.sleep(0)


async def test_all_watchers_get_the_same_bytes(board: MemoryBoard, feed: Feed) -> None:
    watchers = [feed.watching() for _ in range(3)]
    await board.put(COPYING)
    [first], [second], [third] = [await next_of(one) for one in watchers]
    assert first.event is second.event is third.event
    assert first.watcher_event is second.watcher_event is third.watcher_event
    assert board.watchers == 1


async def test_a_slow_watcher_gets_the_last_state_of_each(board: MemoryBoard, feed: Feed) -> None:
    slow = feed.watching()
    for done in range(5):
        for snapshot in (COPYING, Snapshot(OTHER, "receiver", position=Position(State.COPYING))):
            await board.put(replace(snapshot, bytes_done=done))
            await told(feed, feed.version + 1)
    assert [(one.snapshot.id, one.snapshot.bytes_done) for one in slow.take()] == [(TRANSFER, 4), (OTHER, 4)]
    assert slow.take() == []


async def test_what_is_told_again_without_a_change_wakes_nobody_and_hides_nothing(
    board: MemoryBoard, feed: Feed
) -> None:
    watching = feed.watching()
    await board.put(COPYING)
    await board.put(Snapshot(OTHER, "receiver"))
    await told(feed, 2)
    watching.take()
    await board.put(replace(COPYING, bytes_done=1))
    await board.put(Snapshot(OTHER, "receiver"))
    await board.put(Snapshot(OTHER, "pusher"))
    while feed.version < 4:
        await asyncio.sleep(0)
    assert [(one.snapshot.id, one.snapshot.role) for one in watching.take()] == [
        (TRANSFER, "pusher"),
        (OTHER, "pusher"),
    ]


async def test_who_asks_for_one_transfer_hears_of_no_other_and_of_its_end(board: MemoryBoard, feed: Feed) -> None:
    ending = feed.watching(Role.PUSHER, TRANSFER, ends=True)
    lasting = feed.watching(Role.PUSHER, TRANSFER)
    for snapshot in (
        Snapshot(OTHER, "pusher"),
        Snapshot(TRANSFER, "receiver", position=Position(State.COMPLETED)),
        COPYING,
    ):
        await board.put(snapshot)
    await told(feed, 3)
    assert [one.snapshot for one in await next_of(ending)] == [COPYING]
    assert not ending.is_over
    await board.put(replace(COPYING, position=Position(State.COMPLETED)))
    await next_of(ending)
    await next_of(lasting)
    assert (ending.is_over, lasting.is_over) == (True, False)


async def test_many_watchers_are_told_less_often(
    board: MemoryBoard, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(feeds.asyncio, "sleep", note)
    few = feed.watching()
    await board.put(COPYING)
    await next_of(few)
    many = [feed.watching() for _ in range(999)]
    await board.put(replace(COPYING, bytes_done=1))
    await next_of(few)
    del many
    await board.put(replace(COPYING, bytes_done=2))
    await next_of(few)
    while len(waits) < 3:
        await sleep(0)
    assert waits == [0.0, 1000 / feeds.TOLD_A_SECOND - feeds.PACE_SECONDS, 0.0]


async def test_who_begins_to_watch_one_transfer_sees_what_the_reader_has_not_come_to(
    board: MemoryBoard, feed: Feed
) -> None:
    """Who orders something and watches from then on would take the state before the order for the outcome."""
    await board.put(COPYING)
    await told(feed, 1)
    await board.put(replace(COPYING, bytes_done=1))
    assert [one.snapshot.bytes_done for one in feed.watching(Role.PUSHER, TRANSFER).take()] == [1]
    assert [one.snapshot.bytes_done for one in feed.watching(None, TRANSFER).take()] == [1]
