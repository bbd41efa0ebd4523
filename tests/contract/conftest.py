"""Storages behind a fixture each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.fakes.storages import Bench, Benches

from growi_transfer.storage.base import Storage


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


@pytest.fixture(params=["memory", "local", "gridfs", "aws", "azure", "gcs"])
async def bench(benches: Benches, request: pytest.FixtureRequest) -> Bench:
    """Each storage in turn."""
    return await benches.make(request.param)


@pytest.fixture
def storage(bench: Bench) -> Storage:
    return bench.storage


@pytest.fixture
async def local(benches: Benches) -> Bench:
    return await benches.make("local")


@pytest.fixture
async def gridfs(benches: Benches) -> Bench:
    return await benches.make("gridfs")
