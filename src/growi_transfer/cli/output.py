"""Where a command's words go: results to standard output, everything else to standard error.

A reader that goes away (`| head`) ends the output, never the work: a transfer runs on, and its exit code stands.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import Any, TextIO
from unicodedata import category

import orjson

FACT_COLUMN = 13
"""Where values begin in a list of facts, such as that of `transfers show`."""


class Output:
    """`json`: results are one JSON value a line, and errors are too."""

    def __init__(self) -> None:
        self.json = False
        self.reported = False
        """Whether the last line, which a script reads, has been written."""

    @property
    def interactive(self) -> bool:
        """Whether a person can be asked and sees bars."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def result(self, text: str) -> None:
        self._write(sys.stdout, text)

    def fact(self, text: str) -> None:
        """A line of a list of facts. On a terminal what follows a line goes below its value."""
        if sys.stdout.isatty() and len(text) > (width := shutil.get_terminal_size().columns):
            text = _wrapped(text, width, indent=" " * FACT_COLUMN)
        self._write(sys.stdout, text)

    def note(self, text: str) -> None:
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns
            text = "\n".join(_wrapped(line, width) for line in text.split("\n"))
        self._write(sys.stderr, text)

    def shown(self, text: str, *, result: bool) -> None:
        """Lines that fit the terminal already, as they are."""
        self._write(sys.stdout if result else sys.stderr, text)

    def value(self, value: Any) -> None:
        self._write(sys.stdout, orjson.dumps(value, default=str).decode())

    def values(self, values: Iterable[Any]) -> None:
        """Several at once."""
        self._write(sys.stdout, "\n".join(orjson.dumps(value, default=str).decode() for value in values))

    def last(self, value: Any) -> None:
        """The last line of a run with `--json`."""
        self.value(value)
        self.reported = True

    def _write(self, stream: TextIO, text: str) -> None:
        try:
            stream.write(text + "\n")
            stream.flush()
        except UnicodeEncodeError:
            stream.write(text.encode("ascii", "backslashreplace").decode() + "\n")
            stream.flush()
        except BrokenPipeError:
            silence(stream)


def _wrapped(line: str, width: int, *, indent: str = "") -> str:
    if len(line) <= width:
        return line
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def silence(stream: TextIO) -> None:
    """Send what is still to come to nowhere, so that nothing fails on the way out either."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def clean(text: object) -> str:
    """The text without control and format characters: a name, or what a peer says, must not move the cursor."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if category(letter)[0] in "CZ" and letter not in " \u3000" else letter
        for letter in str(text)
    )


def count(number: int) -> str:
    return f"{number:,}"


def size(number: float) -> str:
    """Bytes as people read them, in powers of 1024."""
    unit = "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:,.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of left-aligned columns; no line has spaces at its end."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    ]
