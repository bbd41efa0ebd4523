"""What every command works with: the settings, the services, and how a run ends early.

The first SIGINT, SIGTERM or SIGHUP asks the command to stop in order; the second ends the process at once. Nothing is
lost by that: whatever was acknowledged is durable, and the same command goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

import typer
from typer.exceptions import TyperException

from growi_transfer.cli.exits import ExitCode
from growi_transfer.cli.logs import configure_logging
from growi_transfer.cli.output import Output
from growi_transfer.cli.server_file import running_server
from growi_transfer.ledger.base import Ledger, Role, TransferRow
from growi_transfer.ledger.tally import Tally
from growi_transfer.protocol.errors import TransferNotFound
from growi_transfer.settings import Settings
from growi_transfer.web import services as web

if sys.platform != "win32":
    import uvloop

T = TypeVar("T")
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if sys.platform != "win32" else ()))


class Interrupted(Exception):
    """The command was asked to stop before it was done; running it again goes on."""


class UsageFault(TyperException):
    """The command was given something it does not take. The message never repeats what may be a secret."""

    exit_code = ExitCode.USAGE


class Jobs(Protocol):
    def has(self, transfer_id: str) -> bool:
        """Whether the transfer runs in this process."""

    async def wait(self, transfer_id: str) -> None:
        """Until the transfer no longer runs in this process; at once when it does not."""


class Pusher(web.PusherService, Protocol):
    @property
    def runner(self) -> Jobs: ...

    async def proceed(self, transfer_id: str) -> dict[str, Any]:
        """Go on with the key that is kept. Raises KeyNotKept."""

    async def take_key(self, transfer_id: str, key_string: str) -> None:
        """Keep a new key. Raises SetupDiffers for one of another destination."""

    async def leave_behind(self, transfer_id: str, codes: Sequence[str]) -> None:
        """Files that failed by one of these codes stay behind. Raises StateConflict."""

    async def purge_expired(self, retention: timedelta) -> list[str]: ...

    async def export_archive(
        self, path: Path, *, exclude_collections: Sequence[str] = (), with_attachments: bool = True
    ) -> dict[str, Any]:
        """Write the whole wiki to a new file; the answer counts what is in it."""

    async def export_growi_archive(self, path: Path, *, exclude_collections: Sequence[str] = ()) -> dict[str, Any]:
        """The database in the form that GROWI's own importer takes; the answer counts what is in it."""


class Receiver(web.ReceiverService, Protocol):
    async def purge_expired(self, retention: timedelta) -> list[str]: ...


