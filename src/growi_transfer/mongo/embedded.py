"""A private mongod for people without one: a replica set of one member, on 127.0.0.1 only.

It has no access control: whoever can open a connection on this machine can read it. That fits a machine of one's own;
elsewhere set MONGO_URI.

Below `<data_dir>/mongod`: `db` (the data), `mongod.log` and `mongod.log.1` (this start and the last one), `mongod.pid`,
`port` (kept over restarts if still free) and `lock`. The lock is an flock, so that the kernel gives it back however its
owner ends; what is written in it, the owner's pid, is only for the message.

A mongod never outlives its owner for long. On Linux the kernel sends it SIGTERM when the thread that called `start`
ends, by kill -9 too. Elsewhere the next start on the folder finds the orphan, stops it cleanly and starts its own: an
adopted one would be nobody's child, with options of an earlier start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from pymongo.errors import ConnectionFailure

from growi_transfer.mongo.binary import BINARY_VARIABLE, find_mongod
from growi_transfer.mongo.replica_set import become_primary
from growi_transfer.protocol.errors import FolderInUse, MongodUnavailable

if sys.platform != "win32":
    import fcntl

__all__ = ["EmbeddedMongod", "find_mongod"]

REPLICA_SET: Final = "growi_transfer"
DATABASE: Final = "growi"
_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 120.0
"""Replaying the journal after a crash takes its time; a healthy start takes less than one second."""
_STOP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02
_PORT_TRIES: Final = 5
_OPLOG_MIB: Final = 512
_EXIT_PORT_TAKEN: Final = 48
_EXIT_OTHER_VERSION: Final = 62

# Runs between fork and exec in a process of its own, because code in a forked child of a process with threads may hang.
_TETHER: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG, kept over exec
if os.getppid() != int(sys.argv[1]):
    sys.exit("the owner ended before mongod started")
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedMongod:
    """One private mongod. `async with` starts and stops it; `start` and `stop` may run on different event loops.

    `cache_mib` is mongod's cache in MiB, at least 256, which is the least that it takes. `binary`: the program to run,
    instead of the one that `find_mongod` finds.
    """

    def __init__(self, data_dir: Path, *, cache_mib: int = 256, binary: Path | None = None) -> None:
        if cache_mib < 256:
            raise ValueError("mongod takes no cache below 256 MiB")
        self._folder = data_dir.absolute() / "mongod"
        self._cache_mib = cache_mib
        self._binary = binary
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """Of the last start."""
        if not self._port:
            raise RuntimeError("the embedded mongod was never started")
        return self._port

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the embedded mongod is not running")
        return self._process.pid

    @property
    def uri(self) -> str:
        """For any driver; names the database `growi`."""
        return _uri(self.port)

    async def __aenter__(self) -> EmbeddedMongod:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Run mongod and return once it takes writes. No effect while it is running.

        The calling thread must live as long as the server is wanted. Raises FolderInUse when another process (or
        another object of this one) has the folder, MongodUnavailable when there is no mongod or it does not start.
        On any error nothing is left running.
        """
        if self._process is not None:
            return
        environ = None if self._binary is None else {BINARY_VARIABLE: str(self._binary)}
        binary = find_mongod(environ, copy_to=self._folder / "bin")
        try:
            self._take_lock()
            await self._end_orphan()
            await self._run(binary)
        except OSError as error:
            self._forget()
            raise MongodUnavailable(f"mongod cannot be started in {self._folder}: {error}.") from error
        except BaseException:
            self._forget()
            raise

    async def stop(self) -> None:
        """Shut mongod down cleanly; by force after 30 seconds. No effect when it is not running."""
        process = self._process
        if process is None:
            return
        try:
            process.terminate()
            if not await _until(lambda: process.poll() is not None, _STOP_SECONDS):
                process.kill()
                process.wait()
        finally:
            self._forget()

    # --- folder ------------------------------------------------------------------------------------------------------

    @property
    def _database_path(self) -> Path:
        return self._folder / "db"

    @property
    def _log(self) -> Path:
        return self._folder / "mongod.log"

    def _take_lock(self) -> None:
        self._database_path.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        lock = (self._folder / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip()
            lock.close()
            raise self._in_use(owner) from None
        self._lock = lock
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()

    def _in_use(self, pid: str) -> FolderInUse:
        by = f"process {pid}" if pid else "another process"
        return FolderInUse(
            f"The data folder {self._folder} is in use by {by}. Stop it, or choose another data folder.", pid=pid
        )

    def _forget(self) -> None:
        self._process = None
        if self._lock is not None:
            with contextlib.suppress(OSError):
                (self._folder / "mongod.pid").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    async def _end_orphan(self) -> None:
        """Stop a mongod that an owner left behind on this folder. mongod keeps its own pid in `db/mongod.lock`."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self._database_path / "mongod.lock").read_text())
            for sign in (signal.SIGTERM, signal.SIGKILL):
                if not self._is_mongod_here(pid):
                    return
                os.kill(pid, sign)
                await _until(lambda: not self._is_mongod_here(pid), _STOP_SECONDS)

    def _is_mongod_here(self, pid: int) -> bool:
        """Whether the process is a mongod of this folder, and not one that was given the number of a dead one."""
        if sys.platform == "linux":
            try:
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                return False
            return f"\0--dbpath\0{self._database_path}\0".encode() in arguments
        else:
            shown = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
            return f" --dbpath {self._database_path} ".encode() in shown.stdout

    # --- process -----------------------------------------------------------------------------------------------------

    async def _run(self, binary: Path) -> None:
        for port in self._ports():
            process = self._spawn(binary, port)
            try:
                ready = await self._ready(process, port)
            except BaseException:
                process.kill()
                process.wait()
                raise
            if ready:
                self._process, self._port = process, port
                (self._folder / "port").write_text(f"{port}\n")
                return
        raise MongodUnavailable(f"mongod found no free port in {_PORT_TRIES} tries.")

    def _ports(self) -> Iterator[int]:
        """The port of the last start if it is free, then free ones; any of them may be taken a moment later."""
        with contextlib.suppress(OSError, ValueError):
            last = int((self._folder / "port").read_text())
            with socket.create_server((_HOST, last)):
                pass
            yield last
        for _ in range(_PORT_TRIES):
            with socket.create_server((_HOST, 0)) as server:
                port: int = server.getsockname()[1]
            yield port

    def _spawn(self, binary: Path, port: int) -> subprocess.Popen[bytes]:
        command = [str(binary), "--dbpath", str(self._database_path), "--port", str(port), "--bind_ip", _HOST]
        command += ["--replSet", REPLICA_SET, "--oplogSize", str(_OPLOG_MIB), "--nounixsocket", "--quiet"]
        command += ["--wiredTigerCacheSizeGB", str(self._cache_mib / 1024)]
        command += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        command += ["--logpath", str(self._log), "--logappend", "--pidfilepath", str(self._folder / "mongod.pid")]
        if sys.platform == "linux" and sys.executable:
            command = [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *command]
        with contextlib.suppress(FileNotFoundError):
            self._log.replace(self._log.with_suffix(".log.1"))
        with self._log.open("ab") as log:
            # A session of its own, so that Ctrl-C at the terminal reaches us and not the database below us.
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
            )

    async def _ready(self, process: subprocess.Popen[bytes], port: int) -> bool:
        """Wait until it takes writes; False when another process took the port first."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                while process.poll() is None:
                    with contextlib.suppress(ConnectionFailure):
                        if _accepts(port):
                            await become_primary(f"{_HOST}:{port}", set_name=REPLICA_SET, pid=process.pid)
                            return True
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise MongodUnavailable(f"mongod is not ready after {_START_SECONDS:.0f} s; see {self._log}.") from None
        if process.returncode == _EXIT_PORT_TAKEN:
            return False
        raise self._why(process.returncode)

    def _why(self, code: int) -> MongodUnavailable | FolderInUse:
        """The error for a mongod that ended by itself; its log has the reason."""
        reason = _last_error(self._log)
        if "DBPathInUse" in reason:
            return self._in_use((self._database_path / "mongod.lock").read_text().strip())
        if code == _EXIT_OTHER_VERSION:
            return MongodUnavailable(
                f"The data in {self._database_path} are of another version of MongoDB than this mongod: {reason}"
            )
        if code == -signal.SIGILL:
            reason = "this processor lacks instructions that it needs (AVX)"
        return MongodUnavailable(
            f"mongod ended with code {code}: {reason or 'no reason given'}. The log is {self._log}. "
            f"Another program can be named in {BINARY_VARIABLE}, or a MongoDB that is already running in MONGO_URI."
        )


def uri_of_running(data_dir: Path) -> str | None:
    """The URI of the mongod that another process runs in this data folder now; None when none answers."""
    try:
        port = int((data_dir.absolute() / "mongod" / "port").read_text())
    except (OSError, ValueError):
        return None
    return _uri(port) if _accepts(port) else None


def _uri(port: int) -> str:
    return f"mongodb://{_HOST}:{port}/{DATABASE}?replicaSet={REPLICA_SET}&directConnection=true"


async def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for something that another process does; tells whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((_HOST, port), timeout=1):
            return True
    except OSError:
        return False


def _last_error(log: Path) -> str:
    """The last error that mongod wrote, as text. Lines that are not JSON come from the loader of programs."""
    found = ""
    for line in log.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            found = line or found
            continue
        if entry.get("s") in ("E", "F"):
            error = entry.get("attr", {}).get("error", "")
            found = f"{entry.get('msg', '')}: {error}"
    return found
