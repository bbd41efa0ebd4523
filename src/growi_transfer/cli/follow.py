"""Following a transfer of this wiki to its end, wherever it runs: here, in the server, or in another command."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from growi_transfer.cli.output import Output
from growi_transfer.cli.render import Reporter, reporter
from growi_transfer.cli.result import failure_of, last_line, summary
from growi_transfer.cli.session import Interrupted, Services
from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.ledger.board import snapshot_of
from growi_transfer.ledger.process import peak_rss_mib
from growi_transfer.protocol.errors import TransferError, code_of
from growi_transfer.protocol.machine import FINISHED, State
from growi_transfer.protocol.progress import Snapshot

LOOK_SECONDS = 0.5
"""Between two looks at a transfer that another process runs; the ledger is not written more often."""
ENDS = (*FINISHED, State.FAILED, State.PAUSED)


class Following:
    """One outgoing transfer, shown until it is at rest. `commit`: whether that is at `completed`, or at `ready`."""

    def __init__(self, services: Services, output: Output, *, commit: bool) -> None:
        self._services = services
        self._output = output
        self._commit = commit
        self._began = time.monotonic()
        self._shown: Reporter | None = None
        self._last: Snapshot | None = None

    async def to_the_end(self, transfer_id: str) -> None:
        """Show it, and tell how it ended. Raises that as an error, unless it is done."""
        try:
            await self._follow(transfer_id)
        except asyncio.CancelledError:
            await self._report(transfer_id, stopped=True)
            raise
        await self._report(transfer_id)

    async def _follow(self, transfer_id: str) -> None:
        assert self._services.pusher is not None
        runner = self._services.pusher.runner
        self._shown = reporter(self._output)
        was_here = left_alone = False
        try:
            while True:
                if runner.has(transfer_id):
                    was_here = True
                    await self._here(transfer_id)
                # An order may be what ended it, and then has more to do.
                await self._services.orders.settled()
                if runner.has(transfer_id):
                    continue
                row = await self._services.ledger.get_transfer(Role.PUSHER, transfer_id)
                if row is None:
                    return
                if not was_here or self._last is None or self._last.position != row.position:
                    # What the board of this process has seen last is newer than what the ledger has of it.
                    self._show(snapshot_of(row, moving=True))
                if row.position.state in ENDS or left_alone:
                    return
                # Asked twice: between two looks one process may have handed it to another.
                left_alone = not await self._services.orders.is_owned(Role.PUSHER, transfer_id)
                if not left_alone:
                    await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._shown.close()

    async def _here(self, transfer_id: str) -> None:
        """While it runs in this process, whose board knows every step."""
        assert self._services.pusher is not None

        async def show() -> None:
            async for snapshot in self._services.board.watch(Role.PUSHER, transfer_id):
                self._show(snapshot)

        showing = asyncio.create_task(show())
        try:
            await self._services.pusher.runner.wait(transfer_id)
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            final = self._services.board.snapshot(Role.PUSHER, transfer_id)
            if final is not None:
                self._show(final)

    def _show(self, snapshot: Snapshot) -> None:
        if snapshot != self._last:
            self._last = snapshot
            assert self._shown is not None
            self._shown.show(snapshot)

    async def _report(self, transfer_id: str, *, stopped: bool = False) -> None:
        row = await self._services.ledger.get_transfer(Role.PUSHER, transfer_id)
        facts: Mapping[str, Any] = row.facts if row else {}
        problem = None if stopped else self._problem(row)
        line = last_line(
            transfer_id,
            self._last,
            facts,
            ok=problem is None and not stopped,
            seconds=time.monotonic() - self._began,
            pusher_peak_rss_mib=peak_rss_mib(),
        )
        if self._output.json:
            if stopped or problem is not None:
                line["error"] = error_shape(problem)
            self._output.last(line)
        elif problem is None and not stopped:
            for text in summary(line, committed=self._commit):
                self._output.result(text)
        elif stopped and await self._services.orders.is_elsewhere(Role.PUSHER, transfer_id):
            self._output.note("The transfer goes on in the process that runs it.")
        if problem is not None:
            raise problem

    def _problem(self, row: TransferRow | None) -> Exception | None:
        state = self._last.position.state if self._last else None
        if state is (State.COMPLETED if self._commit else State.READY):
            return None
        if state is State.PAUSED:
            return Interrupted("The transfer is paused. The same command goes on where it stopped.")
        return failure_of(state, row.facts if row else {})


def error_shape(problem: Exception | None) -> dict[str, str]:
    if isinstance(problem, TransferError):
        return {"code": code_of(problem), "message": problem.message}
    return {"code": "interrupted", "message": str(problem or "Stopped before the end.")}
