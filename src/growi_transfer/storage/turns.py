"""Work that comes to its end whatever becomes of those who asked for it: alone, or steps one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def finished(work: Awaitable[T]) -> T:
    """The result of some work, which is waited for however often the caller is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # the cancel is what is told
        raise cancelled
    return task.result()


class Turns:
    """Runs steps one at a time. After an error every further step raises that error, until `forget`.

    A cancelled caller leaves its step running, since half a step would lose count of what is stored; the next one
    waits for its end.
    """

    def __init__(self) -> None:
        self._failure: Exception | None = None
        self._turn = asyncio.Lock()
        self._steps: set[asyncio.Future[Any]] = set()

    async def take(self, step: Callable[[], Awaitable[T]]) -> T:
        task = asyncio.ensure_future(self._guarded(step))
        self._steps.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def end(self, reason: Exception) -> None:
        """Every further step raises this."""
        self._failure = reason

    def forget(self) -> None:
        """Steps run again after an error."""
        self._failure = None

    async def _guarded(self, step: Callable[[], Awaitable[T]]) -> T:
        async with self._turn:
            if self._failure is not None:
                raise self._failure
            try:
                return await step()
            except Exception as error:
                self._failure = error
                raise

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._steps.discard(task)
        if not task.cancelled():
            task.exception()  # that of a step whose caller has gone is seen by the next one
