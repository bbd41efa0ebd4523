"""Every command explains itself within 80 columns, with examples, and docs/cli.md shows exactly that."""

from __future__ import annotations

import re

import pytest
from tests.unit.cli.help_page import BLOCK, PAGE, commands, help_of, with_present_help

from growi_transfer.cli.exits import ExitCode


@pytest.mark.parametrize("command", commands())
def test_help_fits_the_screen_and_has_examples(command: str) -> None:
    text = help_of(command)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "Examples:" in text or "Commands:" in text
    for option in re.findall(r"^ {2}((?:-\w, )?--[\w-]+(?: / --[\w-]+)?(?: [A-Z]+)?) *$", text, re.MULTILINE):
        following = text.split(option, 1)[1].splitlines()[1]
        assert following.startswith("    "), f"{option} is not explained"


def test_examples_are_commands_that_exist() -> None:
    known = set(commands())
    for command in known:
        for words in re.findall(r"^ {4}growi-transfer ((?:[a-z]+ ?)+)", help_of(command), re.MULTILINE):
            first, *rest = words.split()
            assert first in known
            assert f"{first} {rest[0]}" in known if first in ("key", "transfers") else True


def test_the_page_shows_the_help_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_present_help(page), "run: python -m tests.unit.cli.help_page"


def test_the_page_has_every_command_once() -> None:
    assert sorted(BLOCK.findall(PAGE.read_text(encoding="utf-8"))) == sorted(commands())


def test_the_page_has_every_exit_code() -> None:
    rows = re.findall(r"^\| `(\d)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(row) for row in rows] == [code.value for code in ExitCode]
