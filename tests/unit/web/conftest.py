"""A server in this process, without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.fakes.asgi import AsgiClient
from tests.fakes.web import World

from growi_transfer.web.app import create_app


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
async def client(world: World) -> AsyncIterator[AsgiClient]:
    async with AsgiClient(create_app(world.open_services)) as client:
        yield client
