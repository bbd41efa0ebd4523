"""`push`: where the key comes from, what stops it before it starts, and what a script reads at its end."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.fakes.cli import CLEAN, KEY, Wiki
from tests.fakes.web import TRANSFER

from growi_transfer.cli.inputs import parse_size
from growi_transfer.cli.session import UsageFault
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import Snapshot

WARNING = {"code": "password_seed_mismatch", "message": "The seeds differ.", "details": {}}
BLOCKER = {"code": "version_mismatch", "message": "The versions differ.", "details": {"src": "7.3.0", "dest": "8.0.0"}}
WAY = (State.COPYING, State.RECONCILING, State.VERIFYING, State.READY, State.COMMITTING, State.COMPLETED)
RECEIPT = {
    "documents": 10,
    "document_bytes": 9 << 20,
    "attachments": 2,
    "attachment_bytes": 1 << 20,
    "seconds": 4.0,
    "mongo_seconds": 2.0,
    "attachment_seconds": 1.0,
    "verify_seconds": 0.5,
    "verified": {"collections": 3, "indexes": 9, "attachments": 2, "mismatches": 0},
    "peak_rss_mib": {"receiver": 101.5},
}


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    shown = capsys.readouterr()
    assert shown.err == ""
    return [json.loads(line) for line in shown.out.splitlines()]


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


# where the key comes from


@pytest.mark.parametrize(
    "arguments",
    [
        ["push", KEY],
        ["push", "--key", KEY],
        [f"push={KEY}"],
        ["push", "-", KEY],
        ["key", "issue", KEY],
        [KEY],
        ["--settings", KEY, "push"],
        ["push", "token-without-its-end"],
        ["push", "-", "token-without-its-end"],
    ],
)
def test_a_key_on_the_command_line_is_refused_and_not_repeated(
    wiki: Wiki, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert wiki.run(*arguments, GROWI_TRANSFER_KEY=KEY) == 2
    shown = capsys.readouterr()
    assert "token" not in shown.out + shown.err
    assert "command line" in shown.err
    assert "Revoke" in shown.err
    assert wiki.opened == []


def test_the_key_from_standard_input(wiki: Wiki, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, f"  {KEY}\n")
    wiki.pushes(*WAY)
    assert wiki.run("push", "-", GROWI_TRANSFER_KEY="another__grw_internal_tranferkey__http://other") == 0
    assert {arguments["key_string"] for _, arguments in wiki.pusher.calls} == {KEY}


def test_one_that_follows_waits_for_an_order(
    wiki: Wiki, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    type_in(monkeypatch, KEY)
    wiki.pushes(*WAY)
    assert wiki.run("push", "-", "--follow", "--freeze", "--attachments-first") == 0
    options = wiki.pusher.calls[-1][1]["options"]
    assert (options.follow, options.freeze, options.attachments_first, options.commit) == (True, True, True, True)
    assert "transfers commit" in capsys.readouterr().err


def test_following_without_a_commit_is_no_use(wiki: Wiki, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, KEY)
    assert wiki.run("push", "-", "--follow", "--no-commit") == 2


def test_the_key_from_the_environment(wiki: Wiki, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, "")
    wiki.pushes(*WAY)
    assert wiki.run("push", GROWI_TRANSFER_KEY=f"{KEY}\n") == 0
    assert [arguments["key_string"] for _, arguments in wiki.pusher.calls] == [KEY, KEY]


def test_the_key_from_a_prompt_that_shows_nothing(
    wiki: Wiki, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    hidden: list[bool] = []

    def prompt(text: str, *, hide_input: bool, err: bool) -> str:
        hidden.append(hide_input and err)
        return KEY

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("typer.prompt", prompt)
    wiki.pushes(*WAY)
    assert wiki.run("push") == 0
    assert hidden == [True]
    shown = capsys.readouterr()
    assert "token" not in shown.out + shown.err


def test_no_key_at_all(wiki: Wiki, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    type_in(monkeypatch, "")
    assert wiki.run("push") == 2
    assert "GROWI_TRANSFER_KEY" in capsys.readouterr().err
    assert wiki.opened == []


@pytest.mark.parametrize("key", ["", "half-a-key", "a b__grw_internal_tranferkey__http://x", KEY + "/path"])
def test_a_key_that_is_none_is_2(
    wiki: Wiki, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    type_in(monkeypatch, key)
    assert wiki.run("push", "-", "--json") == 2
    [told] = lines(capsys)
    assert told["error"]["code"] == "transfer_key_invalid"
    assert wiki.opened == []


# before it starts


def test_a_blocker_is_3_and_nothing_starts(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    wiki.pusher.report = {**CLEAN, "blockers": [BLOCKER], "warnings": [WARNING]}
    assert wiki.run("push", "--yes", GROWI_TRANSFER_KEY=KEY) == 3
    shown = capsys.readouterr().err
    assert "blocker version_mismatch\n  The versions differ.\n" in shown
    assert "warning password_seed_mismatch (accepted)\n  The seeds differ.\n" in shown
    assert wiki.calls() == ["preflight"]
    assert wiki.run("push", "--yes", "--json", GROWI_TRANSFER_KEY=KEY) == 3
    [told] = lines(capsys)
    assert told["error"]["code"] == "blocked"
    assert [blocker["code"] for blocker in told["error"]["details"]["blockers"]] == ["version_mismatch"]


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ([], 3),
        (["--accept", "another_warning"], 3),
        (["--accept", "password_seed_mismatch"], 0),
        (["--yes"], 0),
        (["-y", "--json"], 0),
    ],
)
def test_a_warning_needs_consent(wiki: Wiki, monkeypatch: pytest.MonkeyPatch, flags: list[str], code: int) -> None:
    type_in(monkeypatch, "y\n")  # not a terminal: this is no consent
    wiki.pusher.report = {**CLEAN, "warnings": [WARNING]}
    wiki.pushes(*WAY)
    assert wiki.run("push", *flags, GROWI_TRANSFER_KEY=KEY) == code
    assert ("start" in wiki.calls()) == (code == 0)


@pytest.mark.parametrize(("answer", "code"), [(True, 0), (False, 3)])
def test_a_person_is_asked(wiki: Wiki, monkeypatch: pytest.MonkeyPatch, answer: bool, code: int) -> None:
    monkeypatch.setattr("growi_transfer.cli.output.Output.interactive", True)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: answer)
    wiki.pusher.report = {**CLEAN, "warnings": [WARNING]}
    wiki.pushes(*WAY)
    assert wiki.run("push", GROWI_TRANSFER_KEY=KEY) == code
    if answer:
        assert wiki.pusher.calls[-1][1]["options"].accept_warnings == ("password_seed_mismatch",)
    assert ("start" in wiki.calls()) == answer


def test_plan_sends_nothing(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    wiki.pusher.report = {**CLEAN, "warnings": [WARNING]}
    assert wiki.run("push", "--plan", GROWI_TRANSFER_KEY=KEY) == 0
    shown = capsys.readouterr()
    assert "documents    10, 2.0 KiB, in 3 collections" in shown.out
    assert "--accept password_seed_mismatch" in shown.out
    assert shown.err == ""
    assert wiki.run("push", "--plan", "--json", GROWI_TRANSFER_KEY=KEY) == 0
    [told] = lines(capsys)
    assert told["plan"] == wiki.pusher.report
    assert wiki.calls() == ["preflight", "preflight"]
    wiki.pusher.report = {**CLEAN, "blockers": [BLOCKER]}
    assert wiki.run("push", "--plan", GROWI_TRANSFER_KEY=KEY) == 3
    capsys.readouterr()
    assert wiki.run("push", "--plan", "--json", GROWI_TRANSFER_KEY=KEY) == 3
    [told] = lines(capsys)
    assert (told["ok"], told["error"]["code"], told["plan"]) == (False, "blocked", wiki.pusher.report)
    assert told["error"]["details"]["blockers"] == [BLOCKER]


def test_options_arrive(wiki: Wiki) -> None:
    wiki.pushes(State.READY)
    flags = [
        "--no-commit",
        "--volumes",
        "5",
        "--attachments",
        "7",
        "--bandwidth",
        "2M",
        "--accept",
        "a",
        "--accept",
        "b",
    ]
    flags += ["--exclude-collection", "activities", "--exclude-collection", "logs"]
    assert wiki.run("push", *flags, GROWI_TRANSFER_KEY=KEY) == 0
    for _, arguments in wiki.pusher.calls:
        options = arguments["options"]
        assert (options.volumes, options.attachments, options.bandwidth) == (5, 7, 2 << 20)
        assert options.exclude_collections == ("activities", "logs")
        assert options.accept_warnings == ("a", "b")
        assert (options.commit, options.accept_all) == (False, False)
    assert wiki.opened[0][1] == "pusher"


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("500K", 500 << 10), ("1.5m", 3 << 19), ("2G", 2 << 30)])
def test_sizes(text: str, number: int) -> None:
    assert parse_size(text) == number


@pytest.mark.parametrize("text", ["", "K", "0", "-1", "fast", "1e999", "nan", "1T"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageFault):
        parse_size(text)


# how it ends


def test_a_push_that_is_verified_and_committed_is_0(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    wiki.pushes(*WAY, receipt=RECEIPT)
    assert wiki.run("push", GROWI_TRANSFER_KEY=KEY) == 0
    shown = capsys.readouterr()
    assert "Verified and committed in 4.0 s." in shown.out
    assert "3 collections, 9 indexes, 2 attachments: 0 mismatches" in shown.out
    assert "restart GROWI" in shown.out
    assert f"transfer {TRANSFER}" in shown.err
    assert "token" not in shown.out + shown.err
    assert wiki.closed == 1


def test_the_last_line_of_a_script(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    wiki.pushes(*WAY, receipt=RECEIPT)
    assert wiki.run("push", "--yes", "--json", GROWI_TRANSFER_KEY=KEY) == 0
    *progress, last = lines(capsys)
    assert [shape["state"] for shape in progress] == [state.value for state in WAY]
    assert all(shape["id"] == TRANSFER for shape in progress)
    peak = last.pop("peak_rss_mib")
    assert last == {
        "ok": True,
        **{name: value for name, value in RECEIPT.items() if name != "peak_rss_mib"},
        "freeze_seconds": None,
        "transfer_id": TRANSFER,
        "state": "completed",
    }
    assert peak["receiver"] == 101.5
    assert 10 < peak["pusher"] < 4000


def test_what_nobody_measured_is_null(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    wiki.pushes(*WAY)
    assert wiki.run("push", "--json", GROWI_TRANSFER_KEY=KEY) == 0
    last = lines(capsys)[-1]
    assert (last["documents"], last["attachments"]) == (10, 2)
    assert last["document_bytes"] is None
    assert last["verified"] == {"collections": None, "indexes": None, "attachments": None, "mismatches": None}
    assert last["seconds"] >= 0


def test_no_commit_ends_when_verified(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    wiki.pushes(State.COPYING, State.READY)
    assert wiki.run("push", "--no-commit", GROWI_TRANSFER_KEY=KEY) == 0
    assert f"transfers commit {TRANSFER[:8]}" in capsys.readouterr().out


def test_a_transfer_that_is_done_already_says_so_again(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(wiki.row(state=State.COMPLETED, receipt=RECEIPT))
    asyncio.run(wiki.board.put(Snapshot(TRANSFER, "pusher", position=Position(State.COMPLETED))))
    assert wiki.run("push", "--json", GROWI_TRANSFER_KEY=KEY) == 0
    last = lines(capsys)[-1]
    assert (last["ok"], last["state"], last["documents"]) == (True, "completed", 10)


def test_ready_is_no_end_when_a_commit_was_asked_for(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    wiki.pushes(State.READY, State.COMPLETED)
    assert wiki.run("push", "--json", GROWI_TRANSFER_KEY=KEY) == 0
    assert lines(capsys)[-1]["state"] == "completed"


@pytest.mark.parametrize(
    ("state", "error", "code", "word"),
    [
        (State.FAILED, {"code": "verification_failed", "message": "One document differs."}, 1, "verification_failed"),
        (State.FAILED, {"code": "peer_unavailable", "message": "The line is cut."}, 4, "peer_unavailable"),
        (State.FAILED, {"code": "storage_full", "message": "The disk is full."}, 4, "storage_full"),
        (State.FAILED, {"code": "blocked", "message": "No."}, 3, "blocked"),
        (State.FAILED, {"code": "word_of_a_peer", "message": "No."}, 1, "word_of_a_peer"),
        (State.FAILED, {"code": "word_of_a_peer", "message": "Wait.", "retryable": True}, 4, "word_of_a_peer"),
        (State.FAILED, None, 1, "internal_error"),
        (State.CANCELLED, None, 1, "state_conflict"),
        (State.ROLLED_BACK, None, 1, "state_conflict"),
        (State.PAUSED, None, 4, "interrupted"),
        (State.READY, {"code": "commit_failed", "message": "Undone."}, 1, "commit_failed"),
        (State.COPYING, None, 1, "superseded"),
    ],
)
def test_a_push_that_does_not_complete(
    wiki: Wiki,
    capsys: pytest.CaptureFixture[str],
    state: State,
    error: dict[str, Any] | None,
    code: int,
    word: str,
) -> None:
    wiki.pushes(State.COPYING, state, **({"error": error} if error else {}))
    assert wiki.run("push", "--json", GROWI_TRANSFER_KEY=KEY) == code
    last = lines(capsys)[-1]
    assert last["ok"] is False
    assert last["state"] == state.value
    assert last["transfer_id"] == TRANSFER
    assert last["error"]["code"] == word
    assert last["error"]["message"]


def test_a_failure_is_told_to_a_person(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    wiki.pushes(State.FAILED, error={"code": "storage_full", "message": "The disk is full."})
    assert wiki.run("push", GROWI_TRANSFER_KEY=KEY) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error: The disk is full. (storage_full)" in shown.err


def test_a_signal_after_the_end_changes_nothing(
    wiki: Wiki, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wiki.pushes(State.COMPLETED)
    original = wiki.open_services

    @asynccontextmanager
    async def open_services(*arguments: Any, **options: Any) -> AsyncIterator[Any]:
        async with original(*arguments, **options) as services:
            yield services
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(3):
                await asyncio.sleep(0.01)

    monkeypatch.setattr(wiki, "open_services", open_services)
    assert wiki.run("push", "--json", GROWI_TRANSFER_KEY=KEY) == 0
    assert lines(capsys)[-1]["ok"]
    assert wiki.closed == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_the_first_signal_stops_in_order(
    wiki: Wiki, capsys: pytest.CaptureFixture[str], number: signal.Signals, flags: list[str]
) -> None:
    wiki.pushes(State.COPYING)
    shows = wiki.pusher.script
    assert shows is not None

    async def script() -> None:
        await shows()
        os.kill(os.getpid(), number)
        await asyncio.Event().wait()

    wiki.pusher.script = script
    assert wiki.run("push", *flags, GROWI_TRANSFER_KEY=KEY) == 4
    assert wiki.closed == 1
    if flags:
        last = lines(capsys)[-1]
        assert (last["ok"], last["state"], last["error"]["code"]) == (False, "copying", "interrupted")
    else:
        assert "goes on where it stopped" in capsys.readouterr().err
