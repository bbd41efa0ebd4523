"""A server with services in memory, on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from tests.fakes.http import serve
from tests.fakes.web import World

from growi_transfer.web.app import create_app
from growi_transfer.web.services import Limits


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, limits=Limits(heartbeat_seconds=0.05, drain_seconds=2, linger_seconds=0.2))


@pytest.fixture
async def address(world: World) -> AsyncIterator[str]:
    async with serve(create_app(world.open_services)) as address:
        yield address
    assert world.open == 0


@pytest.fixture
async def http(address: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://{address}", timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session
