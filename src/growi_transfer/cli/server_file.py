"""`server.json` in the data folder: which server uses it, so that other commands and scripts find that server.

The file tells; the lock decides. It is an flock on `server.lock`, which the kernel gives back however the server ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from growi_transfer.protocol.errors import FolderInUse, OperatorFault

if sys.platform != "win32":
    import fcntl


_LOCK_SECONDS = 0.5
"""Longer than a command needs that only looks whether a server is there."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    pid: int
    url: str
    """How this machine reaches it."""
    role: str
    origin: str = ""
    """The address in the keys it makes; empty when it makes none."""


def running_server(data_dir: Path) -> RunningServer | None:
    """The server that uses this data folder now, if there is one."""
    try:
        with (data_dir / "server.lock").open("rb") as lock:
            if _take(lock, shared=True):
                return None
        return RunningServer(**json.loads((data_dir / "server.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@contextlib.asynccontextmanager
async def own_data_dir(data_dir: Path) -> AsyncIterator[None]:
    """Be the one server of a data folder. Raises FolderInUse, OperatorFault."""
    announced = data_dir / "server.json"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data_dir / "server.lock").open("ab")
    except OSError as error:
        raise OperatorFault(f"The data folder {data_dir} cannot be used: {error.strerror}.") from error
    with lock:
        deadline = asyncio.get_running_loop().time() + _LOCK_SECONDS
        while not _take(lock):
            if asyncio.get_running_loop().time() > deadline:
                other = running_server(data_dir)
                told = f" (process {other.pid}, {other.url})" if other else ""
                raise FolderInUse(f"A server already uses the data folder {data_dir}{told}.")
            await asyncio.sleep(0.02)
        # What a server that was killed has left behind.
        announced.unlink(missing_ok=True)
        try:
            yield
        finally:
            announced.unlink(missing_ok=True)


def announce(data_dir: Path, url: str, role: str, origin: str) -> None:
    """Write `server.json`, whole or not at all."""
    server = RunningServer(os.getpid(), url, role, origin)
    partial = data_dir / f".server.json.{server.pid}"
    partial.write_text(json.dumps(asdict(server)) + "\n", encoding="utf-8")
    partial.replace(data_dir / "server.json")


def _take(lock: IO[bytes], *, shared: bool = False) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(lock.fileno(), (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
