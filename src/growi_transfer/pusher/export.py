"""A whole wiki's database, and its attachments, in one file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from growi_transfer.archive.sink import new_file
from growi_transfer.archive.writer import ArchiveWriter
from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.mongo.client import Database, Snapshot
from growi_transfer.mongo.collections import CollectionInfo, list_collections
from growi_transfer.mongo.ranges import batch_documents, read
from growi_transfer.mongo.wiki import attachment_totals
from growi_transfer.protocol.errors import (
    BsonInvalid,
    CollectionKindUnsupported,
    CursorLost,
    DatabaseRefused,
    FileNotFound,
    JsonInvalid,
    NameIllegal,
    SnapshotExpired,
    SourceChanged,
    StorageUnavailable,
    TransferError,
)
from growi_transfer.protocol.wire import LARGE_FILE_BYTES
from growi_transfer.pusher.catalogue import partition
from growi_transfer.pusher.excluded_pages import ExcludedPages
from growi_transfer.pusher.export_watch import EVERYTHING, ExportWatch, Unasked, Wanted
from growi_transfer.pusher.source_files import Source, SourceFiles
from growi_transfer.storage.base import Storage

_FILE_FAULTS = (FileNotFound, NameIllegal, StorageUnavailable)
"""What can be wrong with one file while the others are fine."""


async def export_archive(
    database: Database,
    storage: Storage | None,
    path: Path,
    *,
    wanted: Wanted = EVERYTHING,
    created_at: str = "",
    digest: bool = False,
) -> dict[str, Any]:
    """Write one archive (docs/formats/archive.md), whole or not at all; with the attachments if a storage is given.

    Every collection but operating state and those not wanted is read at one snapshot where the source has them. What
    cannot be had is told to the watch, which decides. The answer counts what is in the archive, and has `sha256` of
    the file with `digest`. Raises SourceChanged when a collection changed under the reading,
    CollectionKindUnsupported, SnapshotExpired (the database is too large for one snapshot: use `push`),
    InsufficientSpace, and the database's and the storage's errors.
    """
    before = _moving(await list_collections(database), wanted)
    files, file_bytes = await attachment_totals(database) if storage is not None else (0, 0)
    wanted.watch.planned(
        documents=sum(info.documents for info in before),
        size=sum(info.bytes for info in before) + file_bytes,
        files=files,
    )
    async with new_file(path, digest=digest) as sink:
        writer = ArchiveWriter(sink, database=database.name)
        snapshot = database.snapshot("export")
        for info in before:
            await _add_collection(database, writer, info, snapshot, wanted.watch)
        after = _moving(await list_collections(database), replace(wanted, watch=Unasked()))
        if _as_seen(before) != _as_seen(after):
            raise SourceChanged("A collection was made, dropped or altered during the export; try again.")
        missing = await _add_files(database, storage, writer, wanted.watch) if storage is not None else 0
        manifest = await writer.finish(missing_files=missing, created_at=created_at)
    return {
        "collections": len(manifest.collections),
        "documents": sum(one.documents for one in manifest.collections),
        "bytes": sum(one.bytes for one in manifest.collections),
        "attachments": manifest.files,
        "attachment_bytes": manifest.file_bytes,
        "attachments_missing": manifest.missing_files,
        **({"sha256": sink.sha256} if digest else {}),
    }


async def _add_collection(
    database: Database, writer: ArchiveWriter, info: CollectionInfo, snapshot: Snapshot | None, watch: ExportWatch
) -> None:
    try:
        await writer.add_collection(
            info.name, _kind(info), info.metadata, _batches(database, info, snapshot, watch), uuid=info.uuid
        )
    except SnapshotExpired as error:
        raise SourceChanged(
            "The database is too large to be read at one moment; move it with `push` instead."
        ) from error
    except CursorLost as error:
        raise SourceChanged(f"{info.name} was dropped or renamed during the export; try again.") from error
    except (BsonInvalid, JsonInvalid, DatabaseRefused) as error:
        watch.failed(info.name, "collection", error)


def _moving(found: Sequence[CollectionInfo], wanted: Wanted) -> list[CollectionInfo]:
    moving, _, unmovable = partition([info for info in found if wanted.has(info.name)], ())
    for info in unmovable:
        error = CollectionKindUnsupported(
            f"The collection {info.name} ({info.kind}) cannot be exported; exclude it.", collection=info.name
        )
        wanted.watch.failed(info.name, "collection", error)
    return moving


def _as_seen(found: Sequence[CollectionInfo]) -> list[tuple[str, str, str]]:
    return [(info.name, info.uuid, info.metadata) for info in found]


def _kind(info: CollectionInfo) -> Any:
    return info.kind


async def _batches(
    database: Database, info: CollectionInfo, snapshot: Snapshot | None, watch: ExportWatch
) -> AsyncIterator[bytes]:
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
        raw = b"".join(batch)
        yield raw
        watch.advanced(documents=len(batch), size=len(raw))


async def _add_files(database: Database, storage: Storage, writer: ArchiveWriter, watch: ExportWatch) -> int:
    """All attachments; the number of those that the wiki itself has no file for."""
    missing = 0
    async for page in SourceFiles(database, storage, MemoryLedger(), "export", ExcludedPages(database, ())).pages():
        small: list[Source] = []
        for source in page:
            if source.file is None or source.error is not None:
                missing += 1
            elif source.row.size > LARGE_FILE_BYTES:
                try:
                    written = await writer.add_file(source.file, storage.open(source.row.path))
                except _FILE_FAULTS as error:
                    watch.failed(source.row.path, "file", error)
                else:
                    watch.advanced(files=1, size=written.size)
            else:
                small.append(source)
        for start in range(0, len(small), 100):
            missing += await _add_small(storage, writer, small[start : start + 100], watch)
    return missing


async def _add_small(storage: Storage, writer: ArchiveWriter, some: Sequence[Source], watch: ExportWatch) -> int:
    missing = 0
    contents = await storage.read_many([source.row.path for source in some], LARGE_FILE_BYTES)
    good = []
    for source, content in zip(some, contents, strict=True):
        if isinstance(content, FileNotFound):
            missing += 1
        elif isinstance(content, bytes) and source.file is not None:
            good.append((source.file.model_copy(update={"size": len(content)}), content))
        elif isinstance(content, TransferError):
            watch.failed(source.row.path, "file", content)
    try:
        written = await writer.add_files(good) if good else []
    except NameIllegal:
        # Of names that are one on some disk only one can be had: the others are told one by one.
        written = []
        for file, content in good:
            try:
                written += await writer.add_files([(file, content)])
            except NameIllegal as error:
                watch.failed(file.file_name, "file", error)
    watch.advanced(files=len(written), size=sum(file.size for file in written))
    return missing
