"""How fast the line is, and so whether deflating pays."""

from __future__ import annotations

from collections.abc import Callable

_DEFLATE_BELOW = 50 << 20
"""Bytes per second. One core deflates wiki text at several times this, at a ratio of about 3: on a slower line the
time saved on the wire is worth more than the processor's."""
_WEIGHT = 0.3


class Link:
    """Decides between stored and deflated volumes. `wanted` (None: decide) is the operator's choice; `in_flight`
    tells how many volumes share the line, and `bandwidth` the limit set by the operator."""

    def __init__(self, wanted: bool | None, in_flight: Callable[[], int], bandwidth: Callable[[], int | None]) -> None:
        self._wanted = wanted
        self._in_flight = in_flight
        self._bandwidth = bandwidth
        self._rate: float | None = None

    def note(self, size: int, seconds: float) -> None:
        """A volume of `size` bytes needed this long over the line, the destination's own work not counted."""
        rate = size / max(seconds, 1e-3) * max(1, self._in_flight())
        self._rate = rate if self._rate is None else (1 - _WEIGHT) * self._rate + _WEIGHT * rate

    @property
    def deflate(self) -> bool:
        """Whether the next volume should be deflated."""
        if self._wanted is not None:
            return self._wanted
        limit = self._bandwidth()
        if limit is not None and limit < _DEFLATE_BELOW:
            return True
        return self._rate is not None and self._rate < _DEFLATE_BELOW
