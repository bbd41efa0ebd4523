"""A limit on the bytes a transfer sends in a second, which can be changed while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_GRANT_SECONDS = 0.1
"""The largest grant is what this time is worth, so that a slow limit gives a steady trickle, not bursts and pauses."""
_SHORTEST_WAIT = 0.001
"""A clock with rounding errors might not move at all in a shorter time. What is waited too long is made up for."""


async def _until(changed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return


class BandwidthLimiter:
    """A token bucket for all requests of one transfer. Whoever asks first is served first.

    `rate` is in bytes per second; None is no limit. `clock` gives seconds that never go backwards; `wait` waits for
    an event, but no longer than some seconds.
    """

    def __init__(
        self,
        rate: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[asyncio.Event, float], Awaitable[None]] = _until,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._wait = wait
        self._tokens = 0.0
        self._counted_at = clock()
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def rate(self) -> int | None:
        return self._rate

    def set_rate(self, rate: int | None) -> None:
        """Change the limit now; whoever is waiting goes on under the new one."""
        self._count()
        self._rate = rate
        self._tokens = 0.0
        self._changed.set()

    async def __call__(self, wanted: int) -> int:
        """How many bytes may be sent now: at least one, at most `wanted`. Waits until that is so."""
        if self._rate is None and not self._turn.locked():
            return wanted
        async with self._turn:
            while (rate := self._rate) is not None:
                grant = min(wanted, max(1, int(rate * _GRANT_SECONDS)))
                self._count()
                if self._tokens >= grant:
                    self._tokens -= grant
                    return grant
                self._changed.clear()
                await self._wait(self._changed, max(_SHORTEST_WAIT, (grant - self._tokens) / rate))
            return wanted

    def _count(self) -> None:
        now = self._clock()
        if self._rate is not None:
            # What was not used is lost beyond two grants: an idle line does not save up for a burst.
            most = max(2.0, 2 * self._rate * _GRANT_SECONDS)
            self._tokens = min(most, self._tokens + (now - self._counted_at) * self._rate)
        self._counted_at = now
