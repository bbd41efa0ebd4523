"""Opens everything that a process needs, and closes it in order."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from growi_transfer.jobs.instance import InstanceSummary
from growi_transfer.jobs.orders import PUSHER_ORDERS, RECEIVER_ORDERS, Orders
from growi_transfer.jobs.recheck import Recheck
from growi_transfer.jobs.retention import purge_hourly
from growi_transfer.jobs.service import Jobs
from growi_transfer.jobs.stored_files import StoredFiles
from growi_transfer.ledger.base import Ledger, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.process import is_gone, process_name
from growi_transfer.ledger.tally import Tally
from growi_transfer.mongo.client import Database
from growi_transfer.pusher.pusher import Pusher
from growi_transfer.receiver.growi.side import GrowiSide
from growi_transfer.receiver.keys import Keys
from growi_transfer.receiver.receiver import Receiver
from growi_transfer.settings import Settings
from growi_transfer.storage.base import Storage
from growi_transfer.wiring.jobs import jobs_of
from growi_transfer.wiring.parts import Parts, audience, instance_summary, now
from growi_transfer.wiring.pushing import pusher_of
from growi_transfer.wiring.receiving import growi_side, receiver_of


@dataclass(frozen=True)
class Services:
    """What runs in one process. A role that was not asked for is None."""

    database: Database
    storage: Storage
    ledger: Ledger
    board: ProgressBoard
    tally: Tally
    keys: Keys
    orders: Orders
    recheck: Recheck
    instance: InstanceSummary
    stored_files: StoredFiles
    data_dir: Path
    receiver: Receiver | None
    growi: GrowiSide | None
    pusher: Pusher | None
    jobs: Jobs | None = None
    """Only in the server."""


@asynccontextmanager
async def open_services(
    settings: Settings, *, role: str, loopback_allowed: bool = False, serving: bool = False
) -> AsyncIterator[Services]:
    """Open everything a role needs (`receiver`, `pusher` or `both`), and close it in order.

    Without MONGO_URI a private mongod is started. `serving`: this is the long-running server, so interrupted transfers
    go on. `loopback_allowed` lets keys point to this machine (the demo). Raises SettingInvalid, MongodUnavailable,
    FolderInUse, DatabaseUnavailable, OperatorFault.
    """
    async with AsyncExitStack() as stack:
        parts = await Parts.open(stack, settings)
        keys = Keys(parts.ledger, parts.signing_secrets, audience(settings), now)
        receiver = await receiver_of(parts, keys) if role in ("both", "receiver") else None
        orders = _orders(parts, serving)
        pusher, runner = pusher_of(parts, orders, loopback_allowed) if role in ("both", "pusher") else (None, None)
        if receiver is not None:
            await stack.enter_async_context(receiver.running(finish_commits=serving))
        if runner is not None:
            await stack.enter_async_context(runner.running())
        if serving:
            following = asyncio.ensure_future(parts.board.follow_others(asyncio.sleep))
            stack.callback(following.cancel)
        if receiver is not None:
            orders.serve(Role.RECEIVER, receiver, RECEIVER_ORDERS)
        if pusher is not None and runner is not None:
            orders.serve(Role.PUSHER, pusher, PUSHER_ORDERS, has=runner.has)
        await stack.enter_async_context(orders.carried_out())
        if serving:
            roles = [role for role in (receiver, pusher) if role is not None]
            purging = asyncio.ensure_future(purge_hourly(roles, timedelta(days=settings.retention_days)))
            stack.callback(purging.cancel)
        if pusher is not None and serving:
            # In the background: a lease of another machine may have to run out first.
            going_on = asyncio.ensure_future(pusher.go_on_with_all())
            stack.callback(going_on.cancel)
        jobs = await jobs_of(stack, parts, receiver, pusher) if serving else None
        yield Services(
            database=parts.database,
            storage=parts.storage,
            ledger=parts.ledger,
            board=parts.board,
            tally=parts.tally,
            keys=keys,
            orders=orders,
            recheck=Recheck(database=parts.database, storage=parts.storage, ledger=parts.ledger, signer=parts.signer),
            instance=instance_summary(parts),
            stored_files=StoredFiles(database=parts.database, storage=parts.storage, ledger=parts.ledger, clock=now),
            data_dir=settings.data_dir,
            receiver=receiver,
            growi=growi_side(parts, receiver) if receiver is not None else None,
            pusher=pusher,
            jobs=jobs,
        )


def _orders(parts: Parts, serving: bool) -> Orders:
    kind = "the server" if serving else "the command line"
    return Orders(
        ledger=parts.ledger,
        owner=process_name(),
        actor=f"{kind} (process {os.getpid()} on {socket.gethostname()})",
        clock=now,
        sleep=asyncio.sleep,
        is_gone=is_gone,
        new_id=lambda: secrets.token_hex(16),
        serving=serving,
    )
