"""How large a body may be: what the line and whatever stands before the destination have shown to take. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from growi_transfer.protocol.errors import PeerRefused, PeerUnavailable, TransferError
from growi_transfer.protocol.wire import (
    BUNDLE_BYTES,
    BUNDLE_FILES,
    BUNDLE_LIMIT,
    CHUNK_BYTES,
    RANGE_BYTES,
    VOLUME_LIMIT,
)

VOLUME_LEAST = 512 << 10
BUNDLE_LEAST = 512 << 10
CHUNK_LEAST = 1 << 20
DOUBTS = 3
"""Failures of one body, each of which may be due to its size, after which it is made smaller."""
_GROW_AFTER = 16
"""Bodies of the present size in a row that went well."""
_DOUBTFUL_STATUS = frozenset({408, 502, 504})


def is_too_large(error: TransferError) -> bool:
    """Whether an answer refuses a body because of its length."""
    return isinstance(error, PeerRefused) and error.status == 413


def is_doubtful(error: TransferError) -> bool:
    """Whether a body may have been too long for the time that somebody gave it."""
    if isinstance(error, PeerRefused):
        return error.status in _DOUBTFUL_STATUS
    return isinstance(error, PeerUnavailable) and error.details.get("reached", True) is True


class Size:
    """The wanted size of the next bodies: at first `most` bytes.

    It is halved when a body of that size fails in a way that a smaller one may not. What was refused as too large is
    never asked for again, however small it has to be. After other failures, which may have nothing to do with the
    size, it is halved down to `least` and grows back, by doubling, when enough bodies went well.
    """

    def __init__(self, most: int, least: int) -> None:
        self._most = max(1, most)
        self._least = min(max(1, least), self._most)
        self._current = self._most
        self._good = 0

    @property
    def current(self) -> int:
        """Bytes to aim at."""
        return self._current

    @property
    def least(self) -> int:
        """Below this a body is not made smaller because of failures that may have other reasons."""
        return self._least

    def failed(self, size: int, error: TransferError) -> None:
        """A body made from `size` bytes did not get through."""
        if is_too_large(error):
            # Those in flight fail together: what counts is what failed, not how often.
            self._most = max(1, min(self._most, size // 2))
            self._least = min(self._least, self._most)
        elif is_doubtful(error) and size >= self._current // 2:
            self._current = max(self._least, min(self._current, size // 2))
            self._good = 0
        self._current = min(self._current, self._most)

    def succeeded(self, size: int) -> None:
        """A body made from `size` bytes got through."""
        if self._current == self._most or size < self._current // 2:
            return
        self._good += 1
        if self._good >= _GROW_AFTER:
            self._good = 0
            self._current = min(self._most, self._current * 2)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of one transfer: raw BSON in a volume, files in a bundle, a part of a large file in one request."""

    volume: Size
    bundle: Size
    chunk: Size
    bundle_files: int


def sizes_for(limits: Mapping[str, int]) -> Sizes:
    """Under the limits that a destination announces (`growi-info`); what it does not announce is as usual."""
    volume, bundle = limits.get("volume_bytes", VOLUME_LIMIT), limits.get("bundle_bytes", BUNDLE_LIMIT)
    return Sizes(
        # Ranges may grow to the double between two readings, and there is a head on everything.
        volume=Size(min(RANGE_BYTES, volume // 3), VOLUME_LEAST),
        bundle=Size(min(BUNDLE_BYTES, bundle // 2), BUNDLE_LEAST),
        chunk=Size(min(CHUNK_BYTES, limits.get("chunk_bytes", CHUNK_BYTES)), CHUNK_LEAST),
        bundle_files=max(1, min(BUNDLE_FILES, limits.get("bundle_files", BUNDLE_FILES))),
    )
