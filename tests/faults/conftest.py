"""Storages behind a fixture each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.fakes.storages import Bench, Benches
from tests.pair.instances import Pair, open_pair


@pytest.fixture
async def benches(tmp_path: Path, mongo_uri: str, request: pytest.FixtureRequest) -> AsyncIterator[Benches]:
    """Makes storages of any kind, each on a place of its own, and closes them."""
    made = Benches(
        tmp_path,
        mongo_uri,
        lambda: str(request.getfixturevalue("mongo_database_name")),
        lambda kind: request.getfixturevalue(f"{kind}_server"),
    )
    yield made
    await made.close()


@pytest.fixture
async def local(benches: Benches) -> Bench:
    return await benches.make("local")


@pytest.fixture
async def gridfs(benches: Benches) -> Bench:
    return await benches.make("gridfs")


@pytest.fixture
async def pair(
    tmp_path: Path,
    mongo_uri: str,
    mongo_database_name: str,
    mongo_uri_destination: str,
    mongo_database_name_destination: str,
) -> AsyncIterator[Pair]:
    """A source and a destination on two servers, both empty, the destination behind a real uvicorn."""
    async with open_pair(
        tmp_path, (mongo_uri, mongo_database_name), (mongo_uri_destination, mongo_database_name_destination)
    ) as opened:
        yield opened
