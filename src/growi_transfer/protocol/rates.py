"""How fast things move: sums over the last seconds. The time is given; nothing here reads a clock."""

from __future__ import annotations

from collections import deque

from growi_transfer.protocol.progress import DocumentsStored, FileBytesStored, FilesStored, ProgressEvent, RateMeasured

WINDOW = 5.0
"""Seconds over which a rate is taken."""
_STEP = 0.25
"""Seconds between two samples, and the least over which a rate is told."""

_Sample = tuple[float, int, int, int]


class RateMeter:
    """Bytes, files and documents that moved. Corrections (negative additions) are no movement."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self._bytes = 0
        self._files = 0
        self._documents = 0
        self._told: RateMeasured | None = None

    def note(self, now: float, event: ProgressEvent) -> None:
        """Count an event; those that move nothing do nothing."""
        size = files = documents = 0
        match event:
            case DocumentsStored():
                size, documents = event.bytes, event.documents
            case FilesStored():
                size, files = event.bytes, event.files
            case FileBytesStored():
                size = event.bytes
            case _:
                return
        if not self._samples:
            self._sample(now)
        self._bytes += max(0, size)
        self._files += max(0, files)
        self._documents += max(0, documents)

    def measure(self, now: float) -> RateMeasured | None:
        """The rates now, or None when there is nothing new to tell."""
        if not self._samples or now - self._samples[-1][0] < _STEP:
            return None
        self._sample(now)
        while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW:
            self._samples.popleft()
        then, size, files, documents = self._samples[0]
        seconds = now - then
        told = RateMeasured(
            (self._bytes - size) / seconds, (self._files - files) / seconds, (self._documents - documents) / seconds
        )
        if told == self._told:
            return None
        self._told = told
        return told

    def reset(self) -> None:
        """Begin anew, as after a pause."""
        self._samples.clear()
        self._told = None

    def _sample(self, now: float) -> None:
        self._samples.append((now, self._bytes, self._files, self._documents))
