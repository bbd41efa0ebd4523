"""The admin's routes behind the destination's page: the summary, pages of transfers, the check of a receipt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.asgi import AsgiClient
from tests.fakes.web import ADMIN_TOKEN, World

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.errors import ReceiptInvalid
from growi_transfer.protocol.machine import State
from growi_transfer.protocol.receipt import RECEIPT_LIMIT
from growi_transfer.protocol.wire import KEY_HEADER, PREFIX
from growi_transfer.web.app import create_app

ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}


class Recheck:
    def __init__(self) -> None:
        self.calls: list[tuple[bytes, bool]] = []

    async def check(self, body: bytes, *, data: bool = False) -> dict[str, Any]:
        self.calls.append((body, data))
        if not body:
            raise ReceiptInvalid("This is not a receipt.")
        return {"ok": True}


async def _summary() -> dict[str, Any]:
    return {"title": "Wiki"}


@pytest.fixture
def recheck() -> Recheck:
    return Recheck()


@pytest.fixture
async def client(tmp_path: Path, recheck: Recheck) -> AsyncIterator[AsgiClient]:
    world = World(tmp_path, roles="receiver")
    for number in range(3):
        await world.row(Role.RECEIVER, f"{number:032x}", State.CANCELLED)
        world.clock.advance(seconds=1)
    world.services = replace(world.services, instance=_summary, recheck=recheck)
    async with AsgiClient(create_app(world.open_services)) as client:
        yield client


async def test_the_summary_tells_about_the_server_too(client: AsgiClient) -> None:
    answer = await client("GET", f"{PREFIX}/instance", headers=ADMIN)
    assert answer.json() == {
        "instance": {
            "title": "Wiki",
            "version": "0.0.0",
            "roles": ["receiver"],
            "now": "2026-11-21T12:00:03+00:00",
        }
    }


@pytest.mark.parametrize(("method", "path"), [("GET", "/instance"), ("POST", "/receipts/verify")])
async def test_for_the_admin_only(client: AsgiClient, recheck: Recheck, method: str, path: str) -> None:
    for headers in ({}, {KEY_HEADER: "x"}):
        assert (await client(method, PREFIX + path, headers=headers)).status == 403
    assert recheck.calls == []


async def test_pages_of_transfers(client: AsgiClient) -> None:
    async def page(query: str) -> tuple[list[str], int]:
        answer = (await client("GET", f"{PREFIX}/transfers?{query}", headers=ADMIN)).json()
        return [one["id"][-1] for one in answer["transfers"]], answer["total"]

    assert await page("limit=2") == (["2", "1"], 3)
    assert await page("limit=2&skip=2&role=receiver") == (["0"], 3)
    assert await page("role=pusher") == ([], 0)
    answer = await client("GET", f"{PREFIX}/transfers?skip=-1", headers=ADMIN)
    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_a_transfer_tells_what_can_be_done_with_it(world: World) -> None:
    await world.row(Role.RECEIVER, state=State.READY, verify={"ok": True})
    async with AsgiClient(create_app(world.open_services)) as client:
        answer = await client("GET", f"{PREFIX}/transfers", headers=ADMIN)
    assert answer.json()["transfers"][0]["actions"] == ["commit", "receipt", "cancel"]


async def test_a_receipt_is_checked_as_it_came(client: AsgiClient, recheck: Recheck) -> None:
    path = f"{PREFIX}/receipts/verify"
    assert (await client("POST", path, b'{"a": 1}', headers=ADMIN)).json() == {"ok": True}
    assert (await client("POST", f"{path}?data=true", b"x", headers=ADMIN)).status == 200
    assert recheck.calls == [(b'{"a": 1}', False), (b"x", True)]
    answer = await client("POST", path, b"", headers=ADMIN)
    assert (answer.status, answer.code) == (400, "receipt_invalid")
    answer = await client("POST", f"{path}?data=yes", b"x", headers=ADMIN)
    assert (answer.status, answer.code) == (400, "invalid_request")
    answer = await client("POST", path, b" " * (RECEIPT_LIMIT + 1), headers=ADMIN)
    assert (answer.status, answer.code) == (413, "body_too_large")
