"""Background work of transfers: a verification or a commit goes on even if nobody waits for the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

VERIFICATION, COMMIT = "verification", "commit"


class Work:
    """At most one piece of work for each transfer."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, transfer_id: str) -> bool:
        return transfer_id in self._tasks

    def begin(self, transfer_id: str, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Begin what `name` says; look first whether something is under way."""
        task = asyncio.create_task(work, name=name)
        self._tasks[transfer_id] = task

        def ended(done: asyncio.Task[None]) -> None:
            if self._tasks.get(transfer_id) is done:
                del self._tasks[transfer_id]

        task.add_done_callback(ended)
        return task

    def of(self, transfer_id: str) -> asyncio.Task[None] | None:
        """What is under way, if anything is."""
        return self._tasks.get(transfer_id)

    async def wait(self, transfer_id: str, *, seconds: float | None = None) -> None:
        """Wait for the end of what is under way, at most so long. Its errors are not raised here."""
        task = self._tasks.get(transfer_id)
        if task is not None:
            await asyncio.wait({task}, timeout=seconds)

    async def end(self, transfer_id: str) -> None:
        """Stop what is under way."""
        task = self._tasks.get(transfer_id)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def end_all(self) -> None:
        """Stop everything."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
