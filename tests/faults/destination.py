"""A destination for the state machine: real, in its own database and folder, and what is sent to it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import bson
from pymongo import MongoClient
from tests.fakes.nth_call import NthCall
from tests.pair.instances import Instance, settings_of, with_database

from growi_transfer import wiring
from growi_transfer.archive.volume import pack
from growi_transfer.ledger.base import Role
from growi_transfer.protocol.digest import set_digest
from growi_transfer.protocol.errors import BodyCut
from growi_transfer.protocol.wire import (
    AttachmentFile,
    Collection,
    CollectionProof,
    Manifest,
    PutTransfer,
    SetUp,
    SourceInfo,
    Verify,
)
from growi_transfer.receiver.receiver import Receiver

T = TypeVar("T")

BOUNDS = {"pages": (None, 10, 20, None), "tags": (None, None)}
"""Each collection is cut at these `_id`s."""
UNIQUE = (
    '{"options":{},"indexes":[{"v":2,"key":{"_id":1},"name":"_id_"},{"v":2,"key":{"u":1},"name":"u","unique":true}]}'
)
PLAIN = '{"options":{},"indexes":[]}'
SAME, FORMER = b"same" * 50, b"former" * 20
SMALL = {"a.bin": b"a" * 700, "same.bin": SAME, "taken.bin": b"new" * 100}
LARGE = bytes(range(256)) * 120
FILES = {**SMALL, "large.bin": LARGE}
IDS = {name: f"{number:024x}" for number, name in enumerate(FILES)}
FORMER_FILES = {"attachment/same.bin": SAME, "attachment/taken.bin": FORMER}
COMMANDS = ("command", "admin", "find", "list_collections", "raw_batches")

Range = tuple[str, int]


def content(collection: str, number: int, version: int) -> list[bytes]:
    """Documents of one range; those of two versions overlap, and carry the unique field to other documents."""
    start = number * 10
    ids = [start + step for step in range(10) if (step * 7 + version) % 3]
    return [bson.encode({"_id": one, "u": (one + version) % 10 + start, "v": version}) for one in ids]


def announced(name: str, *, digest: bool = True) -> AttachmentFile:
    data = FILES[name]
    found = sha256(data).hexdigest() if digest else None
    return AttachmentFile(id=IDS[name], file_name=name, has_page=True, size=len(data), sha256=found)


def setup_of(names: Sequence[str], uuids: Mapping[str, str]) -> PutTransfer:
    return PutTransfer(
        setup=SetUp(source=SourceInfo(instance_id="another")),
        collections=tuple(
            Collection(
                number=number,
                name=name,
                kind="collection",
                uuid=uuids[name],
                metadata=UNIQUE if name == "tags" else PLAIN,
            )
            for number, name in enumerate(names)
        ),
    )


def volume(which: Range, uuid: str, documents: Sequence[bytes], *, deflate: bool) -> bytes:
    name, number = which
    low, high = BOUNDS[name][number : number + 2]
    manifest = Manifest(
        collection=name,
        number=number,
        uuid=uuid,
        minimum=bound(low),
        maximum=bound(high),
        documents=len(documents),
        bytes=sum(map(len, documents)),
        digest=set_digest(documents).hex(),
    )
    return b"".join(pack(manifest, documents, deflate=deflate))


def proof(wanted: Mapping[str, Sequence[bytes]], *, right: bool) -> Verify:
    """What staging must be equal to; a wrong one lacks a document of each collection."""
    return Verify(
        collections=tuple(
            CollectionProof(
                number=number,
                documents=len(wanted[name]),
                digest=set_digest(wanted[name] if right else wanted[name][1:]).hex(),
            )
            for number, name in enumerate(sorted(wanted))
        ),
        files=len(FILES),
        seconds=60,
    )


def bound(value: int | None) -> str | None:
    return None if value is None else b64encode(bson.encode({"_id": value})).decode()


async def pieces(data: bytes, *, cut: bool) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 5_000):
        yield data[start : start + 5_000]
    if cut:
        raise BodyCut


class Destination:
    """Has former documents and files, and is opened as its server does."""

    def __init__(self, uri: str) -> None:
        self._loop = asyncio.Runner()
        self._folder = Path(tempfile.mkdtemp(prefix="growi-transfer-machine-"))
        self._client: MongoClient[dict[str, Any]] = MongoClient(uri)
        name = f"machine_{uuid.uuid4().hex[:12]}"
        self._settings = settings_of(self._folder, with_database(uri, name))
        self.there = Instance(self._settings, self._client[name], self._folder / "uploads")
        self._stack = AsyncExitStack()
        self.calls = NthCall()
        self.there.insert_raw("pages", [bson.encode({"_id": "former"})])
        self.there.insert_raw("only_here", [bson.encode({"_id": 1})])
        for path, data in FORMER_FILES.items():
            (self.there.uploads / path).parent.mkdir(exist_ok=True)
            (self.there.uploads / path).write_bytes(data)
        self.run(self._open())

    async def _open(self) -> None:
        services = await self._stack.enter_async_context(
            wiring.open_services(self._settings, role="receiver", serving=True)
        )
        assert services.receiver is not None
        self.receiver: Receiver = services.receiver
        self.calls.watch(services.database, COMMANDS)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(work)

    def reopen(self) -> None:
        """The process is gone, and comes again."""

        async def again() -> None:
            await self._stack.aclose()
            self._stack = AsyncExitStack()
            await self._open()

        self.run(again())

    def close(self) -> None:
        self.run(self._stack.aclose())
        self._loop.close()
        self._client.drop_database(self.there.database.name)
        self._client.close()
        shutil.rmtree(self._folder)

    def shown(self) -> dict[str, list[bytes]]:
        """Every collection but our own."""
        names = [name for name in self.there.database.list_collection_names() if not name.startswith("growi_transfer_")]
        return {name: self.there.documents(name) for name in sorted(names)}

    def staged(self, transfer_id: str) -> dict[str, list[bytes]]:
        rows = self.run(self.receiver._ledger.collections(Role.RECEIVER, transfer_id))
        return {row.name: self.there.documents(row.staging) for row in rows}

    def held(self, transfer_id: str, collection: str) -> list[dict[str, Any]]:
        """The ranges that it says are stored whole."""
        return self.run(self.receiver.volumes(transfer_id, collection))
