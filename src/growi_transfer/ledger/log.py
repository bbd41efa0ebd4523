"""The log of a transfer: what happened to it, line by line, kept with the ledger.

Noting a line never waits and never fails. Lines are written in batches, about once a second, so a process that is
killed loses no more than its last second. Only the newest lines are kept. Each line goes to the log of the process too.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from growi_transfer.ledger.base import Ledger, LogRow, Role
from growi_transfer.protocol.progress import ItemFailed, ItemRecovered, Moved, Noted, ProgressEvent, WarningRaised

LEVELS = ("info", "warning", "error")
"""From the least to the most urgent."""
KEPT = 2000
"""Lines of one transfer and role, the newest."""
_TRIM_EVERY = 200
"""Lines of one transfer between two looks at how many there are."""
_WAITING = 10_000
"""Lines that wait while the database is away; older ones are lost first."""
_MESSAGE = 2000
"""Characters: some messages are the other side's."""
_log = structlog.get_logger(__name__)


def levels_from(level: str) -> tuple[str, ...]:
    """This level and those above it."""
    return LEVELS[LEVELS.index(level) :]


def line_json(row: LogRow) -> dict[str, Any]:
    """One line as HTTP and `--json` show it."""
    return {
        "at": row.at.isoformat(),
        "level": row.level,
        "event": row.event,
        "message": row.message,
        "details": dict(row.details),
    }


class TransferLog:
    """Collects lines for the ledger. `writer`: four hex digits that no other process at work has."""

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime], writer: str) -> None:
        self._ledger = ledger
        self._clock = clock
        self._writer = writer
        self._waiting: deque[LogRow] = deque(maxlen=_WAITING)
        self._since_trim: Counter[tuple[Role, str]] = Counter()
        self._last = 0

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to write."""
        return bool(self._waiting)

    def note(
        self, role: Role, transfer_id: str, level: str, event: str, message: str, details: Mapping[str, Any]
    ) -> None:
        now = self._clock()
        # The order of lines is that of their stamps, also of those of one microsecond.
        self._last = max(self._last + 1, (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
        stamp = f"{self._last:016d}{self._writer}"
        self._waiting.append(LogRow(role, transfer_id, stamp, now, level, event, message[:_MESSAGE], details))
        # Never an error in the log of the process: a command tells its errors in its own words.
        tell = _log.info if level == LEVELS[0] else _log.warning
        more = {"details": dict(details)} if details else {}
        tell(event, transfer=transfer_id, role=role.value, message=message[:_MESSAGE], **more)

    def observe(self, role: Role, transfer_id: str, event: ProgressEvent) -> None:
        """Note an event of the progress, if it is one that a reader wants to know of."""
        match event:
            case Moved(position):
                came_from = {"came_from": position.came_from.value} if position.came_from else {}
                level = "error" if position.state == "failed" else "info"
                self.note(role, transfer_id, level, "state", position.state.value.replace("_", " "), came_from)
            case Noted(name, message, details, level):
                self.note(role, transfer_id, level, name, message, details)
            case WarningRaised(warning):
                self.note(role, transfer_id, "warning", warning.code, warning.message, warning.details)
            case ItemFailed(failure):
                details = {"item": failure.item, "kind": failure.kind, "tries": failure.tries}
                message = f"{failure.kind} {failure.item}: {failure.message}"
                self.note(role, transfer_id, "error", failure.code, message, details)
            case ItemRecovered(item, kind):
                text = f"{kind} {item}: no longer failed"
                self.note(role, transfer_id, "info", "recovered", text, {"item": item, "kind": kind})
            case _:
                pass

    async def flush(self) -> None:
        """Write what is waiting. Raises what the ledger raises, and then nothing is lost."""
        rows = list(self._waiting)
        if not rows:
            return
        await self._ledger.append_log(rows)
        for row in rows:
            if self._waiting and self._waiting[0] is row:
                self._waiting.popleft()
            self._since_trim[row.role, row.transfer_id] += 1
        for (role, transfer_id), count in list(self._since_trim.items()):
            if count >= _TRIM_EVERY:
                await self._ledger.trim_log(role, transfer_id, KEPT)
                del self._since_trim[role, transfer_id]
