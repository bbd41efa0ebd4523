"""Counts what transfers do in this process, for whoever measures it. Nothing here names a transfer, so there are never
more numbers than kinds of things."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.errors import all_errors
from growi_transfer.protocol.machine import FINISHED, State
from growi_transfer.protocol.progress import (
    ActivityMeasured,
    DocumentsStored,
    FileBytesStored,
    FilesStored,
    ItemFailed,
    Moved,
    ProgressEvent,
)

OTHER = "other"
"""Stands for every code that is not ours: a peer may send any."""
_CODES = frozenset(kind.code for kind in all_errors())
_AT_REST = frozenset({*FINISHED, State.PAUSED, State.FAILED, State.READY})


@dataclass(slots=True)
class _Transfer:
    """What is known of one that goes on."""

    state: State | None = None
    since: float = 0.0
    retries: dict[str, int] | None = None


class Tally:
    """Numbers that only grow, since the process began. What is sent or stored again is counted again."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._transfers: dict[tuple[Role, str], _Transfer] = {}
        self.documents: Counter[Role] = Counter()
        self.files: Counter[Role] = Counter()
        self.bytes: Counter[Role] = Counter()
        """Of raw BSON and of files."""
        self.wire: Counter[Role] = Counter()
        """What went over the line."""
        self.failures: Counter[tuple[Role, str, str]] = Counter()
        """By role, kind of the item, and code."""
        self.retries: Counter[str] = Counter()
        """By code."""
        self._seconds: defaultdict[tuple[Role, State], float] = defaultdict(float)

    def observe(self, role: Role, transfer_id: str, event: ProgressEvent) -> None:
        """Take one event of a transfer into account. Never waits and never fails."""
        match event:
            case DocumentsStored():
                self._stored(role, event.bytes, event.wire)
                self.documents[role] += max(0, event.documents)
            case FilesStored():
                self._stored(role, event.bytes, event.wire)
                self.files[role] += max(0, event.files)
            case FileBytesStored():
                self._stored(role, event.bytes, event.wire)
            case ItemFailed():
                self.failures[role, event.failure.kind, _known(event.failure.code)] += 1
            case ActivityMeasured():
                self._retried(self._transfers.setdefault((role, transfer_id), _Transfer()), event.activity.retries)
            case Moved():
                self._moved(role, transfer_id, event.position.state)
            case _:
                pass

    def _stored(self, role: Role, size: int, wire: int) -> None:
        self.bytes[role] += max(0, size)
        self.wire[role] += max(0, wire)

    def _retried(self, transfer: _Transfer, retries: Mapping[str, int]) -> None:
        now = dict(retries)
        before = transfer.retries or {}
        for code, number in now.items():
            # A smaller number is that of a new run, which counts from nothing.
            known = before.get(code, 0)
            self.retries[_known(code)] += number - known if number >= known else number
        transfer.retries = now

    def _moved(self, role: Role, transfer_id: str, state: State) -> None:
        now = self._monotonic()
        transfer = self._transfers.setdefault((role, transfer_id), _Transfer())
        if transfer.state is not None and transfer.state not in _AT_REST:
            self._seconds[role, transfer.state] += now - transfer.since
        transfer.state, transfer.since = state, now
        if state in _AT_REST:
            self._transfers.pop((role, transfer_id))

    def seconds(self) -> dict[tuple[Role, State], float]:
        """Seconds that transfers have spent in each state in which something is done, those under way included."""
        now = self._monotonic()
        spent: dict[tuple[Role, State], float] = dict(self._seconds)
        for (role, _), transfer in self._transfers.items():
            if transfer.state is not None:
                key = (role, transfer.state)
                spent[key] = spent.get(key, 0.0) + now - transfer.since
        return spent


def _known(code: str) -> str:
    return code if code in _CODES else OTHER
