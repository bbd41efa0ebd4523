"""`key`, `transfers`, `export`, `import`: what they ask of the services and what they print."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.cli import CLEAN, KEY, Wiki
from tests.fakes.web import OTHER, TRANSFER

from growi_transfer.cli.server_file import RunningServer
from growi_transfer.ledger.base import Role
from growi_transfer.ledger.log import TransferLog
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import Activity, Lane, Notice, Snapshot
from growi_transfer.protocol.shape import to_json

SERVER = RunningServer(1, "http://127.0.0.1:51234", "both")


def out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def value(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(out(capsys))


# key


def test_issue_prints_the_key_alone(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    assert wiki.run("key", "issue") == 0
    shown = capsys.readouterr()
    assert shown.out.strip().endswith("__grw_internal_tranferkey__http://destination.test:8080")
    assert len(shown.out.splitlines()) == 1
    assert shown.out.strip() not in shown.err
    assert wiki.opened[0][1] == "receiver"
    assert wiki.run("key", "issue", "--json") == 0
    issued = value(capsys)
    assert "__grw_internal_tranferkey__" in issued["transferKey"]
    assert issued["state"] == "waiting"


def test_list_shows_no_key_and_says_where_each_stands(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    assert wiki.run("key", "list") == 0
    assert out(capsys) == "There are no keys.\n"
    issued = [asyncio.run(wiki.keys.issue()) for _ in range(3)]
    asyncio.run(wiki.keys.revoke(issued[0].row.id))
    asyncio.run(wiki.keys.claim(issued[1].row.id, TRANSFER))
    assert wiki.run("key", "list") == 0
    shown = out(capsys)
    assert "tranferkey" not in shown
    states = {line.split()[0]: line for line in shown.splitlines()[1:]}
    assert "revoked" in states[issued[0].row.id]
    assert "in use" in states[issued[1].row.id]
    assert TRANSFER[:8] in states[issued[1].row.id]
    assert "waiting" in states[issued[2].row.id]
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert wiki.run("key", "list", "--json") == 0
    keys = value(capsys)["keys"]
    assert {key["state"] for key in keys} == {"revoked", "in use", "waiting"}
    assert not any("token" in name for key in keys for name in key)


def test_revoke_ends_a_key(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    issued = asyncio.run(wiki.keys.issue())
    assert wiki.run("key", "revoke", issued.row.id) == 0
    assert issued.row.id in out(capsys)
    [row] = asyncio.run(wiki.keys.list())
    assert row.revoked_at is not None
    assert wiki.run("key", "revoke", "0123", "--json") == 1
    assert value(capsys)["error"]["code"] == "key_not_found"


def test_a_key_is_for_the_server_that_runs(wiki: Wiki, monkeypatch: pytest.MonkeyPatch) -> None:
    server = RunningServer(1, "http://127.0.0.1:51234", "both", "https://transfer.example.com")
    monkeypatch.setattr("growi_transfer.cli.session.running_server", lambda _: server)
    assert wiki.run("key", "issue") == 0
    assert wiki.opened[-1][0].public_origin() == "https://transfer.example.com"
    monkeypatch.setattr("growi_transfer.cli.session.running_server", lambda _: None)
    assert wiki.run("key", "issue") == 0
    assert wiki.opened[-1][0].public_origin() == "http://127.0.0.1:3400"


# transfers


def test_no_transfers(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    assert wiki.run("transfers", "list") == 0
    assert out(capsys) == "There are no transfers.\n"
    assert wiki.run("transfers", "list", "--json") == 0
    assert value(capsys) == {"transfers": []}


def test_list_shows_what_the_ledger_has(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = Snapshot(TRANSFER, "pusher", documents_done=1234, documents_total=5678, bytes_per_second=5.0)
    asyncio.run(wiki.row(Role.PUSHER, TRANSFER, State.VERIFYING, progress=to_json(snapshot)))
    asyncio.run(wiki.row(Role.RECEIVER, OTHER, State.COMPLETED, committed_at="2026-11-20T09:30:00+00:00"))
    assert wiki.run("transfers", "list") == 0
    assert "  interrupted  1,234 of 5,678" in out(capsys), "no process has it"
    assert wiki.run("transfers", "show", TRANSFER) == 0
    assert "state        verifying, interrupted: nobody runs it" in out(capsys)
    wiki.orders.owned.add(TRANSFER)
    assert wiki.run("transfers", "list") == 0
    shown = out(capsys)
    wiki.orders.owned.clear()
    assert "1,234 of 5,678" in shown
    assert "verifying" in shown
    [completed] = [line for line in shown.splitlines() if "completed" in line]
    assert completed.endswith("2026-11-21  2026-11-27")
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert not any(line.endswith(" ") for line in shown.splitlines())
    assert wiki.run("transfers", "list", "--json", GROWI_TRANSFER_RETENTION_DAYS="30") == 0
    shapes = {shape["id"]: shape for shape in value(capsys)["transfers"]}
    assert {(name, shape["state"]) for name, shape in shapes.items()} == {(TRANSFER, "verifying"), (OTHER, "completed")}
    assert shapes[OTHER]["rollback_until"] == "2026-12-20T09:30:00+00:00"
    assert shapes[TRANSFER]["rollback_until"] is None
    assert shapes[TRANSFER]["rate"]["bytes_per_second"] == 0, "nobody is at it"
    wiki.orders.owned.add(TRANSFER)
    assert wiki.run("transfers", "show", TRANSFER, "--json") == 0
    assert value(capsys)["transfer"]["rate"]["bytes_per_second"] == 5.0


def test_show_takes_the_first_digits(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = Snapshot(
        TRANSFER,
        "pusher",
        warnings=(Notice("password_seed_mismatch", "They differ."),),
        activity=Activity(Lane(2, 3, 1), Lane(4, 4), {"peer_unavailable": 7}),
    )
    error = {"code": "storage_full", "message": "The disk\x1b[2J is full."}
    agreed = [{"code": "destination_not_empty", "message": "Three pages.", "details": {}, "accepted_at": "now"}]
    asyncio.run(wiki.row(error=error, progress=to_json(snapshot), plan=CLEAN, accepted_warnings=agreed))
    wiki.orders.owned.add(TRANSFER)
    assert wiki.run("transfers", "show", TRANSFER[:4].upper()) == 0
    shown = out(capsys)
    assert "planned      10 documents (2.0 KiB), 2 attachments (1.0 KiB), about 1 min 30 s" in shown
    assert "stays        attachments below /trash: 1, 77 B (excluded)" in shown
    assert "accepted     destination_not_empty" in shown
    assert TRANSFER in shown
    assert "The disk\N{REPLACEMENT CHARACTER}[2J is full. (storage_full)" in shown, "no commands for the terminal"
    assert "They differ. (password_seed_mismatch)" in shown
    assert "volumes: 2 of at most 3, 1 waiting" in shown
    assert "7 x peer_unavailable" in shown
    assert wiki.run("transfers", "show", TRANSFER, "--json") == 0
    assert value(capsys)["transfer"]["id"] == TRANSFER


def test_logs_of_one_side_from_a_level_on(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(wiki.row(Role.RECEIVER, state=State.COMPLETED))
    log = TransferLog(wiki.ledger, lambda: datetime(2026, 11, 21, 12, 0, tzinfo=UTC), "abcd")
    for number, level in enumerate(("info", "warning", "error", "info")):
        log.note(Role.RECEIVER, TRANSFER, level, "event", f"line {number}", {"number": number})
    log.note(Role.PUSHER, TRANSFER, "info", "event", "of the other side", {})
    asyncio.run(log.flush())
    capsys.readouterr()  # each line goes to the log of the process too
    assert wiki.run("transfers", "logs", TRANSFER[:5]) == 0
    assert out(capsys).splitlines()[1:3] == [
        "2026-11-21 12:00:00  warning  line 1",
        "2026-11-21 12:00:00  error    line 2",
    ]
    assert wiki.run("transfers", "logs", TRANSFER, "--level", "warning", "--json") == 0
    lines = [json.loads(line) for line in out(capsys).splitlines()]
    assert [(one["level"], one["message"], one["details"]) for one in lines] == [
        ("warning", "line 1", {"number": 1}),
        ("error", "line 2", {"number": 2}),
    ]
    assert wiki.run("transfers", "logs", TRANSFER, "--limit", "1") == 0
    assert out(capsys) == "2026-11-21 12:00:00  info     line 3\n"
    assert wiki.run("transfers", "logs", TRANSFER, "--level", "loud") == 2


def test_logs_are_followed_to_the_end(
    wiki: Wiki, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("growi_transfer.cli.transfers.LOOK_SECONDS", 0)
    monkeypatch.setattr("growi_transfer.cli.transfers._SETTLE_SECONDS", 0)
    asyncio.run(wiki.row(state=State.COPYING))
    log = TransferLog(wiki.ledger, lambda: datetime.now(UTC), "abcd")
    looked, looks = wiki.ledger.get_transfer, 0

    async def get_transfer(role: Role, transfer_id: str) -> Any:
        nonlocal looks
        looks += 1
        log.note(role, transfer_id, "info", "event", f"line {looks}", {})
        await log.flush()
        if looks == 3:
            await wiki.ledger.move_transfer(
                role, transfer_id, Position(State.COPYING), Position(State.CANCELLED), datetime.now(UTC)
            )
        return await looked(role, transfer_id)

    monkeypatch.setattr(wiki.ledger, "get_transfer", get_transfer)
    assert wiki.run("transfers", "logs", TRANSFER, "--follow") == 0
    assert [line.split("  ")[-1].strip() for line in out(capsys).splitlines()] == ["line 1", "line 2", "line 3"]


@pytest.mark.parametrize("given", ["ffff", "", "0123456789abcdef0123456789abcdef0"])
def test_a_transfer_that_is_not_there(wiki: Wiki, capsys: pytest.CaptureFixture[str], given: str) -> None:
    asyncio.run(wiki.row())
    assert wiki.run("transfers", "show", given, "--json") == 1
    assert value(capsys)["error"]["code"] == "transfer_not_found"


def test_digits_that_fit_two_transfers(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(wiki.row())
    asyncio.run(wiki.row(transfer_id="0123" + "f" * 28))
    assert wiki.run("transfers", "cancel", "0123", "--yes") == 1
    assert "2 transfers begin with 0123" in capsys.readouterr().err
    assert wiki.calls() == []


STEPS = [
    *((role, verb) for role in Role for verb in ("cancel", "rollback", "purge")),
    (Role.RECEIVER, "commit"),
    (Role.PUSHER, "pause"),
]


@pytest.mark.parametrize(("role", "verb"), STEPS)
def test_steering_asks_the_role_that_has_the_transfer(
    wiki: Wiki, capsys: pytest.CaptureFixture[str], role: Role, verb: str
) -> None:
    asyncio.run(wiki.row(role, state=State.COMPLETED))
    yes = [] if verb in ("commit", "pause") else ["--yes"]
    assert wiki.run("transfers", verb, TRANSFER[:6], *yes) == 0
    [(name, arguments)] = (wiki.pusher if role is Role.PUSHER else wiki.receiver).calls
    assert (name, arguments["transfer_id"]) == (verb, TRANSFER)
    assert arguments.get("epoch") is None
    assert wiki.calls() == [verb]
    assert f"{TRANSFER[:12]} is {'purged' if verb == 'purge' else 'completed'}." in out(capsys)


@pytest.mark.parametrize("verb", ["cancel", "rollback", "purge"])
def test_what_throws_data_away_needs_consent(wiki: Wiki, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    asyncio.run(wiki.row())
    assert wiki.run("transfers", verb, TRANSFER) == 2
    monkeypatch.setattr("growi_transfer.cli.output.Output.interactive", True)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert wiki.run("transfers", verb, TRANSFER) == 1
    assert wiki.calls() == []


def test_release_is_for_the_side_that_has_it(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(wiki.row(Role.RECEIVER))
    assert wiki.run("transfers", "release", TRANSFER) == 0
    assert out(capsys) == f"The maintenance mode of {TRANSFER[:12]} has ended.\n"
    assert wiki.calls() == ["release_maintenance"]
    asyncio.run(wiki.row(Role.PUSHER, OTHER))
    assert wiki.run("transfers", "release", OTHER) == 0
    assert "release" in wiki.calls()


@pytest.mark.parametrize("verb", ["pause", "resume", "retry", "verify", "tune"])
def test_what_only_a_source_does(wiki: Wiki, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    asyncio.run(wiki.row(Role.RECEIVER))
    more = ["--volumes", "2"] if verb == "tune" else []
    assert wiki.run("transfers", verb, TRANSFER, *more, "--json") == 1
    assert value(capsys)["error"]["code"] == "state_conflict"
    assert wiki.calls() == []


def test_data_that_come_in_are_left_to_the_server_that_takes_them(
    wiki: Wiki, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def server(transfer_id: str, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"transfer": {"state": "cancelled"}}

    asyncio.run(wiki.row(Role.RECEIVER))
    wiki.orders.server = server
    assert wiki.run("transfers", "cancel", TRANSFER, "--yes") == 0
    assert wiki.calls() == ["cancel"], "without a server it is done here"
    monkeypatch.setattr("growi_transfer.cli.session.running_server", lambda _: SERVER)
    assert wiki.run("transfers", "cancel", TRANSFER, "--yes") == 0
    assert wiki.orders.given == [("receiver", "cancel", {"epoch": None})]
    assert wiki.calls() == ["cancel"]
    wiki.orders.server = None
    assert wiki.run("transfers", "commit", TRANSFER) == 0
    assert wiki.calls() == ["cancel", "commit"], "one that does not answer is passed over"


@pytest.mark.parametrize(
    ("given", "changes", "told"),
    [
        (["--volumes", "5"], {"volumes": 5}, "volumes 5."),
        (["--bandwidth", "2M", "--attachments", "1"], {"attachments": 1, "bandwidth": 2 << 20}, "bandwidth 2.0 MiB/s."),
        (["--bandwidth", "none"], {"bandwidth": None}, "bandwidth none."),
    ],
)
def test_tune(
    wiki: Wiki, capsys: pytest.CaptureFixture[str], given: list[str], changes: dict[str, Any], told: str
) -> None:
    asyncio.run(wiki.row())
    assert wiki.run("transfers", "tune", TRANSFER, *given) == 0
    assert wiki.pusher.calls == [("tune", {"transfer_id": TRANSFER, **changes})]
    assert told in out(capsys)
    assert wiki.run("transfers", "tune", TRANSFER) == 2
    assert wiki.run("transfers", "tune", TRANSFER, "--bandwidth", "fast") == 2


def test_purge_of_all_that_has_expired(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    assert wiki.run("transfers", "purge", "--all-expired", "--json", GROWI_TRANSFER_RETENTION_DAYS="3") == 0
    assert value(capsys) == {"purged": [TRANSFER]}
    assert [arguments["retention"].days for _, arguments in [*wiki.pusher.calls, *wiki.receiver.calls]] == [3, 3]
    assert wiki.run("transfers", "purge") == 2
    assert wiki.run("transfers", "purge", TRANSFER, "--all-expired") == 2


@pytest.mark.parametrize("end", [State.FAILED, State.PAUSED, State.COMPLETED, State.CANCELLED])
def test_watch_follows_another_process_to_the_end(
    wiki: Wiki, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], end: State
) -> None:
    monkeypatch.setattr("growi_transfer.cli.transfers.LOOK_SECONDS", 0)
    asyncio.run(wiki.row(state=State.COPYING))
    way = [Position(State.COPYING), Position(State.COPYING), Position(State.RECONCILING), Position(end)]
    looked = wiki.ledger.get_transfer

    async def get_transfer(role: Role, transfer_id: str) -> Any:
        before, way[:] = way[0], way[1:]
        await wiki.ledger.move_transfer(role, transfer_id, before, way[0], datetime.now(UTC))
        return await looked(role, transfer_id)

    monkeypatch.setattr(wiki.ledger, "get_transfer", get_transfer)
    assert wiki.run("transfers", "watch", TRANSFER, "--json") == 0
    states = [json.loads(line)["state"] for line in out(capsys).splitlines()]
    assert states == ["copying", "reconciling", end.value]


# export, import


def test_export_asks_the_source_role(wiki: Wiki, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wiki.zip"
    assert wiki.run("export", str(file), "--exclude-collection", "activities") == 0
    [(_, arguments)] = wiki.pusher.calls
    assert arguments == {"path": file, "exclude_collections": ("activities",), "with_attachments": True}
    assert out(capsys) == f"{file}: 3 collections, 10 documents, 2 attachments, 3.0 KiB.\n"
    assert wiki.run("export", str(file), "--json", "--no-attachments") == 0
    assert value(capsys)["documents"] == 10
    assert wiki.pusher.calls[-1][1]["with_attachments"] is False
    assert not wiki.serving


def test_export_in_growis_own_format(wiki: Wiki, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wiki.growi.zip"
    assert wiki.run("export", str(file), "--format", "growi", "--exclude-collection", "comments") == 0
    assert wiki.pusher.calls == [("export_growi_archive", {"path": file, "exclude_collections": ("comments",)})]
    shown = capsys.readouterr()
    assert shown.out == f"{file}: 3 collections, 10 documents, 2.0 KiB.\n"
    assert "GROWI never exports: sessions." in shown.err
    assert wiki.run("export", str(file), "--format", "xml", "--force") == 2


def test_export_does_not_replace_a_file_unasked(wiki: Wiki, tmp_path: Path) -> None:
    file = tmp_path / "wiki.zip"
    file.write_bytes(b"precious")
    assert wiki.run("export", str(file)) == 2
    assert wiki.calls() == []
    assert wiki.run("export", str(file), "--force") == 0


def test_import_needs_consent_and_a_file(wiki: Wiki, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wiki.zip"
    assert wiki.run("import", str(file), "--yes") == 2
    file.write_bytes(b"zip")
    assert wiki.run("import", str(file)) == 2
    assert wiki.calls() == []
    capsys.readouterr()
    assert wiki.run("import", str(file), "--yes") == 0
    assert wiki.calls() == ["import_archive"]
    assert wiki.opened[-1][1] == "receiver"
    assert f"transfers rollback {TRANSFER[:8]}" in capsys.readouterr().err
    assert wiki.run("import", str(file), "--yes", "--json") == 0
    assert value(capsys)["transfer"]["id"] == TRANSFER


def test_no_command_ever_prints_a_given_key(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(wiki.row())
    for arguments in (["transfers", "list"], ["key", "list"], ["transfers", "show", TRANSFER]):
        assert wiki.run(*arguments, GROWI_TRANSFER_KEY=KEY) == 0
    shown = capsys.readouterr()
    assert KEY not in shown.out + shown.err
