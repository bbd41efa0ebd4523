"""Every command explains itself within 80 columns, with examples, and docs/cli.md shows exactly that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from growi_transfer.cli.exits import ExitCode
from growi_transfer.cli.main import app, run

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def commands() -> list[str]:
    """Every command and group, as typed after `growi-transfer`."""

    def below(command: object, path: tuple[str, ...]) -> Iterator[str]:
        yield " ".join(path)
        for name, child in getattr(command, "commands", {}).items():
            yield from below(child, (*path, name))

    return list(below(typer.main.get_command(app), ()))


@pytest.fixture
def help_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    monkeypatch.setenv("COLUMNS", "80")

    def shown(command: str) -> str:
        assert run([*command.split(), "--help"], {}) == 0
        return capsys.readouterr().out

    return shown


@pytest.mark.parametrize("command", commands())
def test_help_fits_the_screen_and_has_examples(help_of: object, command: str) -> None:
    text = help_of(command)  # type: ignore[operator]
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "Examples:" in text or "Commands:" in text
    assert "TODO" not in text
    for option in re.findall(r"^ {2}((?:-\w, )?--[\w-]+(?: / --[\w-]+)?(?: [A-Z]+)?) *$", text, re.MULTILINE):
        following = text.split(option, 1)[1].splitlines()[1]
        assert following.startswith("    "), f"{option} is not explained"


@pytest.mark.parametrize("command", commands())
def test_the_page_shows_the_help_as_it_is(help_of: object, command: str) -> None:
    name = f"growi-transfer {command}".strip()
    expected = f"```console\n$ {name} --help\n{help_of(command)}```\n"  # type: ignore[operator]
    assert expected in PAGE.read_text(encoding="utf-8"), f"docs/cli.md must have:\n{expected}"


def test_the_page_shows_no_command_that_does_not_exist() -> None:
    shown = re.findall(r"^\$ growi-transfer ?(.*?) ?--help$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(shown) == sorted(commands())


def test_the_page_has_every_exit_code() -> None:
    rows = re.findall(r"^\| `(\d)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(row) for row in rows] == [code.value for code in ExitCode]


def test_examples_are_commands_that_parse(help_of: object, tmp_path: Path) -> None:
    known = set(commands())
    for command in known:
        for line in help_of(command).splitlines():  # type: ignore[operator]
            found = re.match(r" {4}growi-transfer ([a-z]+(?: [a-z]+)?)", line)
            if found:
                assert found.group(1) in known or found.group(1).split()[0] in known, line
