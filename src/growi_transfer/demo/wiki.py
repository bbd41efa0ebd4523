"""A generated GROWI wiki of any size: the same for the same seed and the same present moment.

The present matters because GROWI's TTL indexes delete what is older than they say; what has such a date is younger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from growi_transfer.demo import records
from growi_transfer.demo.content import Content
from growi_transfer.demo.files import File, plan_files, write_files
from growi_transfer.demo.identity import History, Ids, seeded
from growi_transfer.demo.pages import plant
from growi_transfer.demo.plugin import fill_plugin_collections
from growi_transfer.demo.records import Cast, Document
from growi_transfer.demo.schema import create_growi_collections, create_plugin_collections
from growi_transfer.demo.text import TextPool

SOURCE_URL = "https://wiki.source.example"
_BATCH_BYTES = 3_000_000


@dataclass(frozen=True, slots=True)
class WikiSize:
    """How much to generate. Sizes are bytes and averages, except with `exact_attachments`."""

    pages: int = 300
    """Pages with content; empty ancestors come on top."""
    revisions: int = 5
    """Per page."""
    attachments: int = 60
    attachment_size: int = 100_000
    body_size: int = 3_500
    seed: int = 1
    exact_attachments: bool = False
    """All attachments belong to pages and have exactly `attachment_size` bytes."""
    plugin: bool = True
    """With the collections of a plug-in that GROWI does not know."""


@dataclass(frozen=True, slots=True)
class WikiCounts:
    documents: int
    document_bytes: int
    attachments: int
    attachment_bytes: int


def make_wiki(
    uri: str, uploads: Path, size: WikiSize, *, password_seed: str = "", now: datetime | None = None
) -> WikiCounts:
    """Generate a wiki into the database that `uri` names (which should be empty) and the folder `uploads`."""
    # One wait for the disk at the end (w: majority), and not one for each of some hundred small writes.
    with MongoClient[dict[str, Any]](uri, tz_aware=True, w=1) as client:
        database = client.get_default_database("growi")
        history = History(now or datetime.now(UTC), days=900)
        rng = seeded(f"wiki {size.seed}")
        cast = Cast(Ids(f"wiki {size.seed}"), TextPool(size.seed), rng, history)
        create_growi_collections(database)
        if size.plugin:
            create_plugin_collections(database)
        people = max(6, min(200, size.pages // 10))
        cast.users = records.users(cast, people, password_seed)
        cast.groups = records.groups(cast, max(2, min(40, size.pages // 40)))
        files = plan_files(size.attachments, size.attachment_size, people // 4, size.seed, exact=size.exact_attachments)
        with ThreadPoolExecutor(1) as disk:
            written = disk.submit(write_files, uploads, files, size.seed)
            with BulkWriter(database, size.body_size) as writer:
                _fill(writer, cast, size, files)
            if size.plugin:
                fill_plugin_collections(database, cast.ids, cast.text, rng, history.now)
            attachment_bytes = written.result()
        await_journal(database)
        documents, document_bytes = count_documents(database)
        return WikiCounts(documents, document_bytes, len(files), attachment_bytes)


def await_journal(database: Database[Any]) -> None:
    """Wait until all that was written is what a majority has: only that is read by a transfer."""
    # A write that changes nothing waits for the last one that did.
    durable = database.get_collection("configs", write_concern=WriteConcern("majority"))
    durable.delete_one({"_id": {"$in": []}})


def count_documents(database: Database[Any]) -> tuple[int, int]:
    """Documents of all collections and their bytes."""
    documents = size = 0
    for name in database.list_collection_names(filter={"type": "collection"}):
        if name.startswith("system."):
            continue
        answer = next(database[name].aggregate([{"$collStats": {"storageStats": {}}}]))["storageStats"]
        documents += answer["count"]
        size += answer["size"]
    return documents, size


def source_settings() -> Mapping[str, Any]:
    """The settings of the generated wiki; the destination keeps its own of some of them."""
    return {
        "app:serviceInstanceId": "00000000-0000-4000-8000-000000000001",
        "app:installed": True,
        "app:isV5Compatible": True,
        "app:fileUpload": True,
        "app:globalLang": "ja_JP",
        "app:title": "Demo wiki デモ",
        "app:siteUrl": SOURCE_URL,
        "app:fileUploadType": "local",
        "aws:referenceFileWithRelayMode": False,
        "gcs:bucket": "bucket-of-the-source",
        "security:pageDeletionAuthority": "anyOne",
        "security:registrationMode": "Restricted",
        "customize:css": ".wiki { font-family: '游ゴシック'; }",
        "mail:from": "wiki@source.example",
        "google:clientSecret": None,
    }


def _fill(writer: BulkWriter, cast: Cast, size: WikiSize, files: Sequence[File]) -> None:
    pages = plant(size.pages, [user["username"] for user in cast.active], cast.rng)
    content = Content(cast, pages, size.revisions, size.body_size)
    writer.add("revisions", content.revisions())
    writer.add("pages", content.pages())
    writer.add("attachments", content.attachments(files))
    writer.add("users", cast.users)
    writer.add("usergroups", cast.groups)
    writer.add("usergrouprelations", records.group_relations(cast))
    writer.add("configs", records.settings(cast.ids, cast.history.founded, source_settings()))
    for collection, documents in content.around_pages().items():
        writer.add(collection, documents)
    for collection, state in records.operating_state(cast.ids, cast.history.now, SOURCE_URL).items():
        writer.add(collection, state)


class BulkWriter:
    """Inserts in the background while the next documents are generated. Leaving the block waits and raises."""

    def __init__(self, database: Database[Any], document_bytes: int) -> None:
        self._database = database
        self._batch = max(1, min(5000, _BATCH_BYTES // max(1, document_bytes)))
        self._threads = ThreadPoolExecutor(2)
        self._pending: list[Future[object]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._wait(0)
        finally:
            self._threads.shutdown(cancel_futures=True)

    def add(self, collection: str, documents: Iterable[Document]) -> None:
        """Insert all documents; at most a few batches are in memory."""
        source = iter(documents)
        while batch := list(islice(source, self._batch)):
            self._wait(2)
            self._pending.append(self._threads.submit(self._insert, collection, batch))

    def _insert(self, collection: str, batch: list[Document]) -> None:
        self._database[collection].insert_many(batch, ordered=False)

    def _wait(self, left: int) -> None:
        while len(self._pending) > left:
            self._pending.pop(0).result()
