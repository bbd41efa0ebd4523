"""Two instances in one process: each with its own database and uploads, the destination behind a real uvicorn."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson
import uvicorn
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.database import Database as PyMongoDatabase
from tests.fakes.server import running

from growi_transfer import wiring
from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.pusher.options import PushOptions
from growi_transfer.settings import Settings
from growi_transfer.web import services as web
from growi_transfer.web.app import create_app

RAW = bson.CodecOptions(document_class=RawBSONDocument)
ADMIN_TOKEN = "an-admin-token-of-the-tests-0123456789"
VERSION = "7.3.0"


@dataclass
class Instance:
    """One wiki: its services, its database as a plain client sees it, its uploads."""

    settings: Settings
    database: PyMongoDatabase[dict[str, Any]]
    uploads: Path

    def documents(self, collection: str, *, natural: bool = False) -> list[bytes]:
        """Raw documents, in `_id` order or in natural order."""
        cursor = self.database.get_collection(collection, codec_options=RAW).find()
        cursor = cursor.hint([("$natural", 1)]) if natural else cursor.sort("_id", 1)
        return [document.raw for document in cursor]

    def insert_raw(self, collection: str, documents: Iterable[bytes]) -> None:
        """Insert documents byte for byte, as far as the server lets them be."""
        raw = [RawBSONDocument(document) for document in documents]
        at_once = 1 if any(len(document.raw) > 10_000 for document in raw) else 1000
        for start in range(0, len(raw), at_once):
            some = raw[start : start + at_once]
            reply = self.database.command({"insert": collection, "documents": some, "bypassDocumentValidation": True})
            assert "writeErrors" not in reply, reply["writeErrors"]

    def indexes(self, collection: str) -> list[dict[str, Any]]:
        """Every index, whole, in order of their names."""
        return sorted((dict(index) for index in self.database[collection].list_indexes()), key=lambda one: one["name"])

    def options(self, collection: str) -> dict[str, Any]:
        """Collection options as `listCollections` has them."""
        [entry] = self.database.list_collections(filter={"name": collection})
        return dict(entry["options"])

    def add_attachment(self, content: bytes, *, page: bool = True, name: str | None = None) -> dict[str, Any]:
        """A file and its attachment document, in the order in which GROWI makes them."""
        identity = bson.ObjectId()
        name = name or f"{identity}00000000.bin"
        document = {
            "_id": identity,
            "fileSize": len(content),
            "fileName": name,
            "originalName": "ファイル.bin",
            "fileFormat": "application/octet-stream",
            **({"page": bson.ObjectId()} if page else {}),
        }
        path = self.uploads / ("attachment" if page else "user") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.database["attachments"].insert_one(document)
        return document

    def files(self) -> dict[str, bytes]:
        """Every visible file of the uploads, by path."""
        found: dict[str, bytes] = {}
        for path in sorted(self.uploads.rglob("*")):
            relative = path.relative_to(self.uploads).as_posix()
            if path.is_file() and not relative.startswith("."):
                found[relative] = path.read_bytes()
        return found

    def own_collections(self, prefix: str = "growi_transfer_s_") -> list[str]:
        """Our own collections with this prefix (staging by default)."""
        return sorted(name for name in self.database.list_collection_names() if name.startswith(prefix))


@dataclass
class Pair:
    """A source and a destination, running."""

    source: Instance
    destination: Instance
    from_source: wiring.Services
    to_destination: wiring.Services
    url: str

    async def key(self) -> str:
        """A fresh transfer key of the destination."""
        return (await self.to_destination.keys.issue(self.url)).key_string

    async def push(self, key: str | None = None, **options: Any) -> TransferRow:
        """Push with a (fresh) key and wait for the end; the pusher's row."""
        pusher = self.from_source.pusher
        assert pusher is not None
        transfer_id = await pusher.start(key or await self.key(), PushOptions(**{"accept_all": True, **options}))
        return await self.wait(transfer_id)

    async def wait(self, transfer_id: str) -> TransferRow:
        """Wait until the transfer has ended here; the pusher's row."""
        pusher = self.from_source.pusher
        assert pusher is not None
        await pusher.runner.wait(transfer_id)  # type: ignore[attr-defined]
        row = await self.from_source.ledger.get_transfer(Role.PUSHER, transfer_id)
        assert row is not None
        return row

    async def received(self, transfer_id: str) -> TransferRow:
        """The receiver's row."""
        row = await self.to_destination.ledger.get_transfer(Role.RECEIVER, transfer_id)
        assert row is not None
        return row


def settings_of(folder: Path, uri: str, **more: str) -> Settings:
    """Settings of an instance that keeps everything below `folder`."""
    uploads = folder / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    environ = {
        "MONGO_URI": uri,
        "FILE_UPLOAD": "local",
        "GROWI_VERSION": VERSION,
        "GROWI_TRANSFER_DATA_DIR": str(folder / "data"),
        "GROWI_TRANSFER_UPLOADS_DIR": str(uploads),
        **more,
    }
    return Settings.load(environ, None, {})


def with_database(uri: str, name: str) -> str:
    """The same URI for another database."""
    head, _, query = uri.partition("?")
    scheme, _, rest = head.partition("://")
    return f"{scheme}://{rest.split('/')[0]}/{name}?{query}"


@contextlib.asynccontextmanager
async def serving(services: wiring.Services, settings: Settings) -> AsyncIterator[str]:
    """The destination's app behind uvicorn on a free port; its address."""
    served = web.Services(
        board=services.board,
        ledger=services.ledger,
        admin_token=ADMIN_TOKEN,
        session_secrets=["a-session-secret-of-the-tests"],
        data_dir=settings.data_dir,
        version="test",
        receiver=services.receiver,
        growi=services.growi,
        pusher=services.pusher,
        instance=services.instance,
        recheck=services.recheck,
        jobs=services.jobs,
        tally=services.tally,
        metrics_token=settings.metrics_token.get_secret_value() if settings.metrics_token else None,
    )
    with socket.create_server(("127.0.0.1", 0)) as bound:
        app = create_app(lambda: contextlib.nullcontext(served))
        config = uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, timeout_graceful_shutdown=2)
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with running(config, bound, before_the_end=app.release_watchers):
            yield address


@contextlib.asynccontextmanager
async def open_pair(
    folder: Path,
    source: tuple[str, str],
    destination: tuple[str, str],
    *,
    of_source: Mapping[str, str] | None = None,
    of_destination: Mapping[str, str] | None = None,
) -> AsyncIterator[Pair]:
    """Both instances. `source` and `destination`: (URI, database name). `of_…`: more settings of one."""
    here = settings_of(folder / "source", with_database(*source), **(of_source or {}))
    there = settings_of(folder / "destination", with_database(*destination), **(of_destination or {}))
    async with contextlib.AsyncExitStack() as stack:
        clients: Sequence[MongoClient[dict[str, Any]]] = [
            stack.enter_context(MongoClient[dict[str, Any]](uri)) for uri in (source[0], destination[0])
        ]
        to_destination = await stack.enter_async_context(wiring.open_services(there, role="receiver"))
        url = await stack.enter_async_context(serving(to_destination, there))
        from_source = await stack.enter_async_context(wiring.open_services(here, role="pusher", loopback_allowed=True))
        yield Pair(
            Instance(here, clients[0][source[1]], folder / "source" / "uploads"),
            Instance(there, clients[1][destination[1]], folder / "destination" / "uploads"),
            from_source,
            to_destination,
            url,
        )
