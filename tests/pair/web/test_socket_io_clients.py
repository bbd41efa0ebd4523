"""The pages' own client of Socket.IO, the official one and Python's are told the same, also after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import socketio
from tests.fakes.http import serve
from tests.fakes.object_servers import NPM
from tests.fakes.web import ADMIN_TOKEN, OTHER, TRANSFER, World

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import Failure, Snapshot
from growi_transfer.protocol.shape import to_json
from growi_transfer.web.app import create_app
from growi_transfer.web.auth import AdminAccess
from growi_transfer.web.static_files import STATIC

NODE = shutil.which("node")
OFFICIAL = Path(NPM, "node_modules", "socket.io-client")
SCRIPT = Path(__file__).parents[2] / "fakes" / "watchers.mjs"
PROGRESS, ERROR = "admin:g2gProgress", "admin:g2gError"
RAW = ("python", "own", "official websocket", "official polling")
"""Clients that tell each event as it came."""
LIVE = ("live", "live all", "live events")
"""Those of the pages, which tell the state."""
COPYING = Snapshot(TRANSFER, "pusher", position=Position(State.COPYING), bytes_total=100, files_total=2)

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="no node on PATH"),
    pytest.mark.skipif(
        not OFFICIAL.is_dir(),
        reason="GROWI_TRANSFER_TEST_NPM names no folder with node_modules/socket.io-client",
    ),
]


class Watchers:
    """What each client was told so far."""

    def __init__(self) -> None:
        self.told: dict[str, list[tuple[str, Any]]] = {name: [] for name in (*RAW, *LIVE)}
        self.changed = asyncio.Condition()

    async def note(self, client: str, event: str, data: Any = None) -> None:
        async with self.changed:
            self.told[client].append((event, data))
            self.changed.notify_all()

    async def until(self, condition: Callable[[str], bool], clients: tuple[str, ...] = (*RAW, *LIVE)) -> None:
        try:
            async with asyncio.timeout(30), self.changed:
                await self.changed.wait_for(lambda: all(condition(one) for one in clients))
        except TimeoutError:
            left = {one: [name for name, _ in self.told[one]] for one in clients if not condition(one)}
            pytest.fail(f"still waiting for {left}; states: { {one: self.state(one) for one in left} }")

    def events(self, client: str) -> list[tuple[str, Any]]:
        return [(event, data) for event, data in self.told[client] if event in (PROGRESS, ERROR)]

    def state(self, client: str) -> Any:
        """The last state of the transfer, as an event tells it."""
        for event, data in reversed(self.told[client]):
            if event == PROGRESS and data["transfer"]["id"] == TRANSFER:
                return data["transfer"]
            if event == "snapshot" and data["id"] == TRANSFER:
                return {name: value for name, value in data.items() if name in to_json(COPYING)}
        return None


@contextlib.asynccontextmanager
async def watchers(address: str, cookie: str) -> AsyncIterator[Watchers]:
    watched = Watchers()
    python = socketio.AsyncClient(reconnection_delay=0.05, reconnection_delay_max=0.2)

    async def note(event: str, data: Any = None) -> None:
        await watched.note("python", event, data)

    async def note_end(_: str) -> None:
        await watched.note("python", "disconnect")

    python.on("*", note, namespace="/admin")
    python.on("disconnect", note_end, namespace="/admin")
    await python.connect(f"http://{address}", namespaces=["/admin"], auth={"token": ADMIN_TOKEN})
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        *(NODE, SCRIPT, NPM, STATIC / "js", f"http://{address}", cookie, TRANSFER),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    output = process.stdout

    async def read() -> None:
        async for line in output:
            await watched.note(*json.loads(line))

    reading = asyncio.create_task(read())
    try:
        yield watched
    finally:
        process.stdin.close()
        await process.wait()
        await reading
        await python.shutdown()


async def put(world: World, snapshot: Snapshot) -> None:
    """A new state: first in the ledger, then on the board, as everywhere."""
    role = Role(snapshot.role)
    row = await world.ledger.get_transfer(role, snapshot.id)
    assert row is not None
    await world.ledger.move_transfer(role, snapshot.id, row.position, snapshot.position, world.clock())
    await world.board.put(snapshot)


async def test_all_clients_are_told_the_same_and_come_back_after_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.row(Role.PUSHER)
    await world.row(Role.RECEIVER, OTHER)
    session = AdminAccess(ADMIN_TOKEN, world.services.session_secrets, world.clock, session_seconds=3600).new_session()
    cookie = f"growi_transfer_admin={session}"
    file = Failure("attachment/a.png", "file", "file_not_found", "消えた <b>ファイル</b>", 1, False)
    steps = (
        replace(COPYING, bytes_done=40),
        replace(COPYING, bytes_done=41, files_done=1, failures=(file,)),
        Snapshot(OTHER, "receiver", position=Position(State.VERIFYING)),
        replace(COPYING, position=Position(State.PAUSED, State.COPYING), failures=(file,)),
    )
    await put(world, COPYING)
    async with contextlib.AsyncExitStack() as stack:
        async with serve(create_app(world.open_services)) as address:
            watched = await stack.enter_async_context(watchers(address, cookie))
            await watched.until(lambda one: watched.state(one) == to_json(COPYING))
            await watched.until(lambda one: any(event == "live" for event, _ in watched.told[one]), LIVE)
            before = {one: len(watched.events(one)) for one in RAW}
            for number, step in enumerate(steps):
                await put(world, step)
                shape = to_json(step)
                seen = (
                    PROGRESS,
                    {"mongo": shape["mongo"], "attachments": shape["attachments"], "transfer": shape},
                )
                await watched.until(lambda one, seen=seen: seen in watched.events(one), RAW)
                if step.id == TRANSFER:
                    await watched.until(lambda one, shape=shape: watched.state(one) == shape)
                if number == 1:
                    await watched.until(lambda one: any(event == ERROR for event, _ in watched.events(one)), RAW)
            lines = {one: watched.events(one)[before[one] :] for one in RAW}
            assert [event for event, _ in lines["python"]] == [PROGRESS, PROGRESS, ERROR, PROGRESS, PROGRESS]
            for one in RAW:
                assert lines[one] == lines["python"], one
            others = [data["id"] for event, data in watched.told["live all"] if event == "snapshot"]
            assert set(others) == {TRANSFER, OTHER}
            assert all(data["id"] == TRANSFER for event, data in watched.told["live"] if event == "snapshot")
            ways = {one: {data for event, data in watched.told[one] if event == "live"} for one in LIVE}
            assert ways == {"live": {"socket"}, "live all": {"socket"}, "live events": {"events"}}

        await watched.until(lambda one: any(event in ("disconnect", "waiting") for event, _ in watched.told[one]))
        missed = replace(COPYING, bytes_done=90, files_done=2)
        await put(world, missed)
        again = tuple(one for one in (*RAW, *LIVE) if one != "own")
        async with serve(create_app(world.open_services), int(address.rpartition(":")[2])):
            await watched.until(lambda one: watched.state(one) == to_json(missed), again)
            last = replace(COPYING, position=Position(State.COMPLETED), bytes_done=100)
            await put(world, last)
            await watched.until(lambda one: watched.state(one) == to_json(last), again)
