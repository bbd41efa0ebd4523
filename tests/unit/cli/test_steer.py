"""`transfers resume`, `retry`, `verify`, `commit`: who does it, where the key comes from, and how the command ends."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.fakes.cli import KEY, Wiki
from tests.fakes.web import TRANSFER

from growi_transfer.cli.server_file import RunningServer
from growi_transfer.ledger.base import Role
from growi_transfer.protocol.errors import KeyNotKept, SetupDiffers
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import Snapshot

SERVER = RunningServer(1, "http://127.0.0.1:51234", "pusher")


def last(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return line


def moves(wiki: Wiki, before: State, after: State) -> Callable[[], Awaitable[None]]:
    """Move the transfer, as whoever runs it does."""

    async def move() -> None:
        await asyncio.sleep(0)
        now = datetime.now(UTC)
        assert await wiki.ledger.move_transfer(Role.PUSHER, TRANSFER, Position(before), Position(after), now)

    return move


def runs_here(wiki: Wiki, verb: str, before: State, after: State) -> list[str]:
    """Let a step of the pusher start work that ends in a state."""
    done: list[str] = []

    async def step(transfer_id: str) -> dict[str, Any]:
        done.append(verb)

        async def work() -> None:
            await moves(wiki, before, after)()
            await wiki.board.put(Snapshot(TRANSFER, "pusher", position=Position(after), documents_done=7))

        wiki.pusher.tasks.append(asyncio.create_task(work()))
        return {"transfer": {}}

    setattr(wiki.pusher, verb, step)
    return done


@pytest.mark.parametrize(
    ("verb", "method", "before", "after", "code"),
    [
        ("resume", "proceed", State.COPYING, State.COMPLETED, 0),
        ("resume", "proceed", State.COPYING, State.FAILED, 1),
        ("resume", "proceed", State.COPYING, State.PAUSED, 4),
        ("retry", "retry", State.COPYING, State.COMPLETED, 0),
        ("verify", "verify", State.READY, State.READY, 0),
        ("verify", "verify", State.READY, State.FAILED, 1),
        ("commit", "commit", State.READY, State.COMPLETED, 0),
        ("commit", "commit", State.COMMITTING, State.READY, 1),
        ("commit", "commit", State.READY, State.CANCELLED, 1),
    ],
)
def test_it_lasts_to_the_end_and_tells_it_like_push(
    wiki: Wiki,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    method: str,
    before: State,
    after: State,
    code: int,
) -> None:
    error = {"code": "size_mismatch", "message": "Too short."} if code == 1 else None
    asyncio.run(wiki.row(state=before, error=error))
    done = runs_here(wiki, method, before, after)
    assert wiki.run("transfers", verb, TRANSFER[:6], "--json") == code
    line = last(capsys)
    assert done == [method]
    assert (line["ok"], line["state"], line["transfer_id"]) == (code == 0, after.value, TRANSFER)
    assert line["documents"] == 7
    if code == 1 and after is not State.CANCELLED:
        assert line["error"]["code"] == "size_mismatch"


def test_what_another_process_runs_is_followed_there(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(wiki.row(state=State.COPYING))
    wiki.orders.owned.add(TRANSFER)
    looked = wiki.ledger.get_transfer
    ends = [None, moves(wiki, State.COPYING, State.COMPLETED)]

    async def get_transfer(role: Role, transfer_id: str) -> Any:
        if ends and (end := ends.pop(0)) is not None:
            await end()
        return await looked(role, transfer_id)

    wiki.ledger.get_transfer = get_transfer  # type: ignore[method-assign]
    assert wiki.run("transfers", "resume", TRANSFER, "--json") == 0
    assert last(capsys)["state"] == "completed"
    assert wiki.calls() == ["proceed"], "which tells the owner"
    assert wiki.orders.given == []


def test_what_nobody_runs_is_not_waited_for(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(wiki.row(state=State.COPYING))
    assert wiki.run("transfers", "resume", TRANSFER) == 1
    assert "superseded" in capsys.readouterr().err


def test_a_server_that_runs_goes_on_with_it(
    wiki: Wiki, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(wiki.row(state=State.COPYING))

    async def server(transfer_id: str, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
        await moves(wiki, State.COPYING, State.COMPLETED)()
        return {"transfer": {}}

    wiki.orders.server = server
    monkeypatch.setattr("growi_transfer.cli.session.running_server", lambda _: SERVER)
    assert wiki.run("transfers", "resume", TRANSFER, "--accept", "file_not_found", "--json") == 0
    assert last(capsys)["state"] == "completed"
    assert wiki.orders.given == [("pusher", "proceed", {})]
    assert wiki.pusher.calls == [("leave_behind", {"transfer_id": TRANSFER, "codes": ("file_not_found",)})]


# keys


def test_a_new_key_is_read_and_never_an_argument(
    wiki: Wiki, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(wiki.row(state=State.COPYING))
    runs_here(wiki, "proceed", State.COPYING, State.COMPLETED)
    for given in ("half-a-token", "-x"):
        assert wiki.run("transfers", "resume", TRANSFER, "--key", given) == 2
    assert "half-a-token" not in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO(f" {KEY}\n"))
    assert wiki.run("transfers", "resume", TRANSFER, "--key", "-") == 0
    assert wiki.pusher.calls == [("take_key", {"transfer_id": TRANSFER, "key_string": KEY})]


def test_a_new_key_from_the_environment(wiki: Wiki) -> None:
    asyncio.run(wiki.row(state=State.COPYING))
    runs_here(wiki, "proceed", State.COPYING, State.COMPLETED)
    assert wiki.run("transfers", "resume", TRANSFER, GROWI_TRANSFER_KEY=KEY) == 0
    assert [name for name, _ in wiki.pusher.calls] == ["take_key"]


def test_a_key_that_is_none_is_2(wiki: Wiki, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(wiki.row(state=State.FAILED))
    monkeypatch.setattr("sys.stdin", io.StringIO("nonsense\n"))
    assert wiki.run("transfers", "resume", TRANSFER, "--key", "-") == 2
    assert wiki.calls() == []


def test_a_key_of_another_destination_is_refused_with_what_differs(
    wiki: Wiki, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(wiki.row(state=State.FAILED))

    async def take_key(transfer_id: str, key_string: str) -> None:
        raise SetupDiffers("The key is for another destination.", different=["destination"])

    wiki.pusher.take_key = take_key  # type: ignore[method-assign]
    assert wiki.run("transfers", "resume", TRANSFER, "--json", GROWI_TRANSFER_KEY=KEY) == 1
    error = last(capsys)["error"]
    assert (error["code"], error["details"]["different"]) == ("setup_differs", ["destination"])


def test_a_key_that_is_no_longer_kept_is_asked_for(wiki: Wiki, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(wiki.row(state=State.COPYING))
    taken: list[str] = []

    async def proceed(transfer_id: str) -> dict[str, Any]:
        if not taken:
            raise KeyNotKept()
        await moves(wiki, State.COPYING, State.COMPLETED)()
        return {}

    async def take_key(transfer_id: str, key_string: str) -> None:
        taken.append(key_string)

    wiki.pusher.proceed, wiki.pusher.take_key = proceed, take_key  # type: ignore[method-assign]
    assert wiki.run("transfers", "resume", TRANSFER) == 2, "nobody can be asked"
    monkeypatch.setattr("growi_transfer.cli.output.Output.interactive", True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: KEY)
    assert wiki.run("transfers", "resume", TRANSFER) == 0
    assert taken == [KEY]
