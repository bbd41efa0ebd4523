"""Where a file of a GROWI's goes, and how several are written: their attachments, their rows, their bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bson

from growi_transfer.ledger.base import FileRow, ItemState, Ledger, Role
from growi_transfer.mongo.client import Database
from growi_transfer.mongo.inspection import ATTACHMENT_FIELDS
from growi_transfer.protocol.errors import TransferError
from growi_transfer.receiver.file_rows import aside_path, former_path
from growi_transfer.storage.base import FileMeta, SmallFile, Storage

_READ = 1 << 20
_LARGEST = (1 << 63) - 1
"""What BSON holds."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a form says of its file."""

    file_name: str
    size: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A file with the attachment it belongs to."""

    attachment_id: str
    path: str
    content: bytes | Path
    size: int
    meta: FileMeta


async def documents_of(database: Database, wanted: Sequence[Metadata]) -> list[Mapping[str, Any] | None]:
    """For each, in order: the attachment of this name and size, or None."""
    clauses = [
        {"fileName": {"$eq": one.file_name}, "fileSize": {"$eq": one.size}} for one in wanted if one.size <= _LARGEST
    ]
    found: dict[tuple[str, Any], Mapping[str, Any]] = {}
    if clauses:
        fields = {**ATTACHMENT_FIELDS, "fileFormat": 1, "originalName": 1}
        for document in await database.find("attachments", {"$or": clauses}, fields):
            name, size = document["fileName"], document["fileSize"]
            if isinstance(name, str) and not isinstance(size, list):  # a list matches what it holds
                # Numbers of all types that are equal are the same key.
                number = size.to_decimal() if isinstance(size, bson.Decimal128) else size
                found.setdefault((name, number), document)
    return [found.get((one.file_name, one.size)) for one in wanted]


async def rows_of(
    storage: Storage, ledger: Ledger, transfer_id: str, files: Sequence[Placed]
) -> list[tuple[FileRow, bool]]:
    """The rows that must be durable before these files are written, and whether what stands at their paths now has to
    be kept for a rollback."""
    paths = [file.path for file in files]
    known, looked = await asyncio.gather(
        ledger.get_files(Role.RECEIVER, transfer_id, [file.attachment_id for file in files]),
        storage.stat_many([*paths, *(former_path(transfer_id, path) for path in paths)]),
    )
    rows: list[tuple[FileRow, bool]] = []
    for file, there, kept in zip(files, looked[: len(files)], looked[len(files) :], strict=True):
        old = known.get(file.attachment_id)
        facts = old.facts if old is not None and old.path == file.path else None
        created = bool(facts.get("created")) if facts is not None else there is None
        row = FileRow(
            role=Role.RECEIVER,
            transfer_id=transfer_id,
            attachment_id=file.attachment_id,
            path=file.path,
            size=file.size,
            state=ItemState.SENT,
            facts={"created": created, "aside": "" if created else aside_path(transfer_id, file.path)},
        )
        if not created and ((facts or {}).get("vacant") or (there is None and kept is None)):
            # Gone since an earlier try found it: then there is nothing to bring back either.
            row = replace(row, facts={**row.facts, "vacant": True})
        rows.append((row, kept is None and there is not None))
    return rows


async def write_all(storage: Storage, files: Sequence[Placed], places: Sequence[str]) -> list[TransferError | None]:
    """Write each to its place, durable on return; for each, in order, None or its error."""
    errors: list[TransferError | None] = [None] * len(files)
    small: list[tuple[int, SmallFile]] = []
    for index, (file, path) in enumerate(zip(files, places, strict=True)):
        if isinstance(file.content, bytes):
            small.append((index, SmallFile(path, file.content, file.meta)))
            continue
        try:
            await storage.write(path, _pieces(file.content), file.size, file.meta)
        except TransferError as error:
            errors[index] = error
    if small:
        for (index, _), failed in zip(small, await storage.write_many([one for _, one in small]), strict=True):
            errors[index] = failed
    return errors


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _READ):
            yield piece
