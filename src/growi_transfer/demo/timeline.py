"""When a transfer did what, from the snapshots that a watcher saw. Pure: moments are given, in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_IN_MOTION = ("copying", "reconciling", "indexing", "verifying", "ready", "committing")


class Timeline:
    """Observe each snapshot (the public shape of a transfer) in order; ask at the end."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._last = began
        self._state = "created"  # what comes before the first snapshot belongs to it
        self._in_state: dict[str, float] = {}
        self._documents_done: float | None = None
        self._files_done: float | None = None

    def observe(self, shape: Mapping[str, Any], at: float) -> None:
        self._in_state[self._state] = self._in_state.get(self._state, 0.0) + at - self._last
        self._last = at
        self._state = shape["state"]
        if self._state not in _IN_MOTION and self._state != "completed":
            return
        documents, files = shape["documents"], shape["files"]
        if documents["done"] < documents["total"]:
            self._documents_done = None
        elif self._documents_done is None:
            self._documents_done = at
        if files["done"] + files["skipped"] < files["total"]:
            self._files_done = None
        elif self._files_done is None:
            self._files_done = at

    @property
    def seconds(self) -> float:
        """From the beginning to the last snapshot."""
        return self._last - self._began

    def in_state(self, *states: str) -> float:
        """Seconds spent in these states."""
        return sum(self._in_state.get(state, 0.0) for state in states)

    @property
    def document_seconds(self) -> float:
        """From the beginning of the copy until the last document was stored."""
        return self._since_copying(self._documents_done)

    @property
    def attachment_seconds(self) -> float:
        """The same for files."""
        return self._since_copying(self._files_done)

    def _since_copying(self, moment: float | None) -> float:
        before = self.in_state("created", "checked")
        end = self._last if moment is None else moment
        return max(0.0, min(end - self._began - before, self.in_state("copying") or end - self._began))
