"""Progress on its way to people: server-sent events and Socket.IO, over a real connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio
from tests.fakes.http import serve
from tests.fakes.web import ADMIN_TOKEN, OTHER, TRANSFER, World

from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import Failure, Notice, Snapshot
from growi_transfer.protocol.shape import to_json
from growi_transfer.web.app import create_app
from growi_transfer.web.auth import AdminAccess
from growi_transfer.web.services import Limits
from growi_transfer.web.watch_links import WatchLinks
from growi_transfer.web.watcher_shape import watcher_shape

API = "/_api/v3/g2g-transfer"
ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}
COPYING = Snapshot(TRANSFER, "pusher", position=Position(State.COPYING), bytes_total=100, files_total=2)


# server-sent events


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    """(event, data), and ("comment", text)."""
    name = ""
    async for line in answer.content:
        text = line.decode().rstrip("\n")
        field, _, value = text.partition(": ")
        if field == "":
            if value:
                yield "comment", value
        elif field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


async def next_event(stream: AsyncIterator[tuple[str, Any]]) -> tuple[str, Any]:
    async with asyncio.timeout(10):
        async for name, data in stream:
            if name != "comment":
                return name, data
    raise AssertionError("the stream ended")


async def no_watchers(world: World, expected: int = 1) -> None:
    """The broadcaster of Socket.IO is the one that stays."""
    async with asyncio.timeout(10):
        while world.board.watchers > expected:
            await asyncio.sleep(0.01)


async def test_a_watcher_sees_the_present_then_each_change_until_the_end(
    world: World, http: aiohttp.ClientSession
) -> None:
    await world.row(Role.PUSHER)
    await world.board.put(COPYING)
    async with http.get(f"{API}/transfers/{TRANSFER}/events", headers={**ADMIN, "last-event-id": "77"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        stream = events(answer)
        assert await next_event(stream) == ("transfer", {"transfer": to_json(COPYING)})
        later = replace(COPYING, bytes_done=50)
        await world.board.put(later)
        assert await next_event(stream) == ("transfer", {"transfer": to_json(later)})
        await world.board.put(Snapshot(OTHER, "pusher"))
        done = replace(later, position=Position(State.COMPLETED), bytes_done=100)
        await world.board.put(done)
        assert await next_event(stream) == ("transfer", {"transfer": to_json(done)})
        assert await next_event(stream) == ("end", {})
        async with asyncio.timeout(5):
            assert await answer.content.read() == b"\n"
    await no_watchers(world)


async def test_silence_is_broken_by_heartbeats(world: World, http: aiohttp.ClientSession) -> None:
    await world.row(Role.PUSHER)
    await world.board.put(COPYING)
    async with http.get(f"{API}/transfers/{TRANSFER}/events", headers=ADMIN) as answer:
        comments = 0
        async with asyncio.timeout(10):
            async for name, _ in events(answer):
                comments += name == "comment"
                if comments == 3:
                    break
    await no_watchers(world)


async def test_a_reader_that_goes_leaves_nothing_behind(world: World, http: aiohttp.ClientSession) -> None:
    await world.row(Role.PUSHER)
    for _ in range(3):
        async with http.get(f"{API}/transfers/{TRANSFER}/events", headers=ADMIN) as answer:
            assert answer.status == 200
            answer.close()
    await no_watchers(world)


async def test_a_transfer_of_an_earlier_run_is_shown_from_its_row(world: World, http: aiohttp.ClientSession) -> None:
    await world.row(Role.RECEIVER, TRANSFER, State.COMPLETED)
    async with http.get(f"{API}/transfers/{TRANSFER}/events", headers=ADMIN) as answer:
        stream = events(answer)
        name, data = await next_event(stream)
        assert (name, data["transfer"]["state"]) == ("transfer", "completed")
        assert await next_event(stream) == ("end", {})


async def test_a_peer_watches_its_own_transfer(world: World, http: aiohttp.ClientSession) -> None:
    await world.row(Role.RECEIVER)
    await world.row(Role.PUSHER)
    await world.board.put(Snapshot(TRANSFER, "receiver", position=Position(State.VERIFYING)))
    own = {"x-growi-transfer-key": await world.key(claimed_by=TRANSFER)}
    async with http.get(f"{API}/transfers/{TRANSFER}/events", headers=own) as answer:
        _, data = await next_event(events(answer))
        assert (data["transfer"]["role"], data["transfer"]["state"]) == ("receiver", "verifying")
    async with http.get(f"{API}/transfers/{OTHER}/events", headers=own) as answer:
        assert answer.status == 403


async def test_the_stream_of_all_transfers(world: World, http: aiohttp.ClientSession) -> None:
    await world.board.put(COPYING)
    async with http.get(f"{API}/events", headers=ADMIN) as answer:
        stream = events(answer)
        assert (await next_event(stream))[1]["transfer"]["id"] == TRANSFER
        await world.board.put(Snapshot(OTHER, "receiver", position=Position(State.COMPLETED)))
        assert (await next_event(stream))[1]["transfer"]["id"] == OTHER
        await world.board.put(replace(COPYING, bytes_done=1))
        assert (await next_event(stream))[1]["transfer"]["bytes"]["done"] == 1


async def test_watchers_do_not_hold_up_the_end_of_the_server(tmp_path: Path) -> None:
    world = World(tmp_path)
    app = create_app(world.open_services)
    async with aiohttp.ClientSession() as session, asyncio.timeout(4):
        async with serve(app) as address:
            answer = await session.get(f"http://{address}{API}/events", headers=ADMIN)
            watcher = socketio.AsyncClient(reconnection=False)
            await watcher.connect(
                f"http://{address}", namespaces=["/admin"], auth={"token": ADMIN_TOKEN}, transports=["websocket"]
            )
            path = f"http://{address}/socket.io/?EIO=4&transport=polling"
            async with session.get(path) as opened:
                path += "&sid=" + json.loads((await opened.text())[1:])["sid"]
            polling = asyncio.create_task(_poll(session, path))
            while not all(one.queue._getters for one in app._live._server.eio.sockets.values()):
                await asyncio.sleep(0.01)
        assert await answer.content.read() == b"retry: 2000\n\n"
        await watcher.wait()
        assert await polling == "1"
    assert world.open == 0


async def _poll(session: aiohttp.ClientSession, path: str) -> str:
    async with session.get(path) as answer:
        return await answer.text()


# Socket.IO


class Watcher:
    def __init__(self) -> None:
        self.client = socketio.AsyncClient(reconnection=False)
        self.events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.client.on("*", self._note, namespace="/admin")

    async def _note(self, event: str, data: Any) -> None:
        await self.events.put((event, data))

    async def next(self) -> tuple[str, Any]:
        async with asyncio.timeout(10):
            return await self.events.get()


@asynccontextmanager
async def watching(address: str, auth: Any = None, **options: Any) -> AsyncIterator[Watcher]:
    watcher = Watcher()
    await watcher.client.connect(f"http://{address}", namespaces=["/admin"], auth=auth, **options)
    try:
        yield watcher
    finally:
        await watcher.client.disconnect()


def progress(snapshot: Snapshot) -> tuple[str, Any]:
    shape = to_json(snapshot)
    return (
        "admin:g2gProgress",
        {"mongo": shape["mongo"], "attachments": shape["attachments"], "transfer": shape},
    )


async def test_a_late_watcher_sees_the_present_state_at_once(world: World, address: str) -> None:
    finished = Snapshot(OTHER, "receiver", position=Position(State.COMPLETED))
    await world.board.put(COPYING)
    await world.board.put(finished)
    async with watching(address, {"token": ADMIN_TOKEN}) as first:
        assert await first.next() == progress(COPYING)
        async with watching(address, {"token": ADMIN_TOKEN}) as second:
            assert await second.next() == progress(COPYING)
            later = replace(COPYING, bytes_done=10, files_done=2)
            await world.board.put(later)
            assert await first.next() == progress(later)
            assert await second.next() == progress(later)
    assert world.board.watchers == 1


async def test_a_client_is_let_in_before_it_is_told_anything(world: World) -> None:
    await world.board.put(COPYING)
    app = create_app(world.open_services)
    library = app._live._server
    send = library._send_packet

    async def late(*packet: Any) -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        await send(*packet)

    library._send_packet = late
    path = "/socket.io/?EIO=4&transport=polling"
    async with serve(app) as address, aiohttp.ClientSession(f"http://{address}") as http, asyncio.timeout(10):
        async with http.get(path) as answer:
            opened = await answer.text()
        path += "&sid=" + json.loads(opened[1:])["sid"]
        async with http.post(path, data=f'40/admin,{{"token":"{ADMIN_TOKEN}"}}') as answer:
            assert await answer.text() == "OK"
        packets: list[str] = []
        while len(packets) < 2:
            async with http.get(path) as answer:
                packets += (await answer.text()).split("\x1e")
    assert packets[0].startswith('40/admin,{"sid"')
    event, shown = json.loads(packets[1].removeprefix("42/admin,"))
    assert (event, shown) == progress(COPYING)


async def test_failures_are_told_once_with_growis_keys(world: World, address: str) -> None:
    file = Failure("attachment/a.png", "file", "file_not_found", "The file is not there.", 1, False)
    chunk = Failure("pages/3", "range", "database_unavailable", "No answer.", 2, True)
    async with watching(address, {"token": ADMIN_TOKEN}) as watcher:
        for failures in ((file,), (file, chunk)):
            await world.board.put(replace(COPYING, failures=failures))
            assert (await watcher.next())[0] == "admin:g2gProgress"
            key = "admin:g2g:error_upload_attachment" if len(failures) == 1 else "admin:g2g:error_send_growi_archive"
            assert await watcher.next() == (
                "admin:g2gError",
                {"message": failures[-1].message, "key": key, "transfer": TRANSFER},
            )
        await world.board.put(replace(COPYING, failures=(file, chunk), bytes_done=3))
        assert (await watcher.next())[0] == "admin:g2gProgress"
        await world.board.put(replace(COPYING, bytes_done=4))
        name, data = await watcher.next()
        assert (name, data["transfer"]["bytes"]["done"]) == ("admin:g2gProgress", 4)


@pytest.mark.parametrize(
    ("came_from", "key"),
    [
        (State.CREATED, "admin:g2g:error_generate_growi_archive"),
        (State.COPYING, "admin:g2g:error_send_growi_archive"),
    ],
)
async def test_a_failed_transfer_says_why(world: World, address: str, came_from: State, key: str) -> None:
    await world.row(Role.PUSHER, error={"code": "peer_unavailable", "message": "The other instance does not answer."})
    await world.board.put(replace(COPYING, position=Position(came_from)))
    async with watching(address, {"token": ADMIN_TOKEN}) as watcher:
        await watcher.next()
        failed = replace(COPYING, position=Position(State.FAILED, came_from))
        await world.board.put(failed)
        assert await watcher.next() == progress(failed)
        assert await watcher.next() == (
            "admin:g2gError",
            {"message": "The other instance does not answer.", "key": key, "transfer": TRANSFER},
        )


@pytest.mark.parametrize(
    "auth", [None, {}, {"token": ""}, {"token": "wrong"}, {"token": [ADMIN_TOKEN]}, ADMIN_TOKEN, [ADMIN_TOKEN]]
)
async def test_only_admins_get_in(world: World, address: str, auth: Any) -> None:
    await world.board.put(COPYING)
    watcher = Watcher()
    with pytest.raises(socketio.exceptions.ConnectionError):
        await watcher.client.connect(f"http://{address}", namespaces=["/admin"], auth=auth)
    await world.board.put(replace(COPYING, bytes_done=1))
    async with watching(address, {"token": ADMIN_TOKEN}) as admin:
        await admin.next()
    assert watcher.events.empty()
    await watcher.client.disconnect()


async def test_other_namespaces_are_closed(address: str) -> None:
    client = socketio.AsyncClient(reconnection=False)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(f"http://{address}", namespaces=["/"], auth={"token": ADMIN_TOKEN})
    await client.disconnect()


async def test_the_login_cookie_opens_too_but_not_for_another_origin(world: World, address: str) -> None:
    await world.board.put(COPYING)
    session = AdminAccess(
        ADMIN_TOKEN, world.services.session_secrets, world.clock, session_seconds=Limits().session_seconds
    ).new_session()
    cookie = {"Cookie": f"a=b; growi_transfer_admin={session}"}
    async with watching(address, headers=cookie) as watcher:
        assert await watcher.next() == progress(COPYING)
    for headers in (
        {"Cookie": "growi_transfer_admin=wrong"},
        {**cookie, "Origin": "http://evil.test"},
        {**cookie, "Origin": f"http://{address.partition(':')[0]}:1"},
    ):
        client = socketio.AsyncClient(reconnection=False)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await client.connect(f"http://{address}", namespaces=["/admin"], headers=headers)
        await client.disconnect()


@pytest.mark.parametrize("way", ["logout", "time"])
async def test_the_end_of_a_login_ends_what_it_has_opened(
    world: World, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("growi_transfer.web.ends.LOOK_SECONDS", 0.02)
    await world.row(Role.PUSHER)
    await world.board.put(COPYING)
    seconds = world.services.limits.session_seconds
    access = AdminAccess(ADMIN_TOKEN, world.services.session_secrets, world.clock, session_seconds=seconds)
    ended = {"Cookie": f"growi_transfer_admin={access.new_session()}"}
    world.clock.advance(hours=1)
    kept = {"Cookie": f"growi_transfer_admin={access.new_session()}"}
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serve(create_app(world.open_services)))
        await stack.enter_async_context(asyncio.timeout(20))
        http = await stack.enter_async_context(aiohttp.ClientSession(f"http://{address}"))
        paths = (f"{API}/events", f"{API}/transfers/{TRANSFER}/events")
        streams = [await stack.enter_async_context(http.get(path, headers=ended)) for path in paths]
        opened = [http.get(path, headers=who) for path in paths for who in (kept, ADMIN)]
        others = [await stack.enter_async_context(one) for one in opened]
        cut = await stack.enter_async_context(watching(address, headers=dict(ended)))
        stays = await stack.enter_async_context(watching(address, headers=dict(kept)))
        await cut.next()
        await stays.next()
        if way == "logout":
            headers = {**ended, "origin": f"http://{address}"}
            async with http.post("/logout", headers=headers, allow_redirects=False) as answer:
                assert answer.status == 303
        else:
            world.clock.advance(seconds=seconds - 3600)
        for answer in streams:
            assert (await answer.content.read()).count(b"event: transfer") == 1
        await cut.client.wait()
        await world.board.put(replace(COPYING, bytes_done=77))
        assert (await stays.next())[1]["transfer"]["bytes"]["done"] == 77
        for answer in others:
            stream = events(answer)
            await next_event(stream)
            assert (await next_event(stream))[1]["transfer"]["bytes"]["done"] == 77


# through a watch link


async def watch_link(world: World, lifetime: timedelta = timedelta(hours=1)) -> tuple[str, TransferRow]:
    """The token of a new link to the transfer, and the transfer's row. The server's own links know of it."""
    row = await world.ledger.get_transfer(Role.PUSHER, TRANSFER)
    assert row is not None
    links = WatchLinks(world.ledger, world.services.session_secrets, world.clock)
    return (await links.issue(row, lifetime)).token, row


async def test_a_link_shows_one_transfer_live_over_both_ways(
    world: World, address: str, http: aiohttp.ClientSession
) -> None:
    await world.row(Role.PUSHER)
    await world.board.put(COPYING)
    await world.board.put(Snapshot(OTHER, "receiver", position=Position(State.COPYING)))
    token, _ = await watch_link(world)
    async with (
        watching(address, {"watch": token}) as watcher,
        http.get(f"{API}/watch/events", headers={"x-growi-transfer-watch": token}) as answer,
    ):
        stream = events(answer)
        secret = Notice("users_conflict", "Some users conflict.", {"users": ["alice"]})
        for snapshot in (
            COPYING,
            replace(COPYING, bytes_done=50, warnings=(secret,)),
            replace(COPYING, position=Position(State.COMPLETED), bytes_done=100),
        ):
            await world.board.put(Snapshot(OTHER, "receiver", position=Position(State.COPYING), bytes_done=1))
            await world.board.put(snapshot)
            shape = watcher_shape(to_json(snapshot))
            assert await watcher.next() == (
                "admin:g2gProgress",
                {"mongo": shape["mongo"], "attachments": shape["attachments"], "transfer": shape},
            )
            assert await next_event(stream) == ("transfer", {"transfer": shape})
        # The end of the transfer is not the end of the link: it may be resumed, and rolled back.
        await world.board.put(replace(COPYING, position=Position(State.ROLLED_BACK)))
        assert (await watcher.next())[1]["transfer"]["state"] == "rolled_back"
        assert (await next_event(stream))[1]["transfer"]["state"] == "rolled_back"
        assert watcher.events.empty()


async def test_a_link_that_ends_cuts_its_watchers_off(world: World, address: str, http: aiohttp.ClientSession) -> None:
    await world.row(Role.PUSHER)
    await world.board.put(COPYING)
    path = f"{API}/transfers/{TRANSFER}/watch-links"
    async with http.post(path, headers=ADMIN, json={}) as made:
        token = (await made.json())["path"].removeprefix("/watch#")
    kept, _ = await watch_link(world)
    async with (
        watching(address, {"watch": token}) as watcher,
        watching(address, {"watch": kept}) as other,
        http.get(f"{API}/watch/events", headers={"x-growi-transfer-watch": token}) as answer,
        asyncio.timeout(10),
    ):
        await watcher.next()
        await other.next()
        async with http.delete(f"{path}/{(await made.json())['link']['id']}", headers=ADMIN) as revoked:
            assert revoked.status == 204
        assert (await answer.content.read()).count(b"event: transfer") == 1
        await watcher.client.wait()
        assert other.client.connected
        assert "/admin" in other.client.namespaces
    with pytest.raises(socketio.exceptions.ConnectionError):
        await Watcher().client.connect(f"http://{address}", namespaces=["/admin"], auth={"watch": token})


async def test_who_came_through_a_link_and_goes_leaves_nothing_behind(world: World) -> None:
    await world.row(Role.PUSHER)
    await world.board.put(COPYING)
    token, _ = await watch_link(world)
    app = create_app(world.open_services)
    async with serve(app) as address:
        for _ in range(3):
            async with watching(address, {"watch": token}, transports=["websocket"]) as watcher:
                await watcher.next()
        async with asyncio.timeout(10):
            while app._live._tasks or app._live._watching or app._live._ends:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("token", ["", "wrong", None, ["x"], ADMIN_TOKEN])
async def test_a_wrong_link_lets_nobody_in(world: World, address: str, token: Any) -> None:
    client = socketio.AsyncClient(reconnection=False)
    auth = {"watch": token, "token": ADMIN_TOKEN} if token is None else {"watch": token}
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(f"http://{address}", namespaces=["/admin"], auth=auth)
    await client.disconnect()
