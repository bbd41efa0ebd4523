"""What people give to a command besides flags: a key, which argv must never hold, and a size."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from growi_transfer.cli.plan_file import parse_rate
from growi_transfer.cli.session import Session, UsageFault
from growi_transfer.protocol.errors import PagePatternInvalid
from growi_transfer.protocol.page_paths import check_pattern
from growi_transfer.protocol.transfer_key import parse_key

KEY_ON_COMMAND_LINE = (
    "A transfer key does not belong on the command line: other users of this machine can see it there, and the shell's "
    "history keeps it. Revoke this key at the destination, and give the new one by standard input (`push -`), at the "
    "prompt, or in GROWI_TRANSFER_KEY."
)


def read_key(source: Sequence[str], given: str | None) -> str:
    """The key from where the user has it; argv is no such place. Raises UsageFault."""
    if list(source) not in ([], ["-"]):
        # Whatever was typed here is not repeated: it may be (a part of) a key.
        raise UsageFault(KEY_ON_COMMAND_LINE)
    if source:
        return sys.stdin.read(1 << 16).strip()
    if given is not None:
        return given.strip()
    if sys.stdin.isatty():
        return _prompt()
    raise UsageFault("There is no transfer key. Pipe it to `push -`, or set GROWI_TRANSFER_KEY.")


def read_new_key(session: Session, *, asked: bool) -> str | None:
    """A new key for a transfer that has one: from standard input or a prompt when it was asked for, else from
    GROWI_TRANSFER_KEY, if that is set. Raises UsageFault, TransferKeyMalformed."""
    given = session.settings().transfer_key
    if asked:
        key = _prompt() if sys.stdin.isatty() else sys.stdin.read(1 << 16).strip()
    elif given is not None:
        key = given.get_secret_value().strip()
    else:
        return None
    parse_key(key)
    return key


def parse_size(text: str) -> int:
    """Bytes per second: a number, perhaps with K, M or G (powers of 1024). Raises UsageFault."""
    try:
        return parse_rate(text)
    except ValueError as error:
        raise UsageFault(f"--bandwidth: {error}.") from None


def parse_paths(patterns: Sequence[str]) -> tuple[str, ...]:
    """Raises UsageFault."""
    try:
        return tuple(check_pattern(pattern) for pattern in patterns)
    except PagePatternInvalid as error:
        raise UsageFault(f"--exclude-path: {error.message}") from None


def _prompt() -> str:
    return str(typer.prompt("Transfer key", hide_input=True, err=True)).strip()
