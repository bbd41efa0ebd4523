"""The order to commit, given to the `push --follow` that runs: typed at its terminal, or sent as a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from growi_transfer.cli.output import Output
from growi_transfer.protocol.errors import TransferError

WORD = "commit"
"""What has to be typed: a key pressed by accident must not swap a wiki."""


def how(transfer_id: str) -> Iterator[str]:
    """Lines that tell the operator what he can do."""
    yield "This goes on catching up with the source. When its time has come, commit:"
    yield f"  growi-transfer transfers commit {transfer_id[:8]}"
    if sys.stdin.isatty():
        yield f"  or type {WORD} here, and press Enter"
    if hasattr(signal, "SIGUSR1"):
        yield f"  or kill -USR1 {os.getpid()}"


@contextmanager
def orders_taken(output: Output, order: Callable[[], Awaitable[object]]) -> Iterator[None]:
    """While open, the word or the signal makes the order. An order that cannot be taken yet is told, and may be given
    again."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def give() -> None:
        try:
            await order()
            output.note("The commit is ordered: a last pass, and then the swap.")
        except TransferError as error:
            output.note(f"This cannot be committed now: {error.message}")

    def ask() -> None:
        task = asyncio.ensure_future(give())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    terminal: int | None = None
    with suppress(OSError, ValueError):
        terminal = sys.stdin.fileno() if sys.stdin.isatty() else None

    def typed() -> None:
        assert terminal is not None
        if os.tcgetpgrp(terminal) != os.getpgrp():
            return  # in the background the line is meant for somebody else
        line = os.read(terminal, 1 << 10)
        if not line:
            loop.remove_reader(terminal)
        elif line.strip().decode(errors="replace").lower() == WORD:
            ask()

    with suppress(NotImplementedError, AttributeError):
        loop.add_signal_handler(signal.SIGUSR1, ask)
    if terminal is not None:
        with suppress(NotImplementedError, OSError):
            loop.add_reader(terminal, typed)
    try:
        yield
    finally:
        with suppress(NotImplementedError, AttributeError):
            loop.remove_signal_handler(signal.SIGUSR1)
        if terminal is not None:
            with suppress(NotImplementedError, OSError):
                loop.remove_reader(terminal)
        for task in tasks:
            task.cancel()
