"""A large file on its way into a folder: `.growi-transfer/.uploads/<upload id>.part`, renamed when it is whole."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Protocol, TypeVar

from growi_transfer.protocol.errors import StorageUnavailable
from growi_transfer.storage.base import READ_CHUNK
from growi_transfer.storage.local_disk import UPLOADS, Disk, put
from growi_transfer.storage.local_folders import FILE_MODE, remove_files, set_mode, write_all
from growi_transfer.storage.paths import check_upload_id, split_path

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC

T = TypeVar("T")


class Runner(Protocol):
    """Runs blocking work in a thread and translates the system's errors."""

    async def __call__(self, function: Callable[..., T], *arguments: Any) -> T: ...


class LocalPartialUpload:
    """One handle at a time for an id: close the older one before the next is opened.

    Each call is one thread hop. The caller passes pieces of 1 MiB and more, and may write on while a `sync` is under
    way. Nothing is on the disk before the first `write` or `finish`. After a restart the offset is the length of the
    file: what was synced, or more.
    """

    def __init__(self, disk: Disk, run: Runner, path: str, upload_id: str) -> None:
        """Call `open` next."""
        self._disk = disk
        self._run = run
        self._parts = split_path(path)
        self._name = check_upload_id(upload_id) + ".part"
        self._fd: int | None = None
        self._over = False
        self._offset = 0
        self._hasher = sha256()
        self._hashed = 0
        # A cancelled task leaves its thread running: what comes next must wait for that, and never meet its
        # descriptor closed or reused.
        self._guard = threading.Lock()

    @property
    def offset(self) -> int:
        return self._offset

    async def open(self) -> None:
        await self._run(self._open)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self._run(self._write, data)

    async def sync(self) -> int:
        return await self._run(self._sync)

    async def sha256(self) -> bytes:
        return await self._run(self._digest)

    async def finish(self) -> None:
        await self._run(self._finish)

    async def abort(self) -> None:
        await self._run(self._abort)

    async def close(self) -> None:
        await self._run(self._close)

    def _open(self) -> None:
        with self._guard, self._disk.writing() as folders:
            try:
                self._fd = os.open(self._name, _FLAGS, dir_fd=folders.get(UPLOADS))
            except FileNotFoundError:
                return
            self._offset = os.fstat(self._fd).st_size

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        with self._guard:
            view = memoryview(data).cast("B")
            end = write_all(self._file(), view, self._offset)
            if self._hashed == self._offset:
                self._hasher.update(view)
                self._hashed = end
            self._offset = end

    def _sync(self) -> int:
        with self._guard:
            self._check_open()
            if self._fd is None:
                return 0
            if os.fstat(self._fd).st_size != self._offset:
                # What a failed write left behind the offset is not part of the file.
                os.ftruncate(self._fd, self._offset)
            offset, fd = self._offset, os.dup(self._fd)
        try:
            # Not every system has fdatasync.
            getattr(os, "fdatasync", os.fsync)(fd)
        finally:
            os.close(fd)
        return offset

    def _digest(self) -> bytes:
        with self._guard:
            self._check_open()
            while self._hashed < self._offset:
                piece = os.pread(self._file(), min(READ_CHUNK, self._offset - self._hashed), self._hashed)
                if not piece:
                    raise StorageUnavailable("The partial upload became shorter.")
                self._hasher.update(piece)
                self._hashed += len(piece)
            return self._hasher.digest()

    def _finish(self) -> None:
        with self._guard:
            fd = self._file()
            os.ftruncate(fd, self._offset)
            os.fsync(fd)
            with self._disk.writing() as folders:
                put(folders, folders.get(UPLOADS), self._name, self._parts)
                folders.changed(UPLOADS)
                folders.sync_or_raise()
                self._release()

    def _abort(self) -> None:
        with self._guard, self._disk.writing() as folders:
            self._release()
            try:
                folder = folders.get(UPLOADS)
            except FileNotFoundError:
                return
            remove_files(folder, (self._name,))

    def _close(self) -> None:
        with self._guard:
            self._release()

    def _file(self) -> int:
        self._check_open()
        if self._fd is None:
            with self._disk.writing() as folders:
                folder = folders.get(UPLOADS, create=True)
                self._fd = os.open(self._name, _FLAGS | os.O_CREAT, FILE_MODE, dir_fd=folder)
                set_mode(self._fd, FILE_MODE)
                # The name is durable from the start, so that `sync` has only the data to care for.
                folders.changed(UPLOADS)
                folders.sync_or_raise()
        return self._fd

    def _check_open(self) -> None:
        if self._over:
            raise StorageUnavailable("The upload was finished, aborted or closed.")

    def _release(self) -> None:
        self._over = True
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
