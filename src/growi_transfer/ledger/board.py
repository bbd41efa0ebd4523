"""What every transfer is doing now: events in, the present snapshot out, to any number of watchers, and to the ledger.

The board is the only holder of snapshots. Reporting an event is a plain function call that never waits. A watcher
asks for the next snapshot when it is ready for it, so there are no queues: what changed meanwhile is one change, the
last state always arrives, and a slow watcher costs nothing. Use it from one event loop only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from growi_transfer.ledger.base import Ledger, Role, TransferRow
from growi_transfer.ledger.log import TransferLog
from growi_transfer.ledger.tally import Tally
from growi_transfer.protocol.errors import TransferError
from growi_transfer.protocol.machine import FINISHED, RUNNING
from growi_transfer.protocol.progress import Moved, Noted, ProgressEvent, Snapshot, apply, resting
from growi_transfer.protocol.rates import RateMeter
from growi_transfer.protocol.shape import from_json, to_json

SAVE_SECONDS = 1.0
"""How old the ledger's copy of a changing snapshot may be."""
WATCH_SECONDS = 0.1
"""The least time between two rounds of a watcher, where it does not say."""
FOLLOWED = 20
"""Transfers, newest first, that a server looks at for the work of other processes."""
_SILENT_SECONDS = 10.0
LOADED = 1000
"""Transfers, newest first, that `load` reads."""

Key = tuple[Role, str]
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Entry:
    snapshot: Snapshot
    version: int
    saved: int
    kept: object = None
    """The progress as the ledger has it, by our last look: another one was saved by another process."""
    followed: float | None = None
    """When another process was last seen to save it."""
    meter: RateMeter = field(default_factory=RateMeter)


