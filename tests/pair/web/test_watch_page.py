"""The page behind a watch link, in a browser that is not logged in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.fakes.browser import PROGRAM, browser_page
from tests.fakes.http import serve
from tests.fakes.web import ADMIN_TOKEN, TRANSFER, World

from growi_transfer.ledger.base import CollectionRow, Role
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import Activity, Failure, Lane, Notice, Sending, Snapshot
from growi_transfer.web.app import App

LINKS = f"/_api/v3/g2g-transfer/transfers/{TRANSFER}/watch-links"
ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}
MOVING = Snapshot(
    TRANSFER,
    "pusher",
    position=Position(State.COPYING),
    bytes_done=181 << 20,
    bytes_total=512 << 20,
    files_failed=1,
    files_total=3,
    failures=(Failure("attachment/whose.png", "file", "file_not_found", "There is no whose.png.", 2, False),),
    activity=Activity(Lane(1, 3), Lane(1, 4), {}, (Sending("file", "whose.png", 1, 100, 10),)),
    warnings=(Notice("users_conflict", "Some users conflict.", {"users": ["alice"]}),),
)


class Noting(App):
    """Notes what a server, and a proxy before it, could write into a log: addresses and where requests come from."""

    seen: list[str]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            headers = dict(scope["headers"])
            self.seen.append(f"{scope['path']}?{scope['query_string'].decode()} {headers.get(b'referer')}")
        await super().__call__(scope, receive, send)


def noting(world: World, seen: list[str]) -> App:
    app = Noting(world.open_services)
    app.seen = seen
    return app


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium on PATH")
async def test_a_link_is_watched_over_a_restart_until_it_is_revoked(tmp_path: Path) -> None:
    world = World(tmp_path / "data")
    await world.row(Role.PUSHER)
    await world.board.put(MOVING)
    facts = {"documents": 7, "bytes": 700}
    await world.ledger.put_collections(
        [CollectionRow(Role.PUSHER, TRANSFER, 0, "revisions", "collection", "", "{}", facts=facts)]
    )
    seen: list[str] = []
    async with browser_page(tmp_path / "profile") as page:
        async with serve(noting(world, seen)) as address, aiohttp.ClientSession(f"http://{address}") as http:
            async with http.post(LINKS, headers=ADMIN, json={}) as made:
                url = (await made.json())["url"]
            token = url.partition("#")[2]
            await page.open(url)
            await page.until("document.querySelector('.line.live')")
            await page.until("document.body.textContent.includes('181 MiB of 512 MiB')")
            await page.until("document.querySelector('#collections progress')")
            assert "revisions0 of 7" in await page.run("document.querySelector('#collections').textContent")
            assert "file_not_found" in await page.run("document.querySelector('#failures').textContent")
            assert "one file" in await page.run("document.querySelector('#sending').textContent")
            assert "whose" not in await page.run("document.documentElement.outerHTML")
            assert "alice" not in await page.run("document.documentElement.outerHTML")
            assert await page.run("document.cookie") == ""
            assert await page.run("[...document.querySelectorAll('nav a, form, [data-verb], [data-act]')].length") == 0
            await world.board.put(replace(MOVING, bytes_done=200 << 20))
            await page.until("document.body.textContent.includes('200 MiB of 512 MiB')")

        await page.until("document.querySelector('.line.waiting')")
        await world.board.put(replace(MOVING, bytes_done=300 << 20))
        port = int(address.rpartition(":")[2])
        async with serve(noting(world, seen), port) as address, aiohttp.ClientSession(f"http://{address}") as http:
            await page.until("document.querySelector('.line.live')")
            await page.until("document.body.textContent.includes('300 MiB of 512 MiB')")
            async with http.delete(LINKS, headers=ADMIN) as revoked:
                assert revoked.status == 204
            await page.until("document.body.textContent.includes('This link is not valid any more')")
            await page.open(f"http://{address}/watch")
            await page.until("document.body.textContent.includes('This link is not valid any more')")
        assert page.complaints == []
    assert any(line.startswith("/_api/v3/g2g-transfer/watch?") for line in seen)
    assert [line for line in seen if token in line] == []


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium on PATH")
async def test_without_websocket_a_page_is_live_by_events(tmp_path: Path) -> None:
    world = World(tmp_path / "data")
    await world.row(Role.PUSHER)
    await world.board.put(MOVING)

    class WithoutWebSocket(App):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close"})
            else:
                await super().__call__(scope, receive, send)

    async with (
        serve(WithoutWebSocket(world.open_services)) as address,
        aiohttp.ClientSession(f"http://{address}") as http,
        browser_page(tmp_path / "profile") as page,
    ):
        async with http.post(LINKS, headers=ADMIN, json={}) as made:
            await page.open((await made.json())["url"])
        await page.until("document.querySelector('.line.live')")
        await world.board.put(replace(MOVING, bytes_done=200 << 20))
        await page.until("document.body.textContent.includes('200 MiB of 512 MiB')")
