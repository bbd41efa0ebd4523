"""How large a body may be: what the line and whatever stands before the destination have shown to take. Pure."""

from __future__ import annotations

from growi_transfer.protocol.errors import PeerRefused, PeerUnavailable, TransferError

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
    return isinstance(error, PeerUnavailable)


class Size:
    """The wanted size of the next bodies, between `least` and `most` bytes.

    It is halved when a body of that size fails in a way that a smaller one may not. A size that was refused as too
    large is never asked for again; after other failures it grows back, by doubling, when enough bodies went well.
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
    def most(self) -> int:
        """What it may grow to."""
        return self._most

    def failed(self, size: int, error: TransferError) -> None:
        """A body made from `size` bytes did not get through."""
        if is_too_large(error):
            # Those in flight fail together: what counts is what failed, not how often.
            self._most = max(self._least, min(self._most, size // 2))
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
