"""One transfer in this process: the run, and the handles by which it is steered while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from growi_transfer.ledger.base import TransferRow
from growi_transfer.protocol.wire import SetUp
from growi_transfer.pusher.bandwidth import BandwidthLimiter
from growi_transfer.pusher.gate import Gate
from growi_transfer.pusher.options import PushOptions
from growi_transfer.pusher.push import Push


class PushJob:
    """A `Push` with its gates and its bandwidth limiter."""

    def __init__(self, push: Push, volumes: Gate, attachments: Gate, bandwidth: BandwidthLimiter) -> None:
        self._push = push
        self._volumes = volumes
        self._attachments = attachments
        self._bandwidth = bandwidth

    async def run(self) -> None:
        """Go on as far as possible. Raises TransferError."""
        await self._push.run()

    def tune(self, options: PushOptions) -> None:
        """Take over new numbers of requests in flight and a new bandwidth, now."""
        self._volumes.limit = options.volumes
        self._attachments.limit = options.attachments
        self._bandwidth.set_rate(options.bandwidth)


def options_of(row: TransferRow) -> PushOptions:
    """The options a transfer runs with."""
    stored: Mapping[str, Any] = row.facts.get("options", {})
    known = {name: stored[name] for name in PushOptions.__dataclass_fields__ if name in stored}
    for name in ("exclude_collections", "exclude_paths", "accept_warnings"):
        if name in known:
            known[name] = tuple(known[name])
    return PushOptions(**known)


def setup_of(row: TransferRow) -> SetUp:
    """The set-up as the destination knows it."""
    return SetUp.model_validate_json(
        orjson.dumps({key: row.setup[key] for key in SetUp.model_fields if key in row.setup})
    )