class Orders(Protocol):
    """What other processes of this wiki have, and what they can be asked to do. See `jobs.orders`."""

    async def is_owned(self, role: Role, transfer_id: str) -> bool:
        """Whether a process that may be alive has the transfer."""

    async def is_elsewhere(self, role: Role, transfer_id: str) -> bool:
        """Whether another process than this one has it."""

    async def to_server(
        self, role: Role, transfer_id: str, verb: str, arguments: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Have the server of this wiki do it; None when none takes it."""

    async def settled(self, seconds: float | None = None) -> None:
        """Wait until every order that this process has taken is answered."""


class Services(Protocol):
    """What `wiring.open_services` yields. A role that was not asked for is None."""

    @property
    def receiver(self) -> Receiver | None: ...

    @property
    def growi(self) -> web.GrowiService | None: ...

    @property
    def pusher(self) -> Pusher | None: ...

    @property
    def tally(self) -> Tally | None: ...

    @property
    def jobs(self) -> web.JobsService | None: ...

    @property
    def board(self) -> web.Board: ...

    @property
    def ledger(self) -> Ledger: ...

    @property
    def recheck(self) -> Recheck: ...

    @property
    def instance(self) -> Callable[[], Awaitable[dict[str, Any]]]: ...

    @property
    def stored_files(self) -> StoredFiles: ...

    @property
    def keys(self) -> web.KeyService: ...

    @property
    def orders(self) -> Orders: ...


class Recheck(Protocol):
    async def check(self, body: bytes, *, data: bool = False) -> dict[str, Any]:
        """The verdict on a receipt. Raises ReceiptInvalid."""


class StoredFile(Protocol):
    """A file in the storage. See `storage.base`."""

    @property
    def path(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def modified(self) -> float | None: ...


class StoredFiles(Protocol):
    """This wiki's storage beside its documents. See `jobs.stored_files`."""

    @property
    def place(self) -> str: ...

    @property
    def kind(self) -> str: ...

    async def check(self, *, size: int, tries: int) -> Sequence[Any]: ...

    async def free_bytes(self) -> int | None: ...

    def pages(self, prefix: str = "") -> AsyncGenerator[Sequence[StoredFile], None]: ...

    async def usage(self, prefix: str = "") -> Mapping[str, Any]: ...

    def outcome(self) -> Any: ...

    def findings(self, outcome: Any, *, older_than: timedelta) -> AsyncGenerator[Any, None]: ...

    async def check_deletable(self) -> None:
        """Raises DestinationBusy or StateConflict."""

    def delete_orphans(self, outcome: Any, *, older_than: timedelta) -> AsyncGenerator[Sequence[Any], None]: ...


class OpenServices(Protocol):
    def __call__(
        self, settings: Settings, *, role: str, loopback_allowed: bool = False, serving: bool = False
    ) -> AbstractAsyncContextManager[Services]:
        """`serving`: this is the server, which goes on with what was interrupted; a command leaves that alone."""


@dataclass
class Session:
    """One run of the command. `environ` and `open_services` are given, so that a test can run it without a database."""

    environ: Mapping[str, str]
    open_services: OpenServices
    output: Output = field(default_factory=Output)
    settings_file: Path | None = None
    flags: dict[str, Any] = field(default_factory=dict)
    debug: bool = False

    def settings(self, **flags: Any) -> Settings:
        """The settings; `flags` are those of the command itself. Raises SettingInvalid."""
        return Settings.load(self.environ, self.settings_file, {**self.flags, **flags})

    def has_server(self, role: Role) -> bool:
        """Whether a server of this data folder is running that has this role."""
        server = running_server(self.settings().data_dir)
        return server is not None and server.role in ("both", role.value)

    def with_services(self, role: str, work: Callable[[Services], Awaitable[T]], settings: Settings | None = None) -> T:
        """Open the services of a role, do the work, close them. Raises Interrupted when asked to stop."""
        settings = settings or self.settings()
        configure_logging(settings, server=False)
        server = running_server(settings.data_dir)
        if server is not None and server.origin:
            # A key made here must be one that the running server takes, whatever flags that server was given.
            settings = settings.model_copy(update={"origin": server.origin})

        async def opened(signals: StopSignals) -> T:
            async with self.open_services(settings, role=role) as services:
                done = await work(services)
                # It is done, whatever comes now; closing takes a moment, and a second signal ends that too.
                signals.ask = lambda: None
            return done

        return run(opened)


def session_of(context: typer.Context) -> Session:
    session = context.find_object(Session)
    assert session is not None
    return session


class StopSignals:
    """While installed: the first signal calls `ask`, the second ends the process."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self.ask = ask
        self._asked = False

    def __enter__(self) -> StopSignals:
        for number in _STOP_SIGNALS:
            with contextlib.suppress(NotImplementedError):
                asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number in _STOP_SIGNALS:
            with contextlib.suppress(NotImplementedError):
                asyncio.get_running_loop().remove_signal_handler(number)

    def _on_signal(self) -> None:
        if self._asked:
            _kill()
        self._asked = True
        self.ask()


def run(work: Callable[[StopSignals], Awaitable[T]]) -> T:
    """Run to the end. The first signal cancels the work, unless the work puts another `ask` in its place.

    Raises Interrupted when the work was cancelled.
    """

    async def cancellable() -> T:
        task = asyncio.current_task()
        assert task is not None
        with StopSignals(task.cancel) as signals:
            return await work(signals)

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(cancellable())
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise Interrupted("Stopped before the end. The same command goes on where it stopped.") from None


def _kill() -> NoReturn:
    if sys.stderr.isatty():
        # Progress bars hide the cursor, and there is nobody left to show it again.
        sys.stderr.write("\x1b[?25h\n")
    sys.stderr.flush()
    os._exit(ExitCode.INTERRUPTED)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    return None if sys.platform == "win32" else uvloop.new_event_loop


async def find_transfer(ledger: Ledger, text: str) -> TransferRow:
    """The newest row of the transfer whose id is, or begins with, `text`. Raises TransferNotFound."""
    rows = [row for row in await ledger.list_transfers(None, 1000) if text and row.id.startswith(text.lower())]
    ids = {row.id for row in rows}
    if not ids:
        raise TransferNotFound(f"There is no transfer {text}.")
    if len(ids) > 1:
        raise TransferNotFound(f"{len(ids)} transfers begin with {text}; give more of the id.")
    return rows[0]
