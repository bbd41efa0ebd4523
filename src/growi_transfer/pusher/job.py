"""One transfer in this process: the run, and the handles by which it is steered while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import orjson

from growi_transfer.ledger.base import TransferRow
from growi_transfer.protocol.errors import DatabaseUnavailable, StorageUnavailable, Unavailable
from growi_transfer.protocol.wire import SetUp
from growi_transfer.pusher.adapt import Tuner
from growi_transfer.pusher.bandwidth import BandwidthLimiter
from growi_transfer.pusher.options import PushOptions
from growi_transfer.pusher.retry import Retry

_RUNS = 8
"""Runs in a row, each ended by the source's database within the time of patience: it is there, and something else is
wrong with it."""


class Run(Protocol):
    async def run(self) -> None:
        """Go on from whatever state things are in. Raises TransferError; may be called again."""


class PushJob:
    """A `Push` with its numbers of requests in flight and its bandwidth limiter.

    `source` is asked for patience when the source's own database (which the ledger lives in too) or storage goes away;
    `look` raises DatabaseUnavailable while it is.
    """

    def __init__(
        self,
        push: Run,
        volumes: Tuner,
        attachments: Tuner,
        bandwidth: BandwidthLimiter,
        *,
        source: Retry,
        look: Callable[[], Awaitable[object]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._push = push
        self._volumes = volumes
        self._attachments = attachments
        self._bandwidth = bandwidth
        self._source = source
        self._look = look
        self._clock = clock

    async def run(self) -> None:
        """Go on as far as possible, through restarts of the source's database. Raises TransferError."""
        failures = 0
        while True:
            began = self._clock()
            try:
                # In a task of its own, so that only an order to stop makes ours look cancelled: before Python 3.13 a
                # TaskGroup that waits for its tasks when one fails leaves the task that it is in like that for good.
                await asyncio.ensure_future(self._push.run())
                return
            except (DatabaseUnavailable, StorageUnavailable) as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise asyncio.CancelledError from None  # the error came between the order to stop and the stop
                failures = failures + 1 if self._clock() - began < self._source.patience else 1
                if failures >= _RUNS:
                    raise
                await self._wait(error)

    async def _wait(self, error: Unavailable) -> None:
        """Until the database answers, as long as patience lasts."""
        known: list[Unavailable] = [error]

        async def look() -> None:
            if known:
                raise known.pop()
            await self._look()

        await self._source(look)

    def tune(self, options: PushOptions) -> None:
        """Take over new numbers of requests in flight and a new bandwidth, now."""
        self._volumes.fix(options.volumes)
        self._attachments.fix(options.attachments)
        self._bandwidth.set_rate(options.bandwidth)


def setup_of(row: TransferRow) -> SetUp:
    """The set-up as the destination knows it."""
    return SetUp.model_validate_json(
        orjson.dumps({key: row.setup[key] for key in SetUp.model_fields if key in row.setup})
    )
