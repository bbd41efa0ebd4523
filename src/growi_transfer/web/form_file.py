"""The file of a form while it comes: a small one stays in memory, a larger one goes to the spool folder."""

from __future__ import annotations

import io
import threading
from pathlib import Path

from growi_transfer.protocol.errors import BodyTooLarge
from growi_transfer.web.uploads import check_space, new_spool_file, spool_folder, write_spool

SMALL = 1 << 20
"""Bytes of a file that may stay in memory."""
_CHECK_SPACE_EVERY = 64 << 20


class Memory:
    """What all forms together may hold in memory, in bytes: however many come at once, it is no more."""

    def __init__(self, budget: int) -> None:
        self._left = budget
        self._guard = threading.Lock()

    def take(self, size: int) -> bool:
        """False when there is not so much left."""
        with self._guard:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give(self, size: int) -> None:
        """Back."""
        with self._guard:
            self._left += size


class FormFile:
    """The bytes of one file, as they come. Blocking; `close` it in any case, then nothing of it is left.

    `memory`: None has every file spooled. `spare`: what is left free on the disk. `limit`: bytes that the file may
    have, None for any number.
    """

    def __init__(self, data_dir: Path, *, memory: Memory | None, spare: int, limit: int | None) -> None:
        self._data_dir = data_dir
        self._memory = memory
        self._spare = spare
        self._limit = limit
        self._held = io.BytesIO()
        self._taken = 0
        self._spool: tuple[io.FileIO, Path] | None = None
        self._checked = 0
        self._closed = False
        self._guard = threading.Lock()
        """A request that is cut leaves the thread that writes for it running."""
        self.size = 0
        """Bytes so far."""

    def write(self, data: memoryview) -> None:
        """Raises BodyTooLarge before more than the limit is kept, and InsufficientSpace."""
        with self._guard:
            if not self._closed:
                self._write(data)

    def _write(self, data: memoryview) -> None:
        self.size += len(data)
        if self._limit is not None and self.size > self._limit:
            raise BodyTooLarge(f"The file is larger than MAX_FILE_SIZE ({self._limit} bytes).")
        if self._spool is None and self._memory is not None and self.size <= SMALL and self._memory.take(len(data)):
            self._taken += len(data)
            self._held.write(data)
            return
        if self._spool is None:
            folder = spool_folder(self._data_dir)
            check_space(folder, self._spare)
            self._spool = new_spool_file(folder)
            write_spool(self._spool[0], self._held.getvalue())
            self._forget()
        write_spool(self._spool[0], data)
        if self.size - self._checked >= _CHECK_SPACE_EVERY:
            self._checked = self.size
            check_space(spool_folder(self._data_dir), self._spare)

    def content(self) -> bytes | Path:
        """All of it, when all has come; a file that was begun in memory and is empty is empty bytes."""
        if self._spool is None and self._memory is None:
            self._spool = new_spool_file(spool_folder(self._data_dir))
        return self._held.getvalue() if self._spool is None else self._spool[1]

    def close(self) -> None:
        """Twice has one effect."""
        with self._guard:
            self._closed = True
            self._forget()
            if self._spool is not None:
                file, path = self._spool
                file.close()
                path.unlink(missing_ok=True)

    def _forget(self) -> None:
        self._held = io.BytesIO()
        if self._memory is not None:
            self._memory.give(self._taken)
        self._taken = 0
