"""Files that the plan did not find, so that nobody asks for each of them again a moment later.

Where files are in another place on the network one look costs as much as storing a small file. What is remembered is
used once and not for long: names of attachments are digests made of random numbers, so that nobody else comes up with
one of them in between.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

MOST = 20_000
"""Several pages of a plan; some 4 MB."""
SECONDS = 300.0


class Absences:
    """Of all transfers of one receiver. Nothing is remembered where `worthwhile` is False."""

    def __init__(self, worthwhile: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._worthwhile = worthwhile
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()

    def remember(self, transfer_id: str, paths: Iterable[str]) -> None:
        """There was no file at these paths."""
        if not self._worthwhile:
            return
        now = self._clock()
        for path in paths:
            self._seen[transfer_id, path] = now
            self._seen.move_to_end((transfer_id, path))
        while len(self._seen) > MOST:
            self._seen.popitem(last=False)

    def take(self, transfer_id: str, path: str) -> bool:
        """Whether the plan of this transfer found no file at this path just now. The next time the answer is no."""
        seen = self._seen.pop((transfer_id, path), None)
        return seen is not None and self._clock() - seen < SECONDS
