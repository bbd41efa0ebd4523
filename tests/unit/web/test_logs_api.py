"""Logs and purge over HTTP: for the admin only."""

from __future__ import annotations

import pytest
from tests.fakes.asgi import AsgiClient
from tests.fakes.web import ADMIN_TOKEN, OTHER, TRANSFER, World

from growi_transfer.ledger.base import Role
from growi_transfer.ledger.log import TransferLog
from growi_transfer.protocol.machine import State
from growi_transfer.protocol.wire import EPOCH_HEADER, KEY_HEADER, PREFIX

ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}
LOGS = f"{PREFIX}/transfers/{TRANSFER}/logs"


async def filled(world: World) -> None:
    log = TransferLog(world.ledger, world.clock, "abcd")
    await world.row(Role.PUSHER)
    await world.row(Role.RECEIVER)
    for number, level in enumerate(("info", "warning", "error", "info", "warning")):
        log.note(Role.PUSHER, TRANSFER, level, "event", f"line {number}", {"number": number})
    log.note(Role.RECEIVER, TRANSFER, "info", "event", "of the other side", {})
    await log.flush()


async def test_logs_by_level_limit_and_what_is_newer(client: AsgiClient, world: World) -> None:
    await filled(world)

    async def messages(query: str = "") -> list[str]:
        answer = await client("GET", f"{LOGS}?{query}", headers=ADMIN)
        assert answer.status == 200
        return [line["message"] for line in answer.json()["logs"]]

    whole = (await client("GET", LOGS, headers=ADMIN)).json()
    assert whole["logs"][1] == {
        "at": "2026-11-21T12:00:00+00:00",
        "level": "warning",
        "event": "event",
        "message": "line 1",
        "details": {"number": 1},
    }
    assert await messages("level=warning&limit=2") == ["line 2", "line 4"]
    assert await messages("level=error") == ["line 2"]
    assert await messages(f"after={whole['next']}") == []
    assert await messages("role=receiver") == ["of the other side"]
    part = (await client("GET", f"{LOGS}?limit=1&level=error", headers=ADMIN)).json()
    assert await messages(f"after={part['next']}") == ["line 3", "line 4"]
    assert (await client("GET", f"{LOGS}?after={whole['next']}", headers=ADMIN)).json()["next"] == whole["next"]


@pytest.mark.parametrize(
    "query", ["level=loud", "limit=0", "limit=2001", "limit=x", "after=..", "after=" + "1" * 21, "role=x"]
)
async def test_what_no_log_has(client: AsgiClient, world: World, query: str) -> None:
    await filled(world)
    answer = await client("GET", f"{LOGS}?{query}", headers=ADMIN)
    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_logs_are_for_the_admin(client: AsgiClient, world: World) -> None:
    await filled(world)
    token = await world.key(claimed_by=TRANSFER)
    for headers in ({}, {KEY_HEADER: token}):
        assert (await client("GET", LOGS, headers=headers)).status == 403
    answer = await client("GET", LOGS.replace(TRANSFER, OTHER), headers=ADMIN)
    assert (answer.status, answer.code) == (404, "transfer_not_found")


async def test_a_purge_is_for_the_admin_of_the_role_that_has_it(client: AsgiClient, world: World) -> None:
    await world.row(Role.PUSHER, TRANSFER, State.COMPLETED)
    await world.row(Role.RECEIVER, OTHER, State.COMPLETED)
    token = await world.key(claimed_by=OTHER)
    path = f"{PREFIX}/transfers/{OTHER}/purge"
    assert (await client("POST", path, headers={KEY_HEADER: token, EPOCH_HEADER: "1"})).status == 403
    assert (world.pusher.calls, world.receiver.calls) == ([], [])
    assert (await client("POST", path, headers=ADMIN)).status == 200
    assert (await client("POST", path.replace(OTHER, TRANSFER), headers=ADMIN)).status == 200
    assert world.receiver.calls == [("purge", {"transfer_id": OTHER})]
    assert world.pusher.calls == [("purge", {"transfer_id": TRANSFER})]
