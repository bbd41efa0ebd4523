"""A file of any size that is written in one go, from the workspace into its place."""

from __future__ import annotations

import os
import threading

from growi_transfer.protocol.errors import StorageUnavailable
from growi_transfer.storage.local_disk import NEW_FILE, Disk, put
from growi_transfer.storage.local_folders import FILE_MODE, remove_files, set_mode, write_all
from growi_transfer.storage.paths import split_path


class NewFile:
    """Blocking steps, each to be run in a thread: `append` as often as needed, `finish`, and in any case `discard`.

    A cancelled task leaves its thread running. So each step waits for the one before it, and after `discard` no step
    does anything: none ever meets a descriptor that was closed or is another file's by now.
    """

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._parts = split_path(path)
        self._name = disk.workspace.new_name()
        self._fd: int | None = None
        self._size = 0
        self._over = False
        self._guard = threading.Lock()

    def append(self, block: bytes) -> None:
        with self._guard:
            self._size = write_all(self._handle(), block, self._size)

    def finish(self) -> None:
        """Make it durable and show it under its path, in place of a file that is there."""
        with self._guard:
            os.fsync(self._handle())
            with self._disk.writing() as folders:
                put(folders, self._disk.workspace.open(folders), self._name, self._parts)
                folders.sync_or_raise()

    def discard(self) -> None:
        """Let go of it, and remove it if it was not finished."""
        with self._guard:
            self._over = True
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None
                with self._disk.writing() as folders:
                    remove_files(self._disk.workspace.open(folders), (self._name,))

    def _handle(self) -> int:
        if self._over:
            raise StorageUnavailable("The write was given up.")
        if self._fd is None:
            with self._disk.writing() as folders:
                folders.get(self._parts[:-1], create=True)
                folders.sync_or_raise()
                workspace = self._disk.workspace.open(folders)
                self._fd = os.open(self._name, NEW_FILE, FILE_MODE, dir_fd=workspace)
            set_mode(self._fd, FILE_MODE)
        return self._fd
