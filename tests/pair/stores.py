"""Two running wikis that keep their attachments in storages of any two kinds."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from tests.fakes.uploads import Uploads
from tests.pair.instances import Pair, open_pair

NAMES = (
    "0123456789abcdef0123456789abcdef.png",
    "スクリーンショット 1.png",
    "ページ「まとめ」.txt",
    "a b+c&d=e#f%20g~.bin",
    "%2e%2e%2f.txt",
    "🙂.jpg",
    "no extension",
    "(1)[2]{3}'4'!@$^;,.txt",
)
"""GROWI makes names like the first; others come from old versions, imports and hands."""
SIZES = (0, 1, 4096, 255 * 1024, 255 * 1024 + 1, 1 << 20, 3_000_001, 12_345)
LARGE = (20 << 20) + 4321
"""Of several parts in every storage, the last of them short."""


@dataclass
class Wikis:
    pair: Pair
    source: Uploads
    destination: Uploads

    def add(self, name: str, content: bytes, *, page: bool = True) -> str:
        """An attachment, and under which name a storage has it."""
        self.pair.source.database["attachments"].insert_one(
            {
                "_id": bson.ObjectId(),
                "fileName": name,
                "fileSize": len(content),
                "fileFormat": "application/octet-stream",
                "originalName": f"元の名前 {name}",
                **({"page": bson.ObjectId()} if page else {}),
            }
        )
        path = f"{'attachment' if page else 'user'}/{name}"
        self.source.put(path, content)
        return path

    def fill(self) -> dict[str, str]:
        """One of each kind; their digests by the name that the destination has for them."""
        choose = random.Random(7)
        wanted: dict[str, str] = {}
        for number, (name, size) in enumerate(zip((*NAMES, "large.bin"), (*SIZES, LARGE), strict=True)):
            content = choose.randbytes(size)
            path = self.add(name, content, page=bool(number % 3))
            wanted[self.destination.name(path)] = hashlib.sha256(content).hexdigest()
        return wanted


Opens = Callable[..., AbstractAsyncContextManager[Wikis]]


@pytest.fixture
def wikis(
    tmp_path: Path,
    mongo_uri: str,
    mongo_database_name: str,
    mongo_uri_destination: str,
    mongo_database_name_destination: str,
    request: pytest.FixtureRequest,
) -> Opens:
    """Opens two wikis with storages of the kinds that are asked for; `through`: addresses to reach S3 at."""

    @asynccontextmanager
    async def opened(
        source: str, destination: str, *, through: tuple[str | None, str | None] = (None, None), **more: Any
    ) -> AsyncIterator[Wikis]:
        sides = [(mongo_uri, mongo_database_name), (mongo_uri_destination, mongo_database_name_destination)]
        with MongoClient[dict[str, Any]](mongo_uri) as one, MongoClient[dict[str, Any]](mongo_uri_destination) as other:
            found: list[Uploads] = []
            for client, (_, name), role, kind, endpoint in zip(
                (one, other), sides, ("source", "destination"), (source, destination), through, strict=True
            ):
                uploads = _uploads(kind, tmp_path / role / "uploads", client[name], request)
                uploads.configure(client[name], endpoint)
                found.append(uploads)
            settings = {"of_source": found[0].environment, "of_destination": found[1].environment}
            async with open_pair(tmp_path, *sides, **{**settings, **more}) as pair:
                yield Wikis(pair, *found)

    return opened


def _uploads(kind: str, root: Path, database: Any, request: pytest.FixtureRequest) -> Uploads:
    if kind == "local":
        return Uploads(kind, root=root)
    if kind == "gridfs":
        return Uploads(kind, database=database)
    server = request.getfixturevalue(f"{kind}_server")
    bucket = f"{kind}-{bson.ObjectId()}"
    server.make_bucket(bucket)
    return Uploads(kind, server=server, bucket=bucket)