class ProgressBoard:
    """All snapshots of an instance. `clock` stamps what is saved; `monotonic` (seconds) times the rates; `log` and
    `tally` are told every event."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        log: TransferLog | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._monotonic = monotonic
        self._log = log
        self._tally = tally
        self._entries: dict[Key, _Entry] = {}  # in the order of their last change
        self._version = 0
        self._changed = asyncio.Event()
        self._watching = False
        self._wake = asyncio.Event()
        self._asleep = False
        self._saving = asyncio.Lock()
        self._closed = False

    # events in

    def start(self, row: TransferRow) -> Snapshot:
        """Hold a transfer: as the ledger has it, or, if it is held already, at the row's position."""
        held = self._entries.get((row.role, row.id))
        if held is None:
            self._hold((row.role, row.id), snapshot_of(row))
        elif held.snapshot.position != row.position:
            self.apply(row.role, row.id, Moved(row.position))
        return self._entries[row.role, row.id].snapshot

    def apply(self, role: Role, transfer_id: str, event: ProgressEvent) -> None:
        """Report what happened. Never waits and never fails; a transfer that is not held is held from now on."""
        if self._log is not None:
            self._log.observe(role, transfer_id, event)
        if self._tally is not None:
            self._tally.observe(role, transfer_id, event)
        if isinstance(event, Noted):
            if self._asleep:
                self._wake.set()
            return
        entry = self._entries.get((role, transfer_id))
        if entry is None:
            entry = self._hold((role, transfer_id), Snapshot(transfer_id, role.value))
        self._change((role, transfer_id), entry, event)
        now = self._monotonic()
        if entry.snapshot.position.state in RUNNING:
            entry.meter.note(now, event)
            self._measure((role, transfer_id), entry, now)
        else:
            entry.meter.reset()
        if isinstance(event, Moved) or self._asleep:
            self._wake.set()

    def _hold(self, key: Key, snapshot: Snapshot) -> _Entry:
        entry = self._entries[key] = _Entry(snapshot, version=0, saved=0)
        self._touch(key, entry)
        self._wake.set()
        return entry

    def _change(self, key: Key, entry: _Entry, event: ProgressEvent) -> None:
        entry.snapshot = apply(entry.snapshot, event)
        self._touch(key, entry)

    def _touch(self, key: Key, entry: _Entry) -> None:
        self._version += 1
        entry.version = self._version
        self._entries[key] = self._entries.pop(key)
        if self._watching:
            self._wake_watchers()

    def _wake_watchers(self) -> None:
        self._watching = False
        self._changed.set()
        self._changed = asyncio.Event()

    def _measure(self, key: Key, entry: _Entry, now: float) -> None:
        rate = entry.meter.measure(now)
        if rate is not None:
            self._change(key, entry, rate)

    # snapshots out

    def snapshot(self, role: Role, transfer_id: str) -> Snapshot | None:
        """The present state, or None for a transfer that is not held."""
        entry = self._entries.get((role, transfer_id))
        return entry.snapshot if entry else None

    def shown(self, row: TransferRow) -> Snapshot:
        """A transfer at the state of its row. The board does not hear of a step that another process took, or of one
        whose answer was lost: whoever tells a state to others asks the ledger and tells that."""
        held = self.snapshot(row.role, row.id)
        # At another position: what is held here is what was read when this process began.
        return held if held is not None and held.position == row.position else snapshot_of(row)

    def snapshots(self) -> list[Snapshot]:
        """All that are held, those changed last first."""
        return [entry.snapshot for entry in reversed(self._entries.values())]

    async def watch(
        self, role: Role | None = None, transfer_id: str | None = None, *, pace: float = WATCH_SECONDS
    ) -> AsyncIterator[Snapshot]:
        """The present state of each transfer asked for, then each change, a transfer's at most one in `pace` seconds.

        Ends when the one transfer asked for by id has reached a finished state, or when the board closes.
        """
        seen = 0
        while True:
            closed = self._closed
            fresh = self._since(seen, role, transfer_id)
            seen = self._version
            for snapshot in fresh:
                yield snapshot
            if closed or self._is_over(role, transfer_id):
                # What changed while the last one was handed over is still to come.
                if seen == self._version:
                    return
                continue
            if fresh:
                await asyncio.sleep(pace)  # changes gather
            if seen == self._version and not self._closed:
                self._watching = True
                await self._changed.wait()

    def _since(self, version: int, role: Role | None, transfer_id: str | None) -> list[Snapshot]:
        found: list[Snapshot] = []
        for key, entry in reversed(self._entries.items()):
            if entry.version <= version:
                break
            if role in (None, key[0]) and transfer_id in (None, key[1]):
                found.append(entry.snapshot)
        return found[::-1]

    def _is_over(self, role: Role | None, transfer_id: str | None) -> bool:
        if transfer_id is None:
            return False
        held = [self._entries.get((one, transfer_id)) for one in ([role] if role else Role)]
        states = [entry.snapshot.position.state for entry in held if entry]
        return bool(states) and all(state in FINISHED for state in states)

    # the ledger

    async def load(self) -> None:
        """Hold what the ledger knows. What is held already is newer and stays."""
        for row in reversed(await self._ledger.list_transfers(limit=LOADED)):
            if (row.role, row.id) not in self._entries:
                entry = self._hold((row.role, row.id), snapshot_of(row))
                entry.saved, entry.kept = entry.version, row.facts.get("progress")

    async def follow_others(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """For a server: take over what other processes of this wiki save, about once a second; ends when cancelled."""
        while True:
            await sleep(SAVE_SECONDS)
            try:
                async with self._saving:
                    for row in await self._ledger.list_transfers(limit=FOLLOWED):
                        self._take_over(row)
            except TransferError as error:
                _log.warning("progress_not_read", code=error.code, message=error.message)

    def _take_over(self, row: TransferRow) -> None:
        held = self._entries.get((row.role, row.id))
        progress = row.facts.get("progress")
        now = self._monotonic()
        if held is not None and (held.saved < held.version or held.kept == progress):
            # One that is silent for long was killed: nothing of it moves any more.
            silent = held.followed is not None and now - held.followed > _SILENT_SECONDS
            if not silent or held.saved < held.version:
                return
        else:
            silent = False
        fresh = snapshot_of(row, moving=not silent)
        if held is None or held.snapshot != fresh:
            held = self._hold((row.role, row.id), fresh)
        held.saved, held.kept, held.followed = held.version, progress, None if silent else now

    async def flush(self) -> None:
        """Save what has changed, now. Raises what the ledger raises; what could not be saved is saved next time."""
        async with self._saving:
            if self._log is not None:
                await self._log.flush()
            for (role, transfer_id), entry in list(self._entries.items()):
                if entry.saved < entry.version:
                    version, progress = entry.version, to_json(entry.snapshot)
                    await self._ledger.set_facts(role, transfer_id, {"progress": progress}, self._clock())
                    entry.saved, entry.kept = version, progress

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While inside, changes are saved about once a second, changes of state at once, and rates fall when nothing
        moves. On leaving everything is saved and every watcher gets the last state and ends."""
        self._closed = False
        keeper = asyncio.create_task(self._keep(), name="progress board")
        try:
            yield
        finally:
            self._closed = True
            self._wake_watchers()
            keeper.cancel()
            await asyncio.wait([keeper])
            await self._try_flush()
            if not keeper.cancelled():
                keeper.result()

    async def _keep(self) -> None:
        while True:
            self._wake.clear()
            moving = self._measure_all()
            busy = self._unsaved() or moving
            await self._try_flush()
            # With nothing to save or to measure the next event wakes us up; else we look again after a while.
            self._asleep = not busy and not self._unsaved()
            try:
                async with asyncio.timeout(None if self._asleep else SAVE_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._asleep = False

    def _unsaved(self) -> bool:
        waiting = self._log is not None and self._log.is_waiting
        return waiting or any(entry.saved < entry.version for entry in self._entries.values())

    def _measure_all(self) -> bool:
        now = self._monotonic()
        moving = False
        for key, entry in list(self._entries.items()):
            if entry.snapshot.position.state in RUNNING:
                self._measure(key, entry, now)
                snapshot = entry.snapshot
                moving |= any((snapshot.bytes_per_second, snapshot.files_per_second, snapshot.documents_per_second))
        return moving

    async def _try_flush(self) -> None:
        try:
            await self.flush()
        except TransferError as error:
            _log.warning("progress_not_saved", code=error.code, message=error.message)


def snapshot_of(row: TransferRow, *, moving: bool = False) -> Snapshot:
    """What the ledger knows of a transfer's progress. `moving`: a process is known to be at it, so that the rates of
    the last second are true; else nothing moves until something is reported."""
    position = row.position
    bare = Snapshot(row.id, row.role.value, dialect=str(row.setup.get("dialect", "native")), position=position)
    progress = row.facts.get("progress")
    if progress is None:
        return bare
    try:
        kept = from_json(progress, position)
        return kept if moving and position.state in RUNNING else resting(kept)
    except (KeyError, TypeError, ValueError):
        # Saved by another version; counts are summed up from the ledger's rows on resume.
        return bare
