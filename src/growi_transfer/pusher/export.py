"""A whole wiki's database, and its attachments, in one file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from growi_transfer.archive.sink import new_file
from growi_transfer.archive.writer import ArchiveWriter
from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.mongo.client import Database, Snapshot
from growi_transfer.mongo.collections import CollectionInfo, list_collections
from growi_transfer.mongo.ranges import batch_documents, read
from growi_transfer.protocol.errors import (
    CollectionKindUnsupported,
    CursorLost,
    FileNotFound,
    SnapshotExpired,
    SourceChanged,
)
from growi_transfer.protocol.wire import LARGE_FILE_BYTES
from growi_transfer.pusher.catalogue import partition
from growi_transfer.pusher.excluded_pages import ExcludedPages
from growi_transfer.pusher.source_files import Source, SourceFiles
from growi_transfer.storage.base import Storage


async def export_archive(
    database: Database,
    storage: Storage | None,
    path: Path,
    *,
    exclude_collections: Sequence[str] = (),
    created_at: str = "",
) -> dict[str, Any]:
    """Write one archive (docs/formats/archive.md), whole or not at all; with the attachments if a storage is given.

    Every collection but operating state and excluded ones is read at one snapshot where the source has them. Raises
    SourceChanged when a collection changed under the reading, CollectionKindUnsupported, SnapshotExpired (the database
    is too large for one snapshot: use `push`), InsufficientSpace, and the database's and the storage's errors.
    """
    before = _moving(await list_collections(database), exclude_collections)
    async with new_file(path) as sink:
        writer = ArchiveWriter(sink, database=database.name)
        snapshot = database.snapshot("export")
        for info in before:
            try:
                await writer.add_collection(
                    info.name, _kind(info), info.metadata, _batches(database, info, snapshot), uuid=info.uuid
                )
            except SnapshotExpired as error:
                raise SourceChanged(
                    "The database is too large to be read at one moment; move it with `push` instead."
                ) from error
            except CursorLost as error:
                raise SourceChanged(f"{info.name} was dropped or renamed during the export; try again.") from error
        after = _moving(await list_collections(database), exclude_collections)
        if [(info.name, info.uuid, info.metadata) for info in before] != [
            (info.name, info.uuid, info.metadata) for info in after
        ]:
            raise SourceChanged("A collection was made, dropped or altered during the export; try again.")
        missing = await _add_files(database, storage, writer) if storage is not None else 0
        manifest = await writer.finish(missing_files=missing, created_at=created_at)
    return {
        "collections": len(manifest.collections),
        "documents": sum(one.documents for one in manifest.collections),
        "bytes": sum(one.bytes for one in manifest.collections),
        "attachments": manifest.files,
        "attachment_bytes": manifest.file_bytes,
        "attachments_missing": manifest.missing_files,
    }


def _moving(found: Sequence[CollectionInfo], excluded: Sequence[str]) -> list[CollectionInfo]:
    moving, _, unmovable = partition(found, excluded)
    if unmovable:
        raise CollectionKindUnsupported(
            f"The collection {unmovable[0].name} ({unmovable[0].kind}) cannot be exported; exclude it.",
            collection=unmovable[0].name,
        )
    return moving


def _kind(info: CollectionInfo) -> Any:
    return info.kind


async def _batches(database: Database, info: CollectionInfo, snapshot: Snapshot | None) -> AsyncIterator[bytes]:
    if info.kind == "view":
        return
    capped = info.kind == "capped"
    async for batch in read(
        database,
        info.name,
        per_batch=batch_documents(info.documents, info.bytes),
        snapshot=None if capped else snapshot,
        natural=capped,
    ):
        yield b"".join(batch)


async def _add_files(database: Database, storage: Storage, writer: ArchiveWriter) -> int:
    """All attachments; the number of those that the wiki itself has no file for."""
    missing = 0
    async for page in SourceFiles(database, storage, MemoryLedger(), "export", ExcludedPages(database, ())).pages():
        small: list[Source] = []
        for source in page:
            if source.file is None or source.error is not None:
                missing += 1
            elif source.row.size > LARGE_FILE_BYTES:
                await writer.add_file(source.file, storage.open(source.row.path))
            else:
                small.append(source)
        for start in range(0, len(small), 100):
            some = small[start : start + 100]
            contents = await storage.read_many([source.row.path for source in some], LARGE_FILE_BYTES)
            good = []
            for source, content in zip(some, contents, strict=True):
                if isinstance(content, FileNotFound):
                    missing += 1
                elif isinstance(content, bytes) and source.file is not None:
                    good.append((source.file.model_copy(update={"size": len(content)}), content))
                elif isinstance(content, Exception):
                    raise content
            if good:
                await writer.add_files(good)
    return missing
