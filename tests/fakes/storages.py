"""Storages of every kind to test with, and the few things every test does with them."""

from __future__ import annotations

import functools
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.fakes.object_servers import ObjectServer

from growi_transfer.mongo.client import Database, open_database
from growi_transfer.storage.base import READ_CHUNK, SmallFile, Storage, StoredFile
from growi_transfer.storage.gridfs import GridFsStorage
from growi_transfer.storage.local import LocalStorage
from growi_transfer.storage.memory import MemoryStorage
from growi_transfer.storage.object_store.storage import ObjectStorage
from growi_transfer.storage.places import Place, place_of

OBJECT_KINDS = ("aws", "azure", "gcs")
BUCKETS = {"aws": "contract", "azure": "contract", "gcs": "gcs-contract"}
"""There is one in every server of a test session."""


@dataclass
class Bench:
    """A storage under test."""

    kind: str
    storage: Storage
    again: Callable[[], Storage]
    """Another storage object on the same files, as a new process would have it."""
    root: Path
    """Folder of the local storage."""
    database: Database | None
    """Database of the GridFS storage."""
    place: Place | None = None
    """Where an object store keeps the files of this test."""

    @property
    def mongo(self) -> Database:
        assert self.database is not None
        return self.database

    async def rows(self, collection: str) -> int:
        """Documents in a collection of the GridFS storage's database."""
        return int((await self.mongo.command({"count": collection}))["n"])


class Benches:
    """Makes storages of any kind, each on a place of its own, and closes them."""

    def __init__(
        self,
        folder: Path,
        mongo_uri: str,
        database_name: Callable[[], str],
        object_server: Callable[[str], ObjectServer],
    ) -> None:
        """`database_name` and `object_server` (of a kind) are asked for only when one is needed."""
        self._folder = folder
        self._object_server = object_server
        self._mongo_uri = mongo_uri
        self._database_name = database_name
        self._storages: list[Storage] = []
        self._databases: list[Database] = []

    async def make(self, kind: str) -> Bench:
        root = self._folder / "uploads"
        database: Database | None = None
        place: Place | None = None
        if kind == "memory":
            memory = MemoryStorage()
            again: Callable[[], Storage] = lambda: memory  # noqa: E731
        elif kind == "local":
            root.mkdir()
            again = lambda: self._keep(LocalStorage(root))  # noqa: E731
        elif kind in OBJECT_KINDS:
            # One folder of one bucket for each storage: a server takes seconds to start.
            server = self._object_server(kind)
            place = place_of(server.kind, server.settings(BUCKETS[kind]))
            place = placed = replace(place, prefix=f"{place.prefix}{uuid.uuid4().hex}/")
            again = lambda: self._keep(ObjectStorage(placed))  # noqa: E731
        else:
            database = opened = await open_database(self._mongo_uri, database=self._database_name())
            self._databases.append(opened)
            again = lambda: self._keep(GridFsStorage(opened))  # noqa: E731
        return Bench(kind, again(), again, root, database, place)

    def _keep(self, storage: Storage) -> Storage:
        self._storages.append(storage)
        return storage

    async def close(self) -> None:
        for storage in self._storages:
            await storage.close()
        for database in self._databases:
            await database.close()


@functools.lru_cache(maxsize=32)
def content(size: int, seed: int = 0) -> bytes:
    """The same for each storage in turn."""
    return random.Random(seed * 7919 + size).randbytes(size)


def small(names: Iterable[str], size: int = 100) -> list[SmallFile]:
    return [SmallFile(name, content(size, seed)) for seed, name in enumerate(names)]


async def pieces(data: bytes, size: int = 300_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def put(storage: Storage, path: str, data: bytes) -> None:
    await storage.write(path, pieces(data), len(data))


async def get(storage: Storage, path: str, offset: int = 0) -> bytes:
    return b"".join([chunk async for chunk in storage.open(path, offset)])


async def listed(storage: Storage, prefix: str = "") -> list[StoredFile]:
    return [file async for page in storage.list_files(prefix) for file in page]


# Every way to get NEW to `attachment/a`; each may be repeated after it failed.

OLD = content(300_000, 1)
NEW = content(READ_CHUNK + 500_000, 2)
Way = Callable[[Storage], Awaitable[None]]


async def write_one(storage: Storage) -> None:
    await storage.write("attachment/a", pieces(NEW), len(NEW))


async def write_bundle(storage: Storage) -> None:
    for error in await storage.write_many([SmallFile("attachment/a", NEW), SmallFile("attachment/b", NEW[:1000])]):
        if error is not None:
            raise error


async def write_parts(storage: Storage) -> None:
    upload = await storage.partial("attachment/a", "id")
    try:
        for start in range(upload.offset, len(NEW), READ_CHUNK):
            await upload.write(NEW[start : start + READ_CHUNK])
            await upload.sync()
        await upload.finish()
    finally:
        await upload.close()


async def move_over(storage: Storage) -> None:
    if (await storage.stat_many([".growi-transfer/aside/1/a"]))[0] is None:
        if await get(storage, "attachment/a") == NEW:
            return
        await storage.write(".growi-transfer/aside/1/a", pieces(NEW), len(NEW))
    await storage.move(".growi-transfer/aside/1/a", "attachment/a")


WAYS: tuple[Way, ...] = (write_one, write_bundle, write_parts, move_over)


async def assert_old_or_new(storage: Storage) -> None:
    assert await get(storage, "attachment/a") in (OLD, NEW)
    for file in await listed(storage):
        data = await get(storage, file.path)
        assert len(data) == file.size
        assert (file.path, data) in (("attachment/a", OLD), ("attachment/a", NEW), ("attachment/b", NEW[:1000]))
