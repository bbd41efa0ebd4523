"""The command `growi-transfer`: what belongs to every command, and the one map from errors to exit codes."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from growi_transfer import __version__
from growi_transfer.cli import export, jobs, key, push, receipt, serve, storage, transfers
from growi_transfer.cli.exits import ExitCode
from growi_transfer.cli.inputs import KEY_ON_COMMAND_LINE
from growi_transfer.cli.memory import bound_arenas, spare_collector
from growi_transfer.cli.output import Output, silence
from growi_transfer.cli.session import Interrupted, OpenServices, Services, Session, UsageFault, session_of
from growi_transfer.protocol.errors import (
    Blocked,
    DestinationNotAllowed,
    Incompatible,
    InsufficientSpace,
    KeyNotKept,
    SettingInvalid,
    TransferError,
    TransferKeyMalformed,
    code_of,
    is_retryable,
)
from growi_transfer.protocol.transfer_key import SEPARATOR
from growi_transfer.settings import Settings

_KEY_REFUSED = (
    "The destination does not take this transfer key: it is wrong, has ended or was revoked. Ask there for a new one."
)
"""In place of GROWI's own message, which says no more than its code."""


class _InOrder(TyperGroup):
    """Commands in the order in which people meet them."""

    def list_commands(self, ctx: Any) -> list[str]:
        order = ("demo", "serve", "key", "push", "transfers", "receipt", "storage", "export", "import", "bench")
        return [name for name in order if name in self.commands]


app = typer.Typer(
    cls=_InOrder,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


def exit_code(error: BaseException) -> ExitCode:
    """The one map from errors to exit codes."""
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        return ExitCode.INTERRUPTED
    if isinstance(error, (TyperException, SettingInvalid, TransferKeyMalformed, KeyNotKept)):
        return ExitCode.USAGE
    if isinstance(error, (Blocked, Incompatible, DestinationNotAllowed)):
        return ExitCode.BLOCKED
    if is_retryable(error) or isinstance(error, InsufficientSpace):
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED


def _open_services(
    settings: Settings, *, role: str, loopback_allowed: bool = False, serving: bool = False
) -> AbstractAsyncContextManager[Services]:
    # Imported only here: the database driver and the HTTP client take longer to load than `--help` should.
    wiring = importlib.import_module("growi_transfer.wiring")
    opened: AbstractAsyncContextManager[Services] = wiring.open_services(
        settings, role=role, loopback_allowed=loopback_allowed, serving=serving
    )
    return opened


def _print_version(asked: bool) -> None:
    if asked:
        Output().result(f"growi-transfer {__version__}")
        raise typer.Exit(ExitCode.DONE)


@app.callback()
def root(
    context: typer.Context,
    settings: Annotated[
        Path | None, typer.Option("--settings", metavar="FILE", help="A TOML file with settings.", show_default=False)
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="FOLDER", help="Data folder (GROWI_TRANSFER_DATA_DIR).", show_default=False),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error.", show_default=False),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the program an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Move a whole GROWI wiki from one running instance to another, and prove that nothing is missing.

    \b
    Examples:
      growi-transfer demo              see it at work; needs no services
      growi-transfer serve             at both wikis
      growi-transfer key issue         at the destination: make a key
      growi-transfer push              at the source: paste the key

    Exit codes: 0 done and verified, 1 failed, 2 wrong usage or settings, 3 the checks before a transfer found a reason
    against it, 4 stopped on the way and ready to go on.
    """
    session = session_of(context)
    session.settings_file = settings
    session.flags = {"data_dir": data_dir, "log_level": log_level}
    session.debug = debug


for _name in ("demo", "bench"):
    if importlib.util.find_spec(f"growi_transfer.cli.{_name}") is not None:
        app.command(_name)(getattr(importlib.import_module(f"growi_transfer.cli.{_name}"), _name))
app.command("serve")(serve.serve)
app.add_typer(key.app, name="key")
app.command("push")(push.push)
app.add_typer(transfers.app, name="transfers")
app.add_typer(jobs.app, name="jobs")
app.add_typer(receipt.app, name="receipt")
app.add_typer(storage.app, name="storage")
app.command("export")(export.export_wiki)
app.command("import")(export.import_wiki)


def run(
    arguments: Sequence[str], environ: Mapping[str, str] | None = None, open_services: OpenServices | None = None
) -> int:
    """One run of the command: the exit code. Never raises, whatever the user or the machine did."""
    session = Session(os.environ if environ is None else environ, open_services or _open_services)
    try:
        # Looked at before anything parses the arguments, because a parser repeats what it does not understand.
        if any(SEPARATOR in argument for argument in arguments):
            raise UsageFault(KEY_ON_COMMAND_LINE)
        ended = app(list(arguments), prog_name="growi-transfer", standalone_mode=False, obj=session)
        # typer gives back the code of an exit, and 130 for Ctrl-C at a prompt.
        return ExitCode.INTERRUPTED if ended == 130 else int(ended or ExitCode.DONE)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (the edge of the program)
        # A command line that cannot be parsed never reaches the command, which would have noted the flag.
        session.output.json |= isinstance(error, TyperException) and "--json" in arguments
        if session.debug:
            traceback.print_exception(error)
        _tell(error, session.output)
        return exit_code(error)


def main() -> None:
    bound_arenas()
    spare_collector()
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            silence(stream)
    # Everything of ours is closed. Python would now take apart a thousand modules, which holds up each command by
    # 0.3 s for memory that the system takes back at once.
    os._exit(code)


def _tell(error: BaseException, output: Output) -> None:
    if output.reported:
        return
    code, message = _words(error)
    if output.json:
        details = dict(error.details) if isinstance(error, TransferError) else {}
        told = {"code": code, "message": message, **({"details": details} if details else {})}
        output.last({"ok": False, "error": told})
        return
    parsed = getattr(error, "ctx", None)
    if parsed is not None:
        output.note(f"{parsed.get_usage()}\nTry '{parsed.command_path} --help' for help.\n")
    output.note(f"error: {message}" + (f" ({code})" if isinstance(error, TransferError) else ""))


def _words(error: BaseException) -> tuple[str, str]:
    """Code and message."""
    if isinstance(error, TransferError):
        return code_of(error), _KEY_REFUSED if code_of(error) == "invalid_transfer_key" else error.message
    if isinstance(error, TyperException):
        return "usage", error.format_message()
    if isinstance(error, typer.Abort):
        return "aborted", "Not confirmed; nothing was done."
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        return "interrupted", str(error) or "Stopped."
    return code_of(error), f"This should not have happened ({type(error).__name__}: {error}). --debug shows where."
