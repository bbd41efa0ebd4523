"""How many requests to have in flight: more while that makes it faster, fewer after errors."""

from __future__ import annotations

import time
from collections.abc import Callable

from growi_transfer.pusher.gate import Gate

MOST = 16
"""Requests of one kind in flight, unless the operator says otherwise."""
VOLUMES = 3
"""Database volumes in flight at first: the best number on the loopback with two cores, and enough to begin with."""
ATTACHMENTS = 4
"""The same for requests with attachments."""
GROWI_MOST = 8
"""The same at most, to an unmodified GROWI: one process, which answers its users too and takes no more than 2,500
requests a minute."""
VOLUMES_BUDGET = 28 << 20
"""Bytes of volumes in flight, however many they are. Measured: 48 MiB was no faster, and took 30 MiB more memory."""
_GAIN = 1.05
"""How much faster one more has to make it: the 16th of 16 makes it a fifteenth faster."""
_HOLD_MOST = 16
_SECONDS = 0.7
_ROUNDS = 2


class Climb:
    """The decision, pure: one measured rate (of any unit) in, the number to try next out; from 1 to `most`.

    It goes up while one more makes it faster by a twentieth and comes back when not; after that it looks one lower,
    and stays there if that is no slower. Each look that gains nothing doubles the time until the next. An error halves
    the number and forgets what was measured.
    """

    def __init__(self, start: int, most: int = MOST) -> None:
        self._most = max(1, most)
        self.level = min(max(1, start), self._most)
        self._step = 1
        self._rate: float | None = None
        """At the level that is known to be good."""
        self._came_from: int | None = None
        """While another level is being tried."""
        self._hold = 0
        self._next_hold = 1

    def measured(self, rate: float) -> int:
        """At the present level things moved at this rate."""
        if self._came_from is not None and self._rate is not None:
            better = rate >= self._rate * (_GAIN if self._step > 0 else 1.0)
            if better:
                self._next_hold = 1
            else:
                self.level = self._came_from
                self._step = -self._step
                self._hold, self._next_hold = self._next_hold, min(self._next_hold * 2, _HOLD_MOST)
            self._came_from = None
            if not better:
                return self.level
            self._rate = rate
        else:
            # What is known ages: lines change.
            self._rate = rate if self._rate is None else (self._rate + rate) / 2
        if self._hold:
            self._hold -= 1
            return self.level
        if not 1 <= self.level + self._step <= self._most:
            self._step = -self._step
        if 1 <= self.level + self._step <= self._most:
            self._came_from = self.level
            self.level += self._step
        return self.level

    def failed(self) -> int:
        """A request ended in an error that fewer in flight may avoid."""
        self.level = max(1, self.level // 2)
        self._rate, self._came_from, self._step = None, None, 1
        self._hold, self._next_hold = 4, 1
        return self.level


class Tuner:
    """Moves the limit of a gate: to where `Climb` says, or where the operator has fixed it (`fixed` is not None).

    Whoever sends reports what went well and what failed. Only times in which somebody waited at the gate are measured:
    otherwise it is not the line that makes it slow.
    """

    def __init__(
        self,
        gate: Gate,
        start: int,
        fixed: int | None,
        *,
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gate = gate
        self._start = start
        self._most = most
        self._clock = clock
        self._climb = Climb(start, most)
        self._moved = 0
        self._requests = 0
        self._waited = gate.waited
        self._began = clock()
        self._has_failed = False
        self.fixed: int | None = None
        self.fix(fixed)

    def fix(self, number: int | None) -> None:
        """Hold the number of requests in flight at `number`; None lets it adapt again."""
        if number is None and self.fixed is not None:
            self._climb = Climb(self._start, self._most)
        self.fixed = number
        self._gate.limit = self._climb.level if number is None else number
        self._measure_anew()

    def succeeded(self, moved: int) -> None:
        """A request ended well; `moved` says how much it did, in any unit."""
        self._has_failed = False
        self._moved += moved
        self._requests += 1
        seconds = self._clock() - self._began
        if self.fixed is not None or self._requests < _ROUNDS * self._gate.limit or seconds < _SECONDS:
            return
        if self._gate.waited > self._waited:
            self._gate.limit = self._climb.measured(self._moved / seconds)
        self._measure_anew()

    def failed(self) -> None:
        """A request failed in a way that fewer in flight may avoid. Those that fail together count as one."""
        if self.fixed is None and not self._has_failed:
            self._gate.limit = self._climb.failed()
            self._measure_anew()
        self._has_failed = True

    def _measure_anew(self) -> None:
        self._moved = self._requests = 0
        self._waited = self._gate.waited
        self._began = self._clock()
