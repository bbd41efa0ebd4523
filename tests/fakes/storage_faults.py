"""What makes a storage fail on purpose: system calls, database commands, small and read-only file systems."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from growi_transfer.protocol.errors import DatabaseUnavailable, TransferError
from growi_transfer.storage import local_durable
from growi_transfer.storage.gridfs_bucket import Commands


class FailingCalls:
    """Counts the system calls that write, and makes the n-th fail; or all after it too, as for a process that died."""

    NAMES = ("pwrite", "rename", "fsync", "fdatasync", "ftruncate", "mkdir")

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._guard = threading.Lock()
        self.reset()

    def reset(self, fail_at: int = 0, reason: int = errno.EIO, *, for_ever: bool = False) -> None:
        self.calls = 0
        self.failed = 0
        self._fail_at, self._reason, self._for_ever = fail_at, reason, for_ever

    def __enter__(self) -> FailingCalls:
        # Each file is synced by itself, so that there are more steps to fail.
        self._monkeypatch.setattr(local_durable, "_LIBC", None)
        for name in self.NAMES:
            self._monkeypatch.setattr(os, name, self._wrapped(getattr(os, name)))
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()

    def _wrapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            with self._guard:
                self.calls += 1
                due = self._fail_at and (self.calls == self._fail_at or (self._for_ever and self.calls > self._fail_at))
                self.failed += bool(due)
            if due:
                raise OSError(self._reason, os.strerror(self._reason))
            return real(*arguments, **named)

        return call


class FaultyCommands:
    """The wiki's database with faults: writes that fail, or nothing at all after the n-th command."""

    def __init__(
        self,
        real: Commands,
        *,
        stop_after: int | None = None,
        lost_answer: bool = False,
        writes_fail: TransferError | None = None,
        write_error: int | None = None,
        only: Sequence[str] = ("attachmentFiles.chunks", "attachmentFiles.files"),
    ) -> None:
        self._real = real
        self._stop_after, self._lost_answer = stop_after, lost_answer
        self._writes_fail, self._write_error, self._only = writes_fail, write_error, only
        self.calls = 0

    async def command(self, command: Mapping[str, Any], *, majority: bool = False) -> dict[str, Any]:
        self.calls += 1
        name = next(iter(command))
        if self._stop_after is not None and self.calls > self._stop_after:
            if self._lost_answer and self.calls == self._stop_after + 1:
                await self._real.command(command, majority=majority)
            raise DatabaseUnavailable("stopped")
        if name in ("insert", "update", "delete", "findAndModify"):
            if self._writes_fail is not None:
                raise self._writes_fail
            if self._write_error is not None and command[name] in self._only:
                return {"ok": 1.0, "n": 0, "writeErrors": [{"index": 0, "code": self._write_error, "errmsg": "no"}]}
        return await self._real.command(command, majority=majority)


@contextlib.contextmanager
def mounted(folder: Path, *mounts: Sequence[str]) -> Iterator[bool]:
    """Mount something on a folder, in several steps; False where we may not."""
    done = 0
    try:
        for options in mounts:
            if subprocess.run(["mount", *options, str(folder)], check=False, capture_output=True).returncode != 0:
                break
            done += 1
        yield done == len(mounts)
    finally:
        if done:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with room for a megabyte: a real one where we may mount, else one whose writes fail as if it were."""
    folder.mkdir()
    with mounted(folder, ["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"]) as is_real:
        if not is_real:
            real = os.pwrite

            def pwrite(fd: int, data: bytes, offset: int) -> int:
                room = (1 << 20) - sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                if room <= 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return real(fd, data[:room], offset)

            monkeypatch.setattr(os, "pwrite", pwrite)
        yield folder


@contextlib.contextmanager
def read_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder mounted read-only; where we may not mount, one whose calls that write fail as if it were."""
    with mounted(root, ["--bind", str(root)], ["-o", "remount,bind,ro"]) as is_real:
        if is_real:
            yield
        else:
            with FailingCalls(monkeypatch) as calls:
                calls.reset(1, errno.EROFS, for_ever=True)
                yield
