"""What makes the generated wiki the same for the same seed: ids and moments."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from bson import ObjectId


def seeded(text: str) -> Random:
    """A generator that gives the same for the same text."""
    return Random(text)  # noqa: S311 - it makes a demo, no secrets


class Ids:
    """ObjectIds as a driver makes them (seconds, five random bytes, a counter), but from a seed."""

    def __init__(self, seed: str) -> None:
        rng = seeded(f"ids {seed}")
        self._process = rng.randbytes(5)
        self._counter = rng.getrandbits(23)

    def at(self, moment: datetime) -> ObjectId:
        """The next id, made at this moment (aware UTC)."""
        self._counter = (self._counter + 1) & 0xFFFFFF
        return ObjectId(int(moment.timestamp()).to_bytes(4, "big") + self._process + self._counter.to_bytes(3, "big"))


class History:
    """Moments between the founding of the wiki and now, in whole milliseconds as MongoDB keeps them."""

    def __init__(self, now: datetime, days: int) -> None:
        self.now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        self.founded = self.now - timedelta(days=days)
        self._milliseconds = days * 86_400_000

    def moment(self, share: float) -> datetime:
        """0 is the founding, 1 is now."""
        return self.founded + timedelta(milliseconds=int(self._milliseconds * share))
