"""Digests of files that come in several requests, kept from one to the next.

Without them a file that S3 has put together would have to be read again, all of it. They are of this process alone: a
digest says what was given to the store, and after a restart nobody knows that any more.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

_MOST = 256


class Digest(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class RunningDigests:
    """By upload id: how many bytes were digested, and by what. The oldest are forgotten."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[int, Digest]] = OrderedDict()

    def keep(self, upload_id: str, size: int, digest: Digest) -> None:
        self._kept[upload_id] = (size, digest)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    def take(self, upload_id: str, size: int) -> Digest | None:
        """The digest of the first `size` bytes of an upload, which is then forgotten; None when that is not known."""
        kept, digest = self._kept.pop(upload_id, (-1, None))
        return digest if kept == size else None
