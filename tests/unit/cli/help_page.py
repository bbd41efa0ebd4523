"""The help texts in docs/cli.md. `python -m tests.unit.cli.help_page` puts the present ones into the page."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import typer.main

from growi_transfer.cli.main import app, run

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"
BLOCK = re.compile(r"```console\n\$ growi-transfer ?([a-z ]*?) ?--help\n.*?```\n", re.DOTALL)


def commands() -> list[str]:
    """Every command and group, as typed after `growi-transfer`."""

    def below(command: object, path: tuple[str, ...]) -> Iterator[str]:
        yield " ".join(path)
        for name, child in getattr(command, "commands", {}).items():
            yield from below(child, (*path, name))

    return list(below(typer.main.get_command(app), ()))


def help_of(command: str) -> str:
    """What `--help` prints on a screen of 80 columns."""
    with mock.patch.dict(os.environ, {"COLUMNS": "80"}), redirect_stdout(io.StringIO()) as shown:
        assert run([*command.split(), "--help"], {}) == 0
    return shown.getvalue()


def with_present_help(page: str) -> str:
    def block(found: re.Match[str]) -> str:
        name = f"growi-transfer {found.group(1)}".strip()
        return f"```console\n$ {name} --help\n{help_of(found.group(1))}```\n"

    return BLOCK.sub(block, page)


if __name__ == "__main__":
    PAGE.write_text(with_present_help(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
