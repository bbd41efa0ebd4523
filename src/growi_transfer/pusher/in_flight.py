"""What one transfer is sending right now, by name: for people who watch it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from growi_transfer.protocol.progress import Sending


class InFlight:
    """The requests with data that wait for their answer. Use it from one event loop only."""

    def __init__(self) -> None:
        self._items: dict[int, Sending] = {}
        self._number = 0

    @contextmanager
    def sending(self, one: Sending) -> Iterator[Callable[[int], None]]:
        """For as long as something is on its way; the function gets the bytes that are durable over there."""
        self._number += 1
        number = self._number
        self._items[number] = one

        def durable(done: int) -> None:
            if number in self._items:
                self._items[number] = replace(one, done=done)

        try:
            yield durable
        finally:
            del self._items[number]

    def items(self) -> tuple[Sending, ...]:
        """What has been on its way for longest comes first."""
        return tuple(self._items.values())
