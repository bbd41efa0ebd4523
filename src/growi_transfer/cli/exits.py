"""The exit codes of every command. Which error gives which stands in `cli.main`."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    DONE = 0
    """Done, and verified where there was something to verify."""
    FAILED = 1
    """It did not work, and doing the same again will not help."""
    USAGE = 2
    """The command, a setting or the key is wrong; nothing was done."""
    BLOCKED = 3
    """The checks before a transfer found a reason against it; nothing was done."""
    INTERRUPTED = 4
    """Stopped on the way; the same command goes on where it stopped."""
