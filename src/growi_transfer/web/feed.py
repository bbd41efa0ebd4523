"""What is told to all watchers: one reader of the board, and each change encoded once, however many look on.

A watcher takes the next change when it is ready for it, as at the board: what changed meanwhile is one change, the last
state always arrives, and a slow watcher costs nothing. Use it from one event loop only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, NoReturn
from weakref import WeakSet

import orjson
import structlog

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.machine import FINISHED
from growi_transfer.protocol.progress import Snapshot
from growi_transfer.protocol.shape import to_json
from growi_transfer.web.services import Board
from growi_transfer.web.watcher_shape import watcher_shape

PACE_SECONDS = 0.25
"""The least time between two changes of a transfer that are told."""
TOLD_A_SECOND = 250
"""The most that all watchers together are told: many of them are told less often (one costs 50 to 90 µs)."""
_AGAIN_SECONDS = 0.5
_log = structlog.get_logger("growi_transfer.web")

Key = tuple[Role, str]


class Told:
    """One state of a transfer. Its forms are made when they are first asked for, and kept."""

    def __init__(self, snapshot: Snapshot, version: int) -> None:
        self.snapshot = snapshot
        self.version = version

    @cached_property
    def shape(self) -> dict[str, Any]:
        return to_json(self.snapshot)

    @cached_property
    def event(self) -> bytes:
        """The server-sent event, for an admin or the peer."""
        return encoded_event(self.version, self.shape)

    @cached_property
    def watcher_shape(self) -> dict[str, Any]:
        return watcher_shape(self.shape)

    @cached_property
    def watcher_event(self) -> bytes:
        """The server-sent event, for who has no more than a watch link."""
        return encoded_event(self.version, self.watcher_shape)


def encoded_event(number: int, shape: object) -> bytes:
    return b"id: %d\nevent: transfer\ndata: %s\n\n" % (number, orjson.dumps({"transfer": shape}))


class Feed:
    """The changes of a board, for any number of watchers. It reads while it is `running`."""

    def __init__(self, board: Board, *, pace: float = PACE_SECONDS) -> None:
        self._board = board
        self._pace = pace
        self._watchers: WeakSet[Watching] = WeakSet()
        self._told: dict[Key, Told] = {}  # in the order of their last change
        self.version = 0
        self.changed = asyncio.Event()
        """Set, and another one put in its place, with each change."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read the board while inside."""
        reading = asyncio.create_task(self._read())
        try:
            yield
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _read(self) -> NoReturn:
        while True:
            try:
                async for snapshot in self._board.watch(pace=self._pace):
                    if self._tell(snapshot):
                        await asyncio.sleep(max(0.0, len(self._watchers) / TOLD_A_SECOND - self._pace))
            except Exception:  # noqa: BLE001 - whatever it was, the next watcher must not wait for ever
                _log.exception("the live broadcast stopped and begins again")
            await asyncio.sleep(_AGAIN_SECONDS)

    def _tell(self, snapshot: Snapshot) -> bool:
        """Whether there was anything to tell."""
        key = (Role(snapshot.role), snapshot.id)
        held = self._told.get(key)
        if held is not None and held.snapshot == snapshot:
            return False
        self.version += 1
        self._told.pop(key, None)  # to the end
        self._told[key] = Told(snapshot, self.version)
        self.changed.set()
        self.changed = asyncio.Event()
        return True

    def newest(self) -> Iterator[tuple[Key, Told]]:
        """The present states, those that were told last first."""
        return reversed(self._told.items())

    def watching(
        self, role: Role | None = None, transfer_id: str | None = None, *, ends: bool = False, over: bool = False
    ) -> Watching:
        """One watcher of the transfers asked for. With `ends` it is over when the one transfer asked for by id is in a
        finished state; `over`: it is from the beginning. It counts as a watcher as long as it is kept."""
        if transfer_id is not None:
            # What was ordered a moment ago is part of the present state, though the reader has not come to it.
            for one in Role if role is None else (role,):
                if (snapshot := self._board.snapshot(one, transfer_id)) is not None:
                    self._tell(snapshot)
        watching = Watching(self, role, transfer_id, ends=ends, over=over)
        self._watchers.add(watching)
        return watching


class Watching:
    """What one watcher has seen of a feed."""

    def __init__(self, feed: Feed, role: Role | None, transfer_id: str | None, *, ends: bool, over: bool) -> None:
        self._feed = feed
        self._role = role
        self._id = transfer_id
        self._ends = ends
        self._seen = 0
        self.is_over = over

    def take(self) -> list[Told]:
        """What was told since the last time, each transfer once; at first the present state of each."""
        found = list(self._fresh())[::-1]
        self._seen = self._feed.version
        if self._ends and found and found[-1].snapshot.position.state in FINISHED:
            self.is_over = True
        return found

    async def changed(self) -> None:
        """Wait until there is something to take."""
        while True:
            changed = self._feed.changed
            if next(self._fresh(), None) is not None:
                return
            self._seen = self._feed.version
            await changed.wait()

    def _fresh(self) -> Iterator[Told]:
        """Newest first."""
        for (role, transfer_id), told in self._feed.newest():
            if told.version <= self._seen:
                return
            if self._role in (None, role) and self._id in (None, transfer_id):
                yield told
