"""How what lasts (event streams, sockets) is told that what opened it is over: a login, or a watch link.

It is looked up once a second for all who wait, however many they are: another process of this wiki may have ended it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable
from contextlib import asynccontextmanager
from typing import Generic, NoReturn, TypeVar
from weakref import WeakValueDictionary

import structlog

LOOK_SECONDS = 1.0
_log = structlog.get_logger("growi_transfer.web")

T = TypeVar("T", bound=Hashable)


class Ends(Generic[T]):
    """`over` gives those of some that are over now; it is asked as long as this is `running`, also about none."""

    def __init__(self, over: Callable[[Collection[T]], Awaitable[Collection[T]]]) -> None:
        self._over = over
        self._awaited: WeakValueDictionary[T, asyncio.Event] = WeakValueDictionary()
        """For as long as somebody waits."""

    async def wait(self, one: T) -> None:
        """Wait until it is over."""
        event = self._awaited.setdefault(one, asyncio.Event())
        await event.wait()

    def end(self, one: T) -> None:
        """It is over: tell those who wait."""
        event = self._awaited.get(one)
        if event is not None:
            event.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look while inside; once before."""
        await self._look()
        looking = asyncio.create_task(self._look_for_ever())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait([looking])

    async def _look_for_ever(self) -> NoReturn:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._look()

    async def _look(self) -> None:
        try:
            for one in await self._over(tuple(self._awaited)):
                self.end(one)
        except Exception:  # noqa: BLE001 - whatever it was, what ends later must be seen to end
            _log.exception("ends_not_looked_up")
