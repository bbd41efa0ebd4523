"""Watch links: who has one may look at one transfer, until it ends, and do nothing."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import pytest
import structlog.testing
from starlette.routing import Route
from tests.fakes.asgi import Answer, AsgiClient
from tests.fakes.web import ADMIN_TOKEN, ATTACHMENT, OTHER, SECRET, TRANSFER, Clock, World

from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.protocol.errors import Conflict, DatabaseUnavailable, NotFound, RateLimited, WatchLinkEnded
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import Failure, Notice, Snapshot
from growi_transfer.protocol.shape import to_json
from growi_transfer.web.app import ROUTES
from growi_transfer.web.watch_links import FACT, LIFETIME, MOST, WatchLinks
from growi_transfer.web.watcher_shape import SHOWN, watcher_shape

API = "/_api/v3/g2g-transfer"
ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}
HEADER = "x-growi-transfer-watch"
ADDRESS = "192.0.2.1"


async def new_link(client: AsgiClient, transfer: str = TRANSFER, **body: Any) -> Answer:
    return await client("POST", f"{API}/transfers/{transfer}/watch-links", headers=ADMIN, json_body=body)


def token_of(answer: Answer) -> dict[str, str]:
    """The header that a page sends for a link."""
    return {HEADER: answer.json()["path"].removeprefix("/watch#")}


async def test_a_link_shows_its_transfer_and_nothing_else(client: AsgiClient, world: World) -> None:
    await world.row(Role.PUSHER)
    await world.row(Role.RECEIVER, OTHER)
    await world.board.put(Snapshot(TRANSFER, "pusher", position=Position(State.COPYING), bytes_total=7))
    made = await new_link(client)
    assert made.status == 201
    assert made.json()["url"] == "http://destination.test:8080" + made.json()["path"]
    own = token_of(made)
    seen = (await client("GET", f"{API}/watch", headers=own)).json()
    assert (seen["transfer"]["id"], seen["transfer"]["bytes"]["total"]) == (TRANSFER, 7)
    assert seen["expires_at"] == made.json()["link"]["expires_at"]
    for path in (
        f"/transfers/{TRANSFER}",
        f"/transfers/{OTHER}",
        f"/transfers/{TRANSFER}/events",
        "/transfers",
        "/events",
    ):
        assert (await client("GET", f"{API}{path}", headers=own)).status == 403, path


@pytest.mark.parametrize(
    ("method", "path"),
    [
        (method, route.path)
        for route in ROUTES
        if isinstance(route, Route) and route.path.startswith("/_api/") and not route.path.startswith(f"{API}/watch")
        if not route.path.endswith("/openapi.json")  # open to anybody
        for method in sorted(route.methods or ())
    ],
)
async def test_a_link_opens_no_other_route(client: AsgiClient, world: World, method: str, path: str) -> None:
    await world.row(Role.PUSHER)
    token = token_of(await new_link(client))[HEADER]
    fill = {"transfer_id": TRANSFER, "attachment_id": ATTACHMENT, "collection": "pages", "number": "0"}
    filled = re.sub(r"{(\w+)(:\w+)?}", lambda match: fill.get(match[1], "x"), path)
    for headers in (
        {HEADER: token},
        {"authorization": f"Bearer {token}"},
        {"x-growi-transfer-key": token, "x-growi-transfer-epoch": "1"},
        {"cookie": f"growi_transfer_admin={token}", "sec-fetch-site": "same-origin"},
    ):
        assert (await client(method, filled, [b"{}", b""], headers=headers)).status == 403, headers
    assert world.pusher.calls == []


async def test_a_link_ends_with_its_time(client: AsgiClient, world: World) -> None:
    await world.row(Role.PUSHER)
    usual = token_of(await new_link(client))
    short = token_of(await new_link(client, expires_in_seconds=60))
    world.clock.advance(seconds=59)
    assert (await client("GET", f"{API}/watch", headers=short)).status == 200
    world.clock.advance(seconds=1)
    answer = await client("GET", f"{API}/watch", headers=short)
    assert (answer.status, answer.code) == (403, "watch_link_ended")
    world.clock.advance(seconds=LIFETIME.total_seconds() - 61)
    assert (await client("GET", f"{API}/watch", headers=usual)).status == 200
    world.clock.advance(seconds=1)
    assert (await client("GET", f"{API}/watch", headers=usual)).status == 403
    assert (await client("GET", f"{API}/watch/events", headers=usual)).status == 403


@pytest.mark.parametrize("seconds", [0, 59, 30 * 86400 + 1, -60, "1", 1.5, None])
async def test_a_time_is_from_a_minute_to_thirty_days(client: AsgiClient, world: World, seconds: Any) -> None:
    await world.row(Role.PUSHER)
    answer = await new_link(client, expires_in_seconds=seconds)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert (await new_link(client, expires_in_seconds=30 * 86400)).status == 201


async def test_links_are_revoked_one_by_one_or_all(client: AsgiClient, world: World) -> None:
    await world.row(Role.PUSHER)
    path = f"{API}/transfers/{TRANSFER}/watch-links"
    made = [await new_link(client) for _ in range(3)]
    listed = await client("GET", path, headers=ADMIN)
    assert listed.json()["links"] == [one.json()["link"] for one in made]
    assert not any(token_of(one)[HEADER] in listed.body.decode() for one in made)
    first = made[0].json()["link"]["id"]
    assert (await client("DELETE", f"{path}/{first}", headers=ADMIN)).status == 204
    assert (await client("DELETE", f"{path}/{first}", headers=ADMIN)).status == 404
    states = [(await client("GET", f"{API}/watch", headers=token_of(one))).status for one in made]
    assert states == [403, 200, 200]
    assert (await client("DELETE", path, headers=ADMIN)).status == 204
    states = [(await client("GET", f"{API}/watch", headers=token_of(one))).status for one in made]
    assert states == [403, 403, 403]
    row = await world.ledger.get_transfer(Role.PUSHER, TRANSFER)
    assert row is not None
    assert FACT not in row.facts


async def test_nothing_keeps_a_token(client: AsgiClient, world: World) -> None:
    await world.row(Role.PUSHER)
    with structlog.testing.capture_logs() as logs:
        made = await new_link(client)
    token = token_of(made)[HEADER]
    row = await world.ledger.get_transfer(Role.PUSHER, TRANSFER)
    assert token not in repr(row)
    assert [line["event"] for line in logs] == ["watch link issued"]
    assert token not in repr(logs)
    assert (await client("GET", f"{API}/watch?token={token}")).status == 403, "a token in an address opens nothing"


async def test_the_page_is_for_everybody_and_tells_nobody_where_it_was(client: AsgiClient) -> None:
    answer = await client("GET", "/watch")
    assert (answer.status, answer.headers["referrer-policy"]) == (200, "no-referrer")
    assert answer.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_a_transfer_that_is_not_there_has_no_links(client: AsgiClient) -> None:
    assert (await new_link(client)).status == 404
    assert (await client("GET", f"{API}/transfers/{TRANSFER}/watch-links", headers=ADMIN)).status == 404


# the links themselves


async def links_of(clock: Clock, **options: Any) -> tuple[WatchLinks, TransferRow, MemoryLedger]:
    ledger = MemoryLedger()
    row = TransferRow(Role.RECEIVER, TRANSFER, Position(State.COPYING), {}, clock(), clock())
    await ledger.create_transfer(row)
    return WatchLinks(ledger, [SECRET], clock, **options), row, ledger


async def test_a_token_of_another_kind_or_changed_is_refused() -> None:
    clock = Clock()
    links, row, ledger = await links_of(clock)
    token = (await links.issue(row)).token
    assert (await links.check(token, ADDRESS)).transfer_id == TRANSFER
    foreign = (await WatchLinks(ledger, ["another-secret-of-length"], clock).issue(row)).token
    for wrong in ("", "x", token[:-1], token[1:], token.replace(".", ""), foreign, "あ", token + "x"):
        with pytest.raises(WatchLinkEnded):
            await links.check(wrong, ADDRESS)
    rotated = WatchLinks(ledger, [SECRET, "a-newer-secret-of-length"], clock)
    assert (await rotated.check(token, ADDRESS)).role is Role.RECEIVER


async def test_guessing_is_slowed_down_and_never_meets_a_valid_link() -> None:
    links, row, _ = await links_of(Clock(), seconds=lambda: 0.0)
    token = (await links.issue(row)).token
    for _ in range(20):
        with pytest.raises(WatchLinkEnded):
            await links.check("wrong", ADDRESS)
    with pytest.raises(RateLimited):
        await links.check("wrong", ADDRESS)
    assert await links.check(token, ADDRESS)


async def test_a_transfer_has_so_many_links_and_no_more() -> None:
    clock = Clock()
    links, row, _ = await links_of(clock)
    await asyncio.gather(*(links.issue(row, timedelta(hours=1)) for _ in range(MOST)))
    with pytest.raises(Conflict):
        await links.issue(row)
    clock.advance(hours=1)
    assert await links.valid(row) == []
    assert await links.issue(row)
    assert len(await links.valid(row)) == 1


async def test_who_waits_for_the_end_hears_of_a_revocation() -> None:
    links, row, _ = await links_of(Clock())
    kept, ended = [(await links.issue(row)).link for _ in range(2)]
    waiting = [asyncio.create_task(links.ends.wait(link)) for link in (kept, ended, ended)]
    await asyncio.sleep(0)
    with pytest.raises(NotFound):
        await links.revoke(row, "0" * 16)
    await links.revoke(row, ended.id)
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting[1:])
    assert not waiting[0].done()
    waiting[0].cancel()


async def test_who_waits_for_the_end_hears_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("growi_transfer.web.ends.LOOK_SECONDS", 0.01)
    clock = Clock()
    links, row, _ = await links_of(clock)
    link = (await links.issue(row, timedelta(minutes=1))).link
    async with links.ends.running(), asyncio.timeout(5):
        waiting = asyncio.create_task(links.ends.wait(link))
        await asyncio.sleep(0)
        clock.advance(minutes=1)
        await waiting


async def test_who_waits_for_the_end_hears_of_a_revocation_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("growi_transfer.web.ends.LOOK_SECONDS", 0.01)
    clock = Clock()
    links, row, ledger = await links_of(clock)
    kept, ended = [(await links.issue(row)).link for _ in range(2)]
    elsewhere = WatchLinks(ledger, [SECRET], clock)
    async with links.ends.running(), asyncio.timeout(5):
        waiting = [asyncio.create_task(links.ends.wait(link)) for link in (kept, ended)]
        get = ledger.get_transfer
        away = asyncio.Event()

        async def fails(*_: Any) -> Any:
            away.set()
            raise DatabaseUnavailable("not now")

        monkeypatch.setattr(ledger, "get_transfer", fails)
        await away.wait()
        monkeypatch.setattr(ledger, "get_transfer", get)
        await elsewhere.revoke(row, ended.id)
        await waiting[1]
        assert not waiting[0].done()
        waiting[0].cancel()


# what is shown


def test_every_field_of_a_transfer_is_shown_on_purpose_or_not_at_all() -> None:
    secret = "hunter2"
    snapshot = Snapshot(
        TRANSFER,
        "pusher",
        failures=(Failure("attachment/a.png", "file", "file_not_found", "It is not there.", 1, False),),
        warnings=(Notice("users_conflict", "Some users conflict.", {"users": [secret]}),),
    )
    whole = to_json(snapshot)
    shown = watcher_shape(
        {**whole, "created_at": "2026", "setup": secret, "failures": [{**whole["failures"][0], "by": secret}]}
    )
    assert secret not in repr(shown)
    assert set(shown) == {*SHOWN, "failures", "warnings"} & {*whole}
    assert shown["failures"] == [{"kind": "file", "code": "file_not_found", "tries": 1, "retryable": False}]
    assert shown["warnings"] == [{"code": "users_conflict", "message": "Some users conflict."}]
