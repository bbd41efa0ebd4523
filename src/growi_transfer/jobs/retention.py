"""What is kept goes when its retention is over: a server looks once an hour."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

import structlog

from growi_transfer.protocol.errors import TransferError, code_of

_SECONDS = 3600.0
_log = structlog.get_logger(__name__)


class Keeper(Protocol):
    async def purge_expired(self, retention: timedelta) -> list[str]:
        """Purge every finished transfer whose retention is over; their ids."""


async def purge_hourly(keepers: Sequence[Keeper], retention: timedelta) -> None:
    """At once, and then every hour; ends when it is cancelled."""
    while True:
        for keeper in keepers:
            try:
                await keeper.purge_expired(retention)
            except TransferError as error:
                _log.warning("purge_failed", code=code_of(error), message=error.message)
        await asyncio.sleep(_SECONDS)
