"""Two running instances for a test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.pair.instances import Pair, open_pair


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
