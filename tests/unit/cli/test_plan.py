"""A plan on a screen and in a file: what is shown, what is written, and what is read back."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.cli import CLEAN, KEY, Wiki

from growi_transfer.cli.plan import render
from growi_transfer.cli.plan_file import options_from, parse_plan, write_plan
from growi_transfer.protocol.errors import SettingInvalid, TransferError
from growi_transfer.protocol.names import check_collection
from growi_transfer.protocol.page_paths import check_pattern
from growi_transfer.pusher.options import PushOptions

ORIGIN = "http://destination.test:8080"
WARNING = {"code": "destination_not_empty", "message": "Three pages\nwould be replaced.", "details": {}}
BLOCKER = {"code": "version_mismatch", "message": "The versions differ.", "details": {}}


def is_collection(name: str) -> bool:
    try:
        return bool(check_collection(name))
    except TransferError:
        return False


def is_pattern(pattern: str) -> bool:
    try:
        return check_pattern(pattern) == pattern
    except TransferError:
        return False


any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
options = st.builds(
    PushOptions,
    volumes=st.integers(1, 32),
    attachments=st.integers(1, 64),
    bandwidth=st.none() | st.integers(1, 1 << 40),
    exclude_collections=st.lists(any_text.filter(is_collection), max_size=3).map(tuple),
    exclude_paths=st.lists(any_text.map("/{}".format).filter(is_pattern), max_size=3).map(tuple),
    accept_warnings=st.lists(any_text, max_size=3).map(tuple),
    commit=st.booleans(),
    deep=st.booleans(),
    attachments_first=st.booleans(),
)
reports = st.fixed_dictionaries(
    {
        "collections": st.lists(
            st.fixed_dictionaries({"name": any_text, "documents": st.just(3), "bytes": st.just(4)}), max_size=3
        ),
        "warnings": st.lists(st.fixed_dictionaries({"code": any_text, "message": any_text}), max_size=3),
        "blockers": st.lists(st.fixed_dictionaries({"code": any_text, "message": any_text}), max_size=2),
        "checked_at": any_text,
    }
)


@given(reports, options)
def test_a_saved_plan_is_read_as_what_it_was_made_of(report: dict[str, Any], chosen: PushOptions) -> None:
    table = tomllib.loads(write_plan(report, chosen, ORIGIN))
    plan = parse_plan(table, "a test")
    assert plan.destination == ORIGIN
    assert options_from({}, plan) == chosen


def test_what_was_accepted_at_once_is_saved_by_name() -> None:
    text = write_plan({**CLEAN, "warnings": [WARNING]}, PushOptions(accept_all=True), ORIGIN)
    assert tomllib.loads(text)["accept"] == ["destination_not_empty"]
    assert '  # "pages",  # 7 documents, 1.5 KiB' in text.splitlines()
    asked = write_plan({**CLEAN, "warnings": [WARNING]}, PushOptions(), ORIGIN)
    assert tomllib.loads(asked)["accept"] == []
    uncommented = asked.replace('# "destination_not_empty"', '"destination_not_empty"').replace(
        '# "/trash"', '"/trash"'
    )
    plan = parse_plan(tomllib.loads(uncommented), "edited")
    assert (plan.accept, plan.exclude_paths) == (["destination_not_empty"], ["/trash"])


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('exclude_colections = ["a"]', "exclude_colections"),
        ("volumes = 0", "volumes"),
        ('volumes = "3"', "volumes"),
        ("attachments = 65", "attachments"),
        ('bandwidth = "fast"', "bandwidth"),
        ("bandwidth = 0", "bandwidth"),
        ("bandwidth = true", "bandwidth"),
        ('commit = "yes"', "commit"),
        ('exclude_paths = ["trash"]', "exclude_paths"),
        ('exclude_paths = "/trash"', "exclude_paths"),
        ('exclude_collections = ["system.users"]', "exclude_collections"),
        ("accept = [1]", "accept"),
        ("destination = 7", "destination"),
        ("[transfer]\nkey = 1", "transfer"),
    ],
)
def test_a_wrong_key_is_named(
    tmp_path: Path, wiki: Wiki, capsys: pytest.CaptureFixture[str], text: str, key: str
) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    assert wiki.run("push", "--config", str(path), GROWI_TRANSFER_KEY=KEY) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {key}")
    assert str(path) in shown
    assert wiki.opened == []


@pytest.mark.parametrize("content", [b"volumes = ", b"\xff\xfe", None])
def test_a_file_that_is_no_plan(
    tmp_path: Path, wiki: Wiki, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    path = tmp_path / "plan.toml"
    if content is not None:
        path.write_bytes(content)
    assert wiki.run("push", "--config", str(path), GROWI_TRANSFER_KEY=KEY) == 2
    assert "plan.toml" in capsys.readouterr().err


def test_a_typo_is_guessed() -> None:
    with pytest.raises(SettingInvalid, match="Did you mean exclude_paths"):
        parse_plan({"exclude_path": []}, "a test")


def test_flags_win_over_the_file(tmp_path: Path, wiki: Wiki) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        f'destination = "{ORIGIN}"\nexclude_collections = ["logs"]\nexclude_paths = ["/trash"]\nvolumes = 5\n'
        'attachments = 6\nbandwidth = "2M"\ncommit = false\ndeep = true\naccept = ["a"]\n'
    )
    assert wiki.run("push", "--plan", "--config", str(path), GROWI_TRANSFER_KEY=KEY) == 0
    expected = PushOptions(
        volumes=5,
        attachments=6,
        bandwidth=2 << 20,
        exclude_collections=("logs",),
        exclude_paths=("/trash",),
        accept_warnings=("a",),
        commit=False,
        deep=True,
    )
    assert [arguments["options"] for _, arguments in wiki.pusher.calls] == [expected]
    wiki.pusher.calls.clear()
    flags = ["--plan", "--volumes", "7", "--commit", "--exclude-path", "/x/", "--exclude-path", "/y", "--accept", "b"]
    assert wiki.run("push", "--config", str(path), *flags, GROWI_TRANSFER_KEY=KEY) == 0
    options = wiki.pusher.calls[0][1]["options"]
    assert (options.volumes, options.attachments, options.commit) == (7, 6, True)
    assert (options.exclude_paths, options.accept_warnings) == (("/x", "/y"), ("b",))


def test_a_plan_for_another_destination(tmp_path: Path, wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('destination = "http://elsewhere.test"\n')
    assert wiki.run("push", "--config", str(path), GROWI_TRANSFER_KEY=KEY) == 2
    assert "http://elsewhere.test" in capsys.readouterr().err
    assert wiki.opened == []


def test_saving(tmp_path: Path, wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.toml"
    save = ("--save", str(path))
    assert wiki.run("push", *save, GROWI_TRANSFER_KEY=KEY) == 2
    assert wiki.run("push", "--plan", "--save", str(tmp_path / "no" / "plan"), GROWI_TRANSFER_KEY=KEY) == 2
    assert wiki.opened == []
    assert wiki.run("push", "--plan", *save, "--exclude-collection", "logs", GROWI_TRANSFER_KEY=KEY) == 0
    assert tomllib.loads(path.read_text())["exclude_collections"] == ["logs"]
    assert "token" not in path.read_text()
    assert wiki.run("push", "--plan", *save, GROWI_TRANSFER_KEY=KEY) == 2
    assert "exists already" in capsys.readouterr().err
    path.unlink()
    # A plan that is blocked is saved as well: the exclusions that make it possible are edited into it.
    wiki.pusher.report = {**CLEAN, "blockers": [BLOCKER]}
    assert wiki.run("push", "--plan", *save, GROWI_TRANSFER_KEY=KEY) == 3
    assert "# Blocker version_mismatch: The versions differ." in path.read_text()


@pytest.mark.parametrize("pattern", ["trash", "/a//b", "/a**b"])
def test_a_wrong_page_path_is_wrong_usage(wiki: Wiki, capsys: pytest.CaptureFixture[str], pattern: str) -> None:
    assert wiki.run("push", "--exclude-path", pattern, "--json", GROWI_TRANSFER_KEY=KEY) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"
    assert wiki.opened == []


def test_the_whole_plan_fits_into_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    hostile = {"name": "x" * 150 + "[red]\x1b[2J\u202e", "kind": "capped", "documents": 1 << 40, "bytes": 1 << 50}
    report = {**CLEAN, "collections": [*CLEAN["collections"], hostile], "warnings": [WARNING], "blockers": [BLOCKER]}
    shown = render(report, accepted=(), whole=True, colour=False)
    assert max(map(len, shown.splitlines())) <= 80
    assert "[red]" in shown.replace("\n", "")
    assert not {"\x1b", "\u202e"} & set(shown)
    for text in ("attachments below /trash", "state of the running server", "about 1 min 30 s", "45.0 MiB/s", "2 of 4"):
        assert text in shown
    assert "--accept" not in shown
