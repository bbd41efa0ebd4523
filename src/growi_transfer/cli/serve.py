"""`growi-transfer serve`: the server of one wiki, as source, destination or both."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from growi_transfer.cli.logs import configure_logging
from growi_transfer.cli.session import run, session_of


class ServeRole(StrEnum):
    BOTH = "both"
    RECEIVER = "receiver"
    PUSHER = "pusher"


def serve(
    context: typer.Context,
    role: Annotated[
        ServeRole, typer.Option("--role", metavar="ROLE", help="both, receiver or pusher.")
    ] = ServeRole.BOTH,
    host: Annotated[
        str | None,
        typer.Option(
            "--host", metavar="ADDRESS", help="Address to listen on (GROWI_TRANSFER_HOST).", show_default=False
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            metavar="N",
            help="Port; 0 takes a free one (GROWI_TRANSFER_PORT).",
            show_default=False,
        ),
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option("--origin", metavar="URL", help="Address for others (GROWI_TRANSFER_ORIGIN).", show_default=False),
    ] = None,
) -> None:
    """Serve this wiki's transfer routes and the watch page.

    The first start prints the admin token, once. The first Ctrl-C (or SIGTERM) stops in order, the second at once;
    transfers go on at the next start.

    \b
    Examples:
      growi-transfer serve
      growi-transfer serve --role receiver --port 0
      growi-transfer serve --host 0.0.0.0 --origin http://10.0.0.5:3400
    """
    session = session_of(context)
    settings = session.settings(host=host, port=port, origin=origin)
    configure_logging(settings, server=True)
    # Imported only here: web server and Socket.IO take time and memory that the other commands need not spend.
    from growi_transfer.cli.server import serve_wiki

    run(lambda signals: serve_wiki(session, settings, role.value, signals))
