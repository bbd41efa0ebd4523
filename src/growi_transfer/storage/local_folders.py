"""Folders below one root, by descriptors, and what the system's errors mean to a storage.

Every step below the root is opened by itself, so that no symbolic link, also one that appears meanwhile, leads a
write out of the root. The root may be a link. For reading, so may `attachment` and `user`: admins move them to larger
disks, and GROWI follows.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from growi_transfer.protocol.errors import (
    FileNotFound,
    StorageFull,
    StorageNotWritable,
    StorageUnavailable,
    TransferError,
)
from growi_transfer.storage.paths import OWN_FOLDER

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
# Without O_NONBLOCK a named pipe in the folder would hold the thread for ever.
FILE_MODE = 0o644
"""What GROWI's files have: its server may run as another user than we do."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_WRITABLE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.EXDEV, errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST}
)
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP})


def translated(error: OSError, path: str = "", *, writing: bool = False) -> TransferError:
    """Our error for the system's. `path` is told; the root is not, since the message may reach a peer.

    Where a file is being written (`writing`), something absent is a folder that somebody removed meanwhile.
    """
    where = {"path": path} if path else {}
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _ABSENT and not writing:
        return FileNotFound(**where)
    if error.errno in _FULL:
        return StorageFull(f"The attachment storage is full: {reason}.", **where)
    if error.errno == errno.EXDEV:
        return StorageNotWritable(
            "A folder below the uploads folder is on another file system, so files cannot be put there whole.", **where
        )
    if error.errno in _NOT_WRITABLE:
        return StorageNotWritable(f"The attachment storage does not allow this: {reason}.", **where)
    return StorageUnavailable(f"The attachment storage failed: {reason}.", **where)


def sync_folder(fd: int) -> None:
    """Make the names in a folder durable."""
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network file systems know no fsync of a folder; their names are durable at once.
        if error.errno not in _NO_SYNC:
            raise


def set_mode(fd: int, mode: int) -> None:
    """Permissions regardless of our umask, where the file system has them."""
    with contextlib.suppress(PermissionError):
        os.fchmod(fd, mode)


def write_all(fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
    """Write `data` at `offset` and return its end. After an OSError the bytes before it may be there."""
    view = memoryview(data).cast("B")
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written
    return offset


class Folders:
    """The folders that one operation touches, each opened once. Use it as a context manager, in one thread."""

    def __init__(self, root: Path, *, writing: bool) -> None:
        self._writing = writing
        self._changed: set[tuple[str, ...]] = set()
        try:
            self._open: dict[tuple[str, ...], int] = {(): os.open(root, FOLDER)}
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            if writing:
                raise StorageNotWritable("The uploads folder does not exist.") from None
            raise StorageUnavailable("The uploads folder does not exist.") from None

    def __enter__(self) -> Folders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for fd in self._open.values():
            os.close(fd)

    def get(self, parts: tuple[str, ...], *, create: bool = False) -> int:
        """Descriptor of a folder, closed with this object. Raises OSError, StorageNotWritable."""
        if (known := self._open.get(parts)) is not None:
            return known
        parent = self.get(parts[:-1], create=create)
        try:
            fd = self._enter(parent, parts)
        except FileNotFoundError:
            if not create:
                raise
            with contextlib.suppress(FileExistsError):
                os.mkdir(parts[-1], 0o755, dir_fd=parent)
            fd = self._enter(parent, parts)
            set_mode(fd, 0o700 if parts[0] == OWN_FOLDER else 0o755)
            self._changed.add(parts[:-1])
        self._open[parts] = fd
        return fd

    def _enter(self, parent: int, parts: tuple[str, ...]) -> int:
        may_be_link = not self._writing and len(parts) == 1
        try:
            return os.open(parts[-1], FOLDER if may_be_link else FOLDER | os.O_NOFOLLOW, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP) and self._writing:
                raise StorageNotWritable(
                    "A folder below the uploads folder is a symbolic link or a file; nothing is written through it.",
                    path="/".join(parts),
                ) from None
            raise

    def changed(self, parts: tuple[str, ...]) -> None:
        """A name in this folder is new, gone, or stands for another file."""
        self._changed.add(parts)

    def sync(self) -> dict[tuple[str, ...], OSError]:
        """Make all changed names durable; the folders where that failed."""
        failed: dict[tuple[str, ...], OSError] = {}
        # Deepest first: a folder's own name must not be durable before what is in it.
        for parts in sorted(self._changed, key=len, reverse=True):
            try:
                sync_folder(self._open[parts])
            except OSError as error:
                failed[parts] = error
        self._changed.clear()
        return failed

    def sync_or_raise(self) -> None:
        for error in self.sync().values():
            raise error

    def open_file(self, parts: tuple[str, ...]) -> tuple[int, int]:
        """Descriptor (the caller closes it) and size of a regular file. Raises OSError."""
        fd = os.open(parts[-1], _READ, dir_fd=self.get(parts[:-1]))
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        except BaseException:
            os.close(fd)
            raise
        return fd, status.st_size

    def file_size(self, parts: tuple[str, ...]) -> int | None:
        """Size of a regular file, None where there is none. Raises OSError."""
        try:
            status = os.stat(parts[-1], dir_fd=self.get(parts[:-1]), follow_symlinks=False)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def prune(self, parts: tuple[str, ...]) -> None:
        """Remove folders that became empty, upwards from `parts`, in our own folder only."""
        while parts and parts[0] == OWN_FOLDER:
            try:
                os.rmdir(parts[-1], dir_fd=self.get(parts[:-1]))
            except OSError:
                return
            parts = parts[:-1]


def remove_files(folder: int, names: Iterable[str]) -> None:
    """Remove what is there of these, whatever stands in the way of the rest."""
    for name in names:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
