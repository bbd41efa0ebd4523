"""Where servers of tests keep their data."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_MEMORY = Path("/dev/shm")
_PREFIX = "growi-transfer-tests-"
_ROOM = 8 << 30
"""Bytes. Each data folder of a mongod has some hundred MiB, and a run has nine of them."""


@contextlib.contextmanager
def data_folder(on_disk: Path) -> Iterator[Path]:
    """An empty folder, gone at the end: in memory where there is much, else `on_disk`.

    A database waits for the disk at each collection that it makes or drops and at each durable write; tests do little
    else, and none of them pulls the plug.
    """
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(_in_memory()) if _has_room() else on_disk
        folder = root / "data"
        folder.mkdir()
        # Data are of no use after a run, and pytest keeps the folders of the last ones.
        stack.callback(shutil.rmtree, folder)
        yield folder


@contextlib.contextmanager
def _in_memory() -> Iterator[Path]:
    """A new folder, locked as long as it is in use: that of a run that was killed goes when the next one comes."""
    for one in _MEMORY.glob(_PREFIX + "*"):
        with contextlib.suppress(OSError), (one / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(one)
    folder = Path(tempfile.mkdtemp(prefix="." + _PREFIX, dir=_MEMORY))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = folder.rename(_MEMORY / folder.name[1:])
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def _has_room() -> bool:
    try:
        shown = os.statvfs(_MEMORY)
        words = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        available = int(words["MemAvailable"].split()[0]) << 10
        return min(shown.f_bavail * shown.f_frsize, available, _left_to_container()) >= _ROOM
    except (OSError, KeyError, ValueError):
        return False


def _left_to_container() -> int:
    """What is in memory counts for the limit of a container, and at the limit processes are killed."""
    left = 1 << 62
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            root = Path("/sys/fs/cgroup")
            left = min(left, int((root / limit).read_text()) - int((root / used).read_text()))
    return left
