"""Two wikis with a server each, as separate processes: what the demo and the benchmark work on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import growi_transfer
from growi_transfer.demo.client import Client
from growi_transfer.demo.compare import Side
from growi_transfer.mongo.embedded import DATABASE, EmbeddedMongod
from growi_transfer.protocol.errors import OperatorFault
from growi_transfer.protocol.growi_config import ENVIRONMENT_NAMES

T = TypeVar("T")
PASSWORD_SEED = "demo seed"  # noqa: S105 - of wikis that do not exist
GROWI_VERSION = "7.3.0"
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.02
_LOG_LINES = 15
_OWN_NAMES = ("MONGO_URI", "MONGOD_BINARY", "PASSWORD_SEED", "GROWI_VERSION", *ENVIRONMENT_NAMES)

# The server must not outlive the demo, however that ends. Runs in a process of its own: see mongo.embedded.
_TETHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG, kept over exec
if os.getppid() != int(sys.argv[1]):
    sys.exit("the owner ended before the server started")
os.execv(sys.argv[2], sys.argv[2:])
"""


class Server:
    """`growi-transfer serve` in a role, with a data folder, a log and an admin token of its own."""

    def __init__(self, role: str, folder: Path, settings: Mapping[str, str]) -> None:
        self.role = role
        self.log = folder / f"{role}.log"
        self.admin_token = secrets.token_urlsafe(24)
        self._data_dir = folder / role
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def client(self) -> Client:
        return Client(self.url, self.admin_token)

    def launch(self) -> None:
        """Start the process; `wait` until it is of use."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._asked = False
        command = [sys.executable, "-m", "growi_transfer", "serve", "--role", self.role]
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *command]
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C at the terminal reaches the demo, which stops its servers in order.
            self._process = subprocess.Popen(
                command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Return once the server answers. Raises OperatorFault with the end of its log."""
        self.url = self._until(self._announced)
        self._until(self.client.healthy)

    def ask_to_stop(self) -> None:
        """`stop` without waiting. Once: a second signal would end it at once, and not in order."""
        if self._process is not None and not self._asked:
            self._asked = True
            self._process.terminate()

    def stop(self) -> None:
        """Ask it to end, and wait; by force after a minute. No effect when it is not running."""
        self.ask_to_stop()
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def peak_rss_mib(self) -> float | None:
        """The most memory it has had (VmHWM); None where the kernel does not tell."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return None
        found = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
        return None if found is None else round(int(found.split()[1]) / 1024, 1)

    def forget_peak(self) -> None:
        """Count the most memory from now on, where the kernel can (Linux)."""
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _environment(self) -> dict[str, str]:
        """Ours without what the operator has set for another wiki."""
        kept = {name: value for name, value in os.environ.items() if not _is_setting(name)}
        package = str(Path(growi_transfer.__file__).parents[1])
        kept["PYTHONPATH"] = os.pathsep.join(part for part in (package, kept.get("PYTHONPATH", "")) if part)
        return {
            **kept,
            "FILE_UPLOAD": "local",
            "PASSWORD_SEED": PASSWORD_SEED,
            "GROWI_VERSION": GROWI_VERSION,
            "GROWI_TRANSFER_HOST": "127.0.0.1",
            "GROWI_TRANSFER_PORT": "0",
            "GROWI_TRANSFER_DATA_DIR": str(self._data_dir),
            "GROWI_TRANSFER_ADMIN_TOKEN": self.admin_token,
            "GROWI_TRANSFER_ALLOWED_DESTINATIONS": "127.0.0.1",
            **self._settings,
        }

    def _announced(self) -> str:
        try:
            told = json.loads((self._data_dir / "server.json").read_text())
        except (OSError, ValueError):
            return ""
        return str(told["url"]) if told.get("pid") == self.pid else ""

    def _until(self, ask: Callable[[], T]) -> T:
        """Wait for an answer that is not empty."""
        deadline = time.monotonic() + _START_SECONDS
        while not (answer := ask()):
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                ended = self._process.returncode is not None
                self.stop()
                what = "ended" if ended else f"does not answer after {_START_SECONDS:.0f} s"
                raise OperatorFault(f"The {self.role} {what}. The end of {self.log}:\n{self.log_end()}")
            time.sleep(_POLL_SECONDS)
        return answer

    def log_end(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
        return ""


def _is_setting(name: str) -> bool:
    return name.startswith("GROWI_TRANSFER_") or name in _OWN_NAMES


@dataclass(frozen=True, slots=True)
class Instance:
    """One wiki: a private mongod, a folder of files, a server."""

    mongod: EmbeddedMongod
    uploads: Path
    server: Server

    @property
    def side(self) -> Side:
        return Side(self.mongod.uri, DATABASE, self.uploads)


@dataclass(frozen=True, slots=True)
class Pair:
    source: Instance
    destination: Instance

    def start_servers(self) -> None:
        servers = (self.destination.server, self.source.server)
        for server in servers:
            server.launch()
        for server in servers:
            server.wait()

    def stop_servers(self) -> None:
        servers = (self.source.server, self.destination.server)
        for server in servers:
            server.ask_to_stop()
        for server in servers:
            server.stop()


@contextlib.contextmanager
def open_pair(folder: Path, *, cache_mib: int = 256) -> Iterator[Pair]:
    """Two empty wikis below `folder`, their mongods running, their servers not yet. All ends with the block.

    The calling thread must live as long as the block: the mongods and servers end with it.
    """
    mongods = [EmbeddedMongod(folder / name, cache_mib=cache_mib) for name in ("source", "destination")]
    try:
        asyncio.run(_each(mongod.start() for mongod in mongods))
        instances = [
            _instance(folder / name, role, mongod)
            for name, role, mongod in zip(("source", "destination"), ("pusher", "receiver"), mongods, strict=True)
        ]
        pair = Pair(*instances)
        try:
            yield pair
        finally:
            pair.stop_servers()
    finally:
        asyncio.run(_each(mongod.stop() for mongod in mongods))


def _instance(folder: Path, role: str, mongod: EmbeddedMongod) -> Instance:
    uploads = folder / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    settings = {"MONGO_URI": mongod.uri, "GROWI_TRANSFER_UPLOADS_DIR": str(uploads)}
    return Instance(mongod, uploads, Server(role, folder, settings))


async def _each(steps: Iterable[Coroutine[None, None, None]]) -> None:
    """All of them, then the first error."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
