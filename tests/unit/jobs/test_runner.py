"""A transfer whose own database comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from growi_transfer.jobs.runner import Runner
from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.protocol.errors import DatabaseUnavailable
from growi_transfer.protocol.machine import Event, Position, State

ID = "0" * 32
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Flapping(MemoryLedger):
    """Answers again, but not the first time that somebody wants the transfer back."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = 0

    async def acquire_lease(
        self, role: Role, transfer_id: str, owner: str, now: datetime, until: datetime
    ) -> int | None:
        self.wanted += 1
        if self.wanted == 2:
            raise DatabaseUnavailable()
        return await super().acquire_lease(role, transfer_id, owner, now, until)


class Steps:
    async def step(self, transfer_id: str, *events: Event) -> object: ...

    async def state(self, transfer_id: str) -> State:
        return State.COPYING

    async def note(self, transfer_id: str, facts: dict[str, object]) -> None: ...


class Job:
    def __init__(self) -> None:
        self.runs = 0

    async def run(self) -> None:
        self.runs += 1
        if self.runs == 1:
            raise DatabaseUnavailable()


async def test_a_database_that_goes_again_when_it_has_just_come_back_ends_nothing() -> None:
    ledger, job, clock = Flapping(), Job(), [NOW]
    await ledger.create_transfer(TransferRow(Role.PUSHER, ID, Position(State.COPYING), {}, NOW, NOW))

    async def sleep(seconds: float) -> None:
        clock[0] += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    @asynccontextmanager
    async def open_job(transfer_id: str, epoch: int) -> AsyncIterator[Job]:
        yield job

    runner = Runner(
        ledger=ledger,
        steps=Steps(),
        owner="here",
        clock=lambda: clock[0],
        sleep=sleep,
        is_gone=lambda owner: False,
        open_job=open_job,
    )
    await runner.start(ID)
    await runner.wait(ID)
    assert job.runs == 2
    assert await ledger.lease_owner(Role.PUSHER, ID) is None
