"""One map from errors to exit codes, for every error there is; and no traceback for a user."""

from __future__ import annotations

import io
import json

import pytest
from tests.fakes.cli import Wiki

from growi_transfer.cli.exits import ExitCode
from growi_transfer.cli.main import exit_code, run
from growi_transfer.cli.session import Interrupted, UsageFault
from growi_transfer.protocol.errors import (
    DatabaseUnavailable,
    DigestMismatch,
    PeerRefused,
    TransferError,
    TransferKeyMalformed,
    all_errors,
)

USAGE = {"key_not_kept", "setting_invalid", "transfer_key_invalid"}
BLOCKED = {"blocked", "growi_incompatible_to_transfer", "destination_not_allowed"}
GOES_ON = {
    "digest_mismatch",
    "source_changed",
    "rate_limited",
    "unavailable",
    "storage_unavailable",
    "database_unavailable",
    "peer_unavailable",
    "insufficient_space",
    "storage_full",
    "database_full",
}


def made(kind: type[TransferError]) -> TransferError:
    return kind("said", code="peer_said", status=409) if kind is PeerRefused else kind("said")


@pytest.mark.parametrize("kind", sorted(all_errors(), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_every_error_has_its_exit_code(kind: type[TransferError]) -> None:
    if kind.code in USAGE:
        expected = ExitCode.USAGE
    elif kind.code in BLOCKED:
        expected = ExitCode.BLOCKED
    elif kind.code in GOES_ON or kind.retryable:
        expected = ExitCode.INTERRUPTED
    else:
        expected = ExitCode.FAILED
    assert exit_code(made(kind)) is expected


def test_the_numbers_are_the_documented_ones() -> None:
    assert [code.value for code in ExitCode] == [0, 1, 2, 3, 4]


def test_a_peers_refusal_goes_by_whether_it_can_be_tried_again() -> None:
    assert exit_code(PeerRefused("x", code="x", status=429, retryable=True)) is ExitCode.INTERRUPTED
    assert exit_code(PeerRefused("x", code="x", status=400)) is ExitCode.FAILED


def test_errors_that_are_not_ours() -> None:
    assert exit_code(Interrupted()) is ExitCode.INTERRUPTED
    assert exit_code(KeyboardInterrupt()) is ExitCode.INTERRUPTED
    assert exit_code(UsageFault("x")) is ExitCode.USAGE
    assert exit_code(RuntimeError()) is ExitCode.FAILED


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DatabaseUnavailable("MongoDB is away."), 4),
        (DigestMismatch(), 4),
        (TransferKeyMalformed("Not a key."), 2),
        (PeerRefused("No.", code="peer_word", status=500), 1),
        (RuntimeError("a bug"), 1),
        (KeyboardInterrupt(), 4),
    ],
)
def test_a_command_that_fails_says_so_in_one_line(
    wiki: Wiki, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    wiki.fails = error
    assert wiki.run("transfers", "list") == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert len(shown.err.splitlines()) == 1
    assert wiki.run("transfers", "list", "--json") == code
    shown = capsys.readouterr()
    assert shown.err == ""
    told = json.loads(shown.out)
    assert told["ok"] is False
    assert told["error"]["code"]
    assert told["error"]["message"]


@pytest.mark.parametrize(
    "arguments", [["push", "--json", "--nope"], ["push", "--volumes", "33", "--json"], ["go", "--json"]]
)
def test_a_command_line_that_cannot_be_parsed_is_json_for_a_script(
    wiki: Wiki, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert wiki.run(*arguments) == 2
    shown = capsys.readouterr()
    assert shown.err == ""
    assert json.loads(shown.out)["error"]["code"] == "usage"


def test_the_line_has_message_and_code(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    wiki.fails = PeerRefused("The other side said no.", code="peer_word", status=500)
    wiki.run("transfers", "list")
    assert capsys.readouterr().err == "error: The other side said no. (peer_word)\n"


def test_a_refused_key_says_what_to_do(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    wiki.fails = PeerRefused("Invalid transfer key", code="invalid_transfer_key", status=403)
    assert wiki.run("transfers", "list") == 1
    shown = capsys.readouterr().err
    assert "Ask there for a new one. (invalid_transfer_key)" in shown


def test_debug_shows_where(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    wiki.fails = DatabaseUnavailable("MongoDB is away.")
    assert wiki.run("--debug", "transfers", "list") == 4
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["transfers", "show"],
        ["push", "--volumes", "0"],
        ["push", "--no-such-option"],
        ["serve", "--role", "wizard"],
        ["key", "revoke"],
        ["push", "--bandwidth", "fast"],
    ],
)
def test_wrong_usage_is_2_and_shown_without_a_traceback(
    wiki: Wiki, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert wiki.run(*arguments) == 2
    shown = capsys.readouterr()
    assert shown.err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in shown.err
    assert wiki.opened == []


def test_a_wrong_setting_is_2_and_named(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    assert wiki.run("transfers", "list", GROWI_TRANSFER_PORT="many") == 2
    assert "GROWI_TRANSFER_PORT" in capsys.readouterr().err
    assert wiki.run("--settings", "/does/not/exist.toml", "transfers", "list") == 2
    assert "/does/not/exist.toml" in capsys.readouterr().err
    assert wiki.opened == []


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"], {}) == 0
    assert capsys.readouterr().out.startswith("growi-transfer ")


def test_a_reader_that_goes_away_is_no_error(wiki: Wiki, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    assert wiki.run("transfers", "list") == 0
    assert wiki.run("transfers", "list", "--json") == 0
