"""Folders for files that are not whole yet: one for each storage object, locked as long as the object lives.

The lock tells what a killed process left behind, which the next one removes, from what another process is writing
right now. They lie below the uploads folder because a file can be renamed into place only on one file system.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import threading
from array import array

from growi_transfer.storage.local_folders import FOLDER, Folders, remove_files
from growi_transfer.storage.paths import OWN_FOLDER

_PREFIX = ".tmp-"
_GET_FLAGS, _SET_FLAGS, _TOP_FOLDER = 0x80086601, 0x40086602, 0x00020000
"""FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and FS_TOPDIR_FL of linux/fs.h."""


class Workspace:
    """Thread-safe, except `close`, which is for the end of all threads' work."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._name = ""
        self._guard = threading.Lock()
        self._numbers = itertools.count()

    def open(self, folders: Folders) -> int:
        """Descriptor of the folder, made when there is none. Raises OSError."""
        with self._guard:
            if self._fd is not None and os.fstat(self._fd).st_nlink == 0:
                # An admin tidied up below us.
                self._release()
            if self._fd is None:
                own = folders.get((OWN_FOLDER,), create=True)
                _remove_abandoned(own)
                _spread(own)
                self._fd, self._name = _make(own)
            return self._fd

    def new_name(self) -> str:
        """A name that is free in the folder."""
        return str(next(self._numbers))

    def close(self, folders: Folders) -> None:
        """Remove the folder. May be called twice."""
        with self._guard:
            if self._fd is None:
                return
            with contextlib.suppress(OSError):
                own = folders.get((OWN_FOLDER,))
                _remove(own, self._name, self._fd)
            self._release()

    def _release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _spread(own: int) -> None:
    """Ask ext4 to put the folders in this one far from each other and from the uploads (`chattr +T`).

    A new file gets an inode near its folder, and ext4 looks at every inode there that was deleted in the last minutes,
    for each new file again. Measured: after 3,000 files were deleted, as a cancel does, the next ones cost 0.7 ms of
    processor time each, in a folder elsewhere 0.02 ms. File systems that do not know the flag refuse it.
    """
    with contextlib.suppress(OSError):
        flags = array("i", [0, 0])  # the kernel writes an int; the numbers above say a long
        fcntl.ioctl(own, _GET_FLAGS, flags)
        if not flags[0] & _TOP_FOLDER:
            flags[0] |= _TOP_FOLDER
            fcntl.ioctl(own, _SET_FLAGS, flags)


def _make(own: int) -> tuple[int, str]:
    while True:
        name = _PREFIX + os.urandom(8).hex()
        os.mkdir(name, 0o700, dir_fd=own)
        try:
            fd = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=own)
        except FileNotFoundError:
            continue  # taken for abandoned, and removed, before it could be locked
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            continue
        except OSError:
            # No locks here (some network file systems): nobody else can lock the folder either, so it stays.
            return fd, name
        if os.fstat(fd).st_nlink:
            return fd, name
        os.close(fd)


def _remove_abandoned(own: int) -> None:
    for name in os.listdir(own):
        if not name.startswith(_PREFIX):
            continue
        with contextlib.suppress(OSError):
            fd = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=own)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(own, name, fd)
            finally:
                os.close(fd)


def _remove(own: int, name: str, fd: int) -> None:
    remove_files(fd, os.listdir(fd))
    os.rmdir(name, dir_fd=own)
