"""Runs transfers in the background: one owner at a time, started again when a server starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

import structlog

from growi_transfer.ledger.base import Ledger, Role
from growi_transfer.protocol.errors import (
    DatabaseUnavailable,
    StorageUnavailable,
    Superseded,
    TransferError,
    TransferOwned,
    code_of,
    is_retryable,
)
from growi_transfer.protocol.machine import BEFORE_COMMIT, FINISHED, Event, State

_log = structlog.get_logger(__name__)
LEASE = timedelta(seconds=30)
"""How long a process that has gone silent on another machine keeps a transfer from others."""
_RENEW = 8.0
_ASK_AGAIN = 1.0
_OUTAGE = timedelta(minutes=10)
"""How long a transfer waits for its own database: a machine that is started again is back by then."""
_OUTAGE_PAUSE = 0.1
_OUTAGES = 20
"""Times that a transfer goes on by itself after such an outage; one that fails each time has another fault."""


class Job(Protocol):
    async def run(self) -> None:
        """Go on as far as possible. Raises TransferError. May be cancelled at any moment."""


J = TypeVar("J", bound=Job)


class Steps(Protocol):
    async def step(self, transfer_id: str, *events: Event) -> object: ...

    async def state(self, transfer_id: str) -> State: ...

    async def note(self, transfer_id: str, facts: dict[str, object]) -> None: ...


class Runner(Generic[J]):
    """The running jobs of one process.

    `open_job` makes the job of a transfer under an epoch; `owner` names this process, and `is_gone` tells whether the
    process of such a name is known to have ended; `sleep` waits some seconds.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        steps: Steps,
        owner: str,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]],
        is_gone: Callable[[str], bool],
        open_job: Callable[[str, int], AbstractAsyncContextManager[J]],
    ) -> None:
        self._ledger = ledger
        self._steps = steps
        self._owner = owner
        self._clock = clock
        self._sleep = sleep
        self._is_gone = is_gone
        self._open_job = open_job
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._jobs: dict[str, J] = {}
        self._again: set[str] = set()
        """Transfers that were to be started while they ran: their job may have looked at the state already."""
        self._starting: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Owns the background tasks; on the way out they are cancelled and the transfers stay as they are."""
        try:
            yield
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def job(self, transfer_id: str) -> J | None:
        """The job that runs here, if it does."""
        return self._jobs.get(transfer_id)

    def has(self, transfer_id: str) -> bool:
        """Whether the transfer is at work here, or about to be."""
        task = self._tasks.get(transfer_id)
        return task is not None and not task.done()

    async def start(self, transfer_id: str, *, patience: timedelta = timedelta()) -> None:
        """Run a transfer in the background; one that runs here already just goes on.

        Raises TransferOwned when another process still has it after `patience`.
        """
        async with self._starting.setdefault(transfer_id, asyncio.Lock()):
            running = self._tasks.get(transfer_id)
            if running is not None and not running.done():
                self._again.add(transfer_id)
                return
            self._again.discard(transfer_id)
            deadline = self._clock() + patience
            while (epoch := await self._acquire(transfer_id)) is None:
                if self._clock() >= deadline:
                    raise TransferOwned()
                await self._sleep(_ASK_AGAIN)
            task = asyncio.ensure_future(self._run_on(transfer_id, epoch))
            self._tasks[transfer_id] = task
            task.add_done_callback(lambda done: self._ended(transfer_id, done))

    async def _run_on(self, transfer_id: str, epoch: int | None) -> None:
        """Run, and once more if that was asked for while the job was at its end, or if our own database or storage was
        away and is back."""
        outages = 0
        while epoch is not None:
            outage = await self._run(transfer_id, epoch, give_up=outages == _OUTAGES)
            outages += outage
            if not outage and transfer_id not in self._again:
                return
            self._again.discard(transfer_id)
            epoch = await self._reacquire(transfer_id)

    async def _reacquire(self, transfer_id: str) -> int | None:
        """Take the transfer once more, as soon as our own database answers: nothing can be noted meanwhile. None when
        it does not answer for long, when another process has the transfer, or when there is nothing to run."""
        deadline = self._clock() + _OUTAGE
        pause = _OUTAGE_PAUSE
        while self._clock() < deadline:
            await self._sleep(pause)
            pause = min(pause * 2, _ASK_AGAIN)
            with suppress(TransferError):
                if await self._steps.state(transfer_id) in (*FINISHED, State.PAUSED, State.FAILED):
                    return None
                return await self._acquire(transfer_id)
        _log.error("transfer_left_without_database", transfer=transfer_id)
        return None

    async def _acquire(self, transfer_id: str) -> int | None:
        now = self._clock()
        epoch = await self._ledger.acquire_lease(Role.PUSHER, transfer_id, self._owner, now, now + LEASE)
        if epoch is not None:
            return epoch
        owner = await self._ledger.lease_owner(Role.PUSHER, transfer_id)
        if owner is None or not self._is_gone(owner):
            return None
        # Killed on this machine: nobody has to wait for its lease to run out.
        await self._ledger.release_lease(Role.PUSHER, transfer_id, owner)
        return await self._ledger.acquire_lease(Role.PUSHER, transfer_id, self._owner, now, now + LEASE)

    def _ended(self, transfer_id: str, done: asyncio.Task[None]) -> None:
        if self._tasks.get(transfer_id) is done:
            del self._tasks[transfer_id]
        if not done.cancelled() and done.exception() is not None:
            _log.error("transfer_crashed", transfer=transfer_id, exc_info=done.exception())

    async def stop(self, transfer_id: str) -> None:
        """End the job here, if there is one, and wait until it has ended. The state stays as it is."""
        task = self._tasks.get(transfer_id)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def wait(self, transfer_id: str) -> None:
        """Wait until the job has ended here."""
        task = self._tasks.get(transfer_id)
        if task is not None:
            await asyncio.wait({task})

    async def _run(self, transfer_id: str, epoch: int, *, give_up: bool) -> bool:
        """Run the job once; whether it ended because our own database or storage is away (and nothing was noted)."""
        renewal: asyncio.Task[None] | None = None
        try:
            async with self._open_job(transfer_id, epoch) as job:
                self._jobs[transfer_id] = job
                work = asyncio.ensure_future(job.run())
                renewal = asyncio.ensure_future(self._keep_lease(transfer_id, work))
                try:
                    await work
                except asyncio.CancelledError:
                    if not work.done():
                        work.cancel()
                        await asyncio.gather(work, return_exceptions=True)
                        raise
                    # The lease was lost: whoever has it now decides what becomes of the transfer.
                    if renewal.done() and not renewal.cancelled() and renewal.exception() is None:
                        raise Superseded() from None
                    raise
        except TransferError as error:
            if isinstance(error, DatabaseUnavailable | StorageUnavailable) and not give_up:
                _log.warning("transfer_waits", transfer=transfer_id, code=code_of(error), message=error.message)
                return True
            await self._failed(transfer_id, error)
        except Exception as error:  # noqa: BLE001 (a fault of ours must not leave the transfer looking alive)
            _log.exception("transfer_failed_unexpectedly", transfer=transfer_id)
            await self._failed(transfer_id, TransferError(f"Unexpected: {type(error).__name__}"))
        finally:
            self._jobs.pop(transfer_id, None)
            if renewal is not None:
                renewal.cancel()
                with suppress(asyncio.CancelledError):
                    await renewal
            with suppress(TransferError):
                await self._ledger.release_lease(Role.PUSHER, transfer_id, self._owner)
        return False

    async def _failed(self, transfer_id: str, error: TransferError) -> None:
        _log.warning("transfer_failed", transfer=transfer_id, code=code_of(error), message=error.message)
        if code_of(error) == Superseded.code:
            return
        with suppress(TransferError):
            noted = {"code": code_of(error), "message": error.message, "retryable": is_retryable(error)}
            await self._steps.note(transfer_id, {"error": noted})
            if await self._steps.state(transfer_id) in BEFORE_COMMIT:
                await self._steps.step(transfer_id, Event.FAILED)

    async def _keep_lease(self, transfer_id: str, work: asyncio.Future[None]) -> None:
        while True:
            await self._sleep(_RENEW)
            try:
                mine = await self._ledger.renew_lease(Role.PUSHER, transfer_id, self._owner, self._clock() + LEASE)
            except TransferError:
                continue  # the database is away; the lease lasts longer than one renewal
            if not mine:
                work.cancel()
                return
