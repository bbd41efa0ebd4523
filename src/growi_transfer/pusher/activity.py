"""What a running transfer is at, measured twice a second: requests in flight, places, what waits, what was retried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from growi_transfer.ledger.base import Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.protocol.machine import RUNNING
from growi_transfer.protocol.progress import SENDING_SHOWN, Activity, ActivityMeasured, Lane, Noted
from growi_transfer.pusher.gate import Gate
from growi_transfer.pusher.in_flight import InFlight

_SECONDS = 0.5
_RETRIES_SECONDS = 5.0
"""The shortest time between two lines of the log about retries: an outage gives one line, not hundreds."""


async def measure(
    board: ProgressBoard,
    transfer_id: str,
    volumes: Gate,
    attachments: Gate,
    retries: Mapping[str, int],
    in_flight: InFlight,
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Report the activity of one transfer while it runs; ends when it is cancelled. `retries` counts by error code."""
    told: Counter[str] = Counter()
    quiet = 0.0
    while True:
        snapshot = board.snapshot(Role.PUSHER, transfer_id)
        activity = Activity(_lane(volumes), _lane(attachments), dict(retries), in_flight.items()[:SENDING_SHOWN])
        if snapshot is not None and snapshot.position.state in RUNNING and snapshot.activity != activity:
            board.apply(Role.PUSHER, transfer_id, ActivityMeasured(activity))
        fresh = Counter(retries) - told
        if fresh and quiet <= 0:
            text = ", ".join(f"{count} x {code}" for code, count in sorted(fresh.items()))
            board.apply(Role.PUSHER, transfer_id, Noted("retried", f"Tried again: {text}.", dict(fresh), "warning"))
            told, quiet = Counter(retries), _RETRIES_SECONDS
        await sleep(_SECONDS)
        quiet -= _SECONDS


def _lane(gate: Gate) -> Lane:
    return Lane(gate.in_flight, gate.limit, gate.waiting)
