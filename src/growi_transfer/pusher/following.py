"""Following a source in use: catching up, round after round, until somebody orders the commit.

A round asks the source what was written since the last one. Nothing: the destination is up to date, and nothing was
read. Something: those ranges and files are sent, and what is staged is verified again, so that after each round a
commit is one short pass away.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import structlog

from growi_transfer.ledger.life import Life
from growi_transfer.protocol.errors import Superseded, TransferError, code_of, is_retryable
from growi_transfer.protocol.machine import RUNNING, Event, State
from growi_transfer.pusher.options import options_of
from growi_transfer.pusher.retry import Sleep

_log = structlog.get_logger(__name__)
ORDERS = 0.5
"""Seconds between two looks at the ledger, where an order to commit arrives from any process."""
SHORTEST, LONGEST = 2.0, 60.0
"""Seconds between two rounds."""
_SHARE = 3.0
"""A round of t seconds is followed by a pause of so many times t: catching up is not the source's main work."""
_FAULTS = 10
"""Rounds, one after the other, that may fail for a passing reason."""


class Following:
    """The rounds of one transfer. `look` tells whether anything was written (None: it cannot be told); `catch_up`
    sends that (all is read when its argument is True) and proves it: the transfer is `ready` again."""

    def __init__(
        self,
        life: Life,
        transfer_id: str,
        sleep: Sleep,
        look: Callable[[], Awaitable[bool | None]],
        catch_up: Callable[[bool], Awaitable[object]],
    ) -> None:
        self._life = life
        self._id = transfer_id
        self._sleep = sleep
        self._look = look
        self._catch_up = catch_up

    async def run(self) -> None:
        """Until a commit is ordered. Raises TransferError when rounds keep failing."""
        pause, faults = SHORTEST, 0
        while not await self._wait(pause):
            began = time.monotonic()
            try:
                changed = await self._round()
            except TransferError as error:
                faults += 1
                if not is_retryable(error) or isinstance(error, Superseded) or faults > _FAULTS:
                    raise
                _log.warning("round_failed", transfer=self._id, code=code_of(error), message=error.message)
                pause = min(LONGEST, pause * 2)
                continue
            faults = 0
            spent = time.monotonic() - began
            quiet = pause * 1.5 if not changed else 0.0
            pause = min(LONGEST, max(SHORTEST, spent * _SHARE, quiet))

    async def _round(self) -> bool:
        state = await self._life.state(self._id)
        if state is State.READY:
            written = await self._look()
            if written is False:
                return False
            await self._life.step(self._id, Event.DIFFERENCE_FOUND)
        else:  # the round before did not come to its end
            written = None
            if state in RUNNING and state is not State.COPYING:
                await self._life.step(self._id, Event.DIFFERENCE_FOUND)
        await self._catch_up(written is None)
        return True

    async def _wait(self, seconds: float) -> bool:
        """Pause; ends early, with True, when the commit is ordered."""
        until = time.monotonic() + seconds
        while True:
            if not options_of(await self._life.get(self._id)).follow:
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            await self._sleep(min(ORDERS, left))
