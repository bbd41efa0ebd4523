"""What the jobs of this server are doing now, for any number of watchers.

As with the board of transfers there are no queues: a watcher asks for what is newest when it is ready for it, so a
slow one costs nothing and the last state always arrives. Every change has a number that only grows, over restarts
too, because it begins with the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from weakref import WeakSet

from growi_transfer.ledger.jobs import LIVE_JOBS
from growi_transfer.protocol.job_shapes import JobView

_HELD = 200
"""Jobs whose last state is remembered."""
_LIVE = frozenset(state.value for state in LIVE_JOBS)

Change = tuple[int, JobView]


class LiveJobs:
    """The newest state of each job that changed in this process."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._newest: dict[str, Change] = {}  # in the order of their last change
        self._number = 0
        self.changed = asyncio.Event()
        """Set, and another one put in its place, with each change."""
        self.closed = False
        self._watchers: WeakSet[JobWatching] = WeakSet()

    def number(self, moment: datetime | None = None) -> int:
        """The number that a change at this moment (now) would have at least."""
        return int((moment or self._clock()).timestamp() * 1000)

    def put(self, view: JobView) -> None:
        """A job has changed."""
        self._number = max(self._number + 1, self.number())
        self._newest.pop(view.id, None)
        self._newest[view.id] = (self._number, view)
        while len(self._newest) > _HELD:
            self._newest.pop(next(iter(self._newest)))
        self._wake()

    def close(self) -> None:
        """Every watcher gets what is newest and ends."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def newest(self, job_id: str | None = None) -> Iterator[Change]:
        """The last change of each job (or of the one) in this process, newest first."""
        return (change for change in reversed(self._newest.values()) if job_id in (None, change[1].id))

    def watching(self, job_id: str | None = None, after: int = 0) -> JobWatching:
        """One watcher of all jobs (or of the one), from the change with this number on.

        A number that was not given yet is from before the clock was set back: who has it gets what is newest.
        """
        if after > max(self._number, self.number()):
            after = 0
        watching = JobWatching(self, job_id, after)
        self._watchers.add(watching)
        return watching

    def watched(self) -> set[str]:
        """Ids of the single jobs that somebody watches."""
        return {one.job_id for one in self._watchers if one.job_id is not None and not one.is_over}


class JobWatching:
    """What one watcher has seen. It is over when the one job asked for has ended, or with the server."""

    def __init__(self, live: LiveJobs, job_id: str | None, after: int) -> None:
        self._live = live
        self.job_id = job_id
        self._seen = after
        self.is_over = False

    def take(self) -> list[Change]:
        """What changed since the last time, each job once."""
        found = self._fresh()
        self._seen = max([self._seen, *(number for number, _ in found)])
        ended = self.job_id is not None and any(view.state not in _LIVE for _, view in found)
        self.is_over = self.is_over or ended or self._live.closed
        return found[::-1]

    async def changed(self) -> None:
        """Wait until there is something to take."""
        while not self._live.closed:
            changed = self._live.changed
            if self._fresh():
                return
            await changed.wait()

    def _fresh(self) -> list[Change]:
        return [change for change in self._live.newest(self.job_id) if change[0] > self._seen]
