"""The server process behind `growi-transfer serve`: socket, secrets, services, uvicorn, and an end in order."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta

import uvicorn

from growi_transfer import __version__
from growi_transfer.cli.output import Output
from growi_transfer.cli.server_file import announce, own_data_dir
from growi_transfer.cli.session import Session, StopSignals
from growi_transfer.protocol.errors import OperatorFault, SettingInvalid
from growi_transfer.secret_files import SecretFiles
from growi_transfer.settings import Settings
from growi_transfer.web import services as web
from growi_transfer.web.app import App, create_app

KEEP_ALIVE_SECONDS = 75
"""Longer than a peer keeps an idle connection, so that it is never the server that closes one just as it is reused."""
CONNECTIONS = 1000
"""More get 503; each one may hold a body of some MiB."""
GRACE_SECONDS = 5
"""How long a stop waits for requests under way. All of them can be sent again."""


async def serve_wiki(session: Session, settings: Settings, role: str, signals: StopSignals) -> None:
    """Serve until a signal asks to stop. Raises FolderInUse, OperatorFault, SettingInvalid, and what opening raises."""
    async with own_data_dir(settings.data_dir):
        with contextlib.closing(listening_socket(settings.host, settings.port)) as bound:
            settings = settings.model_copy(update={"port": bound.getsockname()[1]})
            origin = "" if role == "pusher" and settings.origin is None else settings.public_origin()
            files = SecretFiles(settings.data_dir)
            secrets = settings.secrets or files.signing_secrets()
            token = _admin_token(settings, files, session.output)
            async with session.open_services(settings, role=role, serving=True) as services:
                served = web.Services(
                    board=services.board,
                    ledger=services.ledger,
                    admin_token=token,
                    session_secrets=[secret.get_secret_value() for secret in secrets],
                    data_dir=settings.data_dir,
                    version=__version__,
                    receiver=services.receiver if role != "pusher" else None,
                    growi=services.growi if role != "pusher" else None,
                    pusher=services.pusher if role != "receiver" else None,
                    instance=services.instance,
                    recheck=services.recheck,
                    is_owned=services.orders.is_owned,
                    jobs=services.jobs,
                    tally=services.tally,
                    metrics_token=settings.metrics_token.get_secret_value() if settings.metrics_token else None,
                    retention=timedelta(days=settings.retention_days),
                )
                url = local_url(bound)

                def started() -> None:
                    announce(settings.data_dir, url, role, origin)
                    session.output.result(f"listening on {url}")

                # Opened here and not by the app, so that what goes wrong arrives as an error and not as an exit.
                server = _Server(create_app(lambda: contextlib.nullcontext(served)), started)
                signals.ask = server.ask_to_stop
                try:
                    await server.serve(sockets=[bound])
                except SystemExit:
                    raise OperatorFault("The server could not start; the log has the reason.") from None


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket bound to the address, not yet accepting. Raises SettingInvalid, OperatorFault."""
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        raise SettingInvalid(
            f"GROWI_TRANSFER_HOST: {host} is no address of this machine.", setting="GROWI_TRANSFER_HOST"
        ) from None
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise OperatorFault(f"Cannot listen on {host}, port {port}: {error.strerror}.", host=host, port=port) from error
    bound.set_inheritable(False)
    return bound


def local_url(bound: socket.socket) -> str:
    """An address at which this machine reaches the socket."""
    host, port = bound.getsockname()[:2]
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"http://{f'[{address}]' if address.version == 6 else address}:{port}"


def _admin_token(settings: Settings, files: SecretFiles, output: Output) -> str:
    if settings.admin_token is not None:
        return settings.admin_token.get_secret_value()
    admin = files.admin_token()
    if admin.created:
        output.result(f"admin token (shown once, kept in {files.admin_token_path}): {admin.token.get_secret_value()}")
    return admin.token.get_secret_value()


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: those end the process before our parts are closed."""

    def __init__(self, app: App, started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="auto",  # httptools where there is one
                loop="none",  # there is a loop already
                lifespan="on",
                # An access log repeats addresses with whatever stands in them; ours logs what happened instead.
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
                limit_concurrency=CONNECTIONS,
                ws_max_size=1 << 20,
                # Each connection would deflate the same text anew, with a window of its own.
                ws_per_message_deflate=False,
                h11_max_incomplete_event_size=64 << 10,
            )
        )
        self._app = app
        self._tell = started
        self._releasing: asyncio.Task[None] | None = None

    def ask_to_stop(self) -> None:
        self.should_exit = True
        self._releasing = asyncio.get_running_loop().create_task(self._app.release_watchers())

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._tell()
