"""The documents of GROWI's GridFS bucket `attachmentFiles`, as values. Pure, but for the clock and new ids.

Format: the GridFS specification. A files document is {_id, length, chunkSize, uploadDate, filename} and, as GROWI
writes it, `contentType`; a chunk document is {_id, files_id, n, data}, of 255 KiB but for the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId

from growi_transfer.storage.base import FileMeta

CHUNK_SIZE = 255 * 1024
_UNKNOWN = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Row:
    """A files document. Of several with one filename, the newest is the file."""

    id: Any
    filename: str
    length: int
    chunk_size: int
    uploaded: datetime

    @property
    def age(self) -> tuple[datetime, str]:
        """Greater is newer."""
        return self.uploaded, str(self.id)

    @property
    def modified(self) -> float | None:
        """Seconds since 1970; None where the document does not tell."""
        return None if self.uploaded == _UNKNOWN else self.uploaded.timestamp()

    @property
    def chunks(self) -> int:
        return -(-self.length // self.chunk_size)

    def chunk_length(self, n: int) -> int:
        return min(self.chunk_size, self.length - n * self.chunk_size)


def as_row(document: Mapping[str, Any]) -> Row:
    uploaded = document.get("uploadDate")
    return Row(
        id=document["_id"],
        filename=document["filename"],
        length=int(document["length"]),
        chunk_size=int(document.get("chunkSize") or CHUNK_SIZE),
        uploaded=uploaded if isinstance(uploaded, datetime) else _UNKNOWN,
    )


def newer_than(rows: Iterable[Row], moment: datetime) -> datetime:
    """`moment`, or a little later if one of these rows would not be older (clocks differ)."""
    latest = max((row.uploaded for row in rows), default=None)
    return moment if latest is None or latest < moment else latest + timedelta(milliseconds=1)


def files_document(
    files_id: Any, filename: str, length: int, meta: FileMeta | None, replaced: Iterable[Row]
) -> dict[str, Any]:
    now = datetime.now(UTC)
    document = {
        "_id": files_id,
        "length": length,
        "chunkSize": CHUNK_SIZE,
        # BSON keeps milliseconds: with more, the row read back would look older than this one.
        "uploadDate": newer_than(replaced, now.replace(microsecond=now.microsecond // 1000 * 1000)),
        "filename": filename,
    }
    if meta is not None and meta.content_type:
        document["contentType"] = meta.content_type
    return document


def chunk(files_id: Any, n: int, data: bytes) -> dict[str, Any]:
    return {"_id": ObjectId(), "files_id": files_id, "n": n, "data": data}


def chunks_of(files_id: Any, data: bytes | bytearray | memoryview, first: int = 0) -> list[dict[str, Any]]:
    """Bytes as chunk documents from number `first` on. No bytes have none."""
    starts = range(0, len(data), CHUNK_SIZE)
    return [chunk(files_id, n, bytes(data[start : start + CHUNK_SIZE])) for n, start in enumerate(starts, first)]


def joined(row: Row, chunks: Sequence[Mapping[str, Any]], first: int, count: int) -> bytes | None:
    """The data of `count` chunks from `first` on; None when one is missing or has another length than it must."""
    if len(chunks) != count:
        return None
    for n, found in enumerate(chunks, start=first):
        if found["n"] != n or len(found["data"]) != row.chunk_length(n):
            return None
    return b"".join(found["data"] for found in chunks)
