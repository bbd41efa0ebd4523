"""Attachment files of two wikis, byte for byte, wherever each keeps them.

Read here by the layouts that GROWI documents and by nothing of the product's: a folder `attachment/` and a folder
`user/`, or the GridFS bucket `attachmentFiles` by file name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from pymongo import DESCENDING
from pymongo.database import Database

from growi_transfer.demo.findings import Comparison

_CHUNK = 1 << 20
_PAGE = 1000


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...


class Files(Protocol):
    """Read-only view of a storage."""

    def open(self, path: str) -> _Reader | None:
        """The file, or None when there is none."""

    def names(self) -> Iterator[str]:
        """Every file, by the name it has there."""

    def name(self, path: str) -> str:
        """The name that the file of this path has there."""


class LocalFiles:
    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, path: str) -> _Reader | None:
        try:
            return (self._root / path).open("rb")
        except FileNotFoundError:
            return None

    def names(self) -> Iterator[str]:
        for folder in ("attachment", "user"):
            for found in sorted((self._root / folder).rglob("*")):
                if not found.is_dir():
                    yield str(found.relative_to(self._root))

    def name(self, path: str) -> str:
        return path


class GridFsFiles:
    def __init__(self, database: Database[Any]) -> None:
        self._files = database["attachmentFiles.files"]
        self._chunks = database["attachmentFiles.chunks"]

    def open(self, path: str) -> _Reader | None:
        document = self._files.find_one({"filename": self.name(path)}, sort=[("uploadDate", DESCENDING)])
        if document is None:
            return None
        return _GridFsReader(self._chunks.find({"files_id": document["_id"]}).sort("n", 1).batch_size(8))

    def names(self) -> Iterator[str]:
        for document in self._files.find({}, {"filename": 1}).sort("filename", 1):
            yield document["filename"]

    def name(self, path: str) -> str:
        return path.rpartition("/")[2]


class _GridFsReader:
    def __init__(self, chunks: Iterable[Mapping[str, Any]]) -> None:
        self._chunks = enumerate(chunks)
        self._buffer = bytearray()

    def read(self, size: int, /) -> bytes:
        while len(self._buffer) < size:
            position, chunk = next(self._chunks, (0, None))
            if chunk is None or chunk["n"] != position:
                break
            self._buffer += chunk["data"]
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        return piece

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._buffer.clear()


def compare_files(
    result: Comparison,
    database: Database[Any],
    source: Files,
    destination: Files,
    *,
    missing: Set[str],
    former: Set[str],
) -> None:
    """Compare the file of every attachment document in the source's `database`.

    `missing`: paths of files that the transfer told to be missing at the source. `former`: names of files that the
    destination had before; any other file there that no attachment of the source names is a difference.
    """
    for document in database["attachments"].find({}, {"page": 1, "fileName": 1}).sort("_id", 1):
        path = _path(document)
        if path is not None:
            _compare(result, path, source, destination, told_missing=path in missing)
    names = destination.names()
    while page := list(islice(names, _PAGE)):
        wanted = {"fileName": {"$in": [name.rpartition("/")[2] for name in page]}}
        documents = database["attachments"].find(wanted, {"page": 1, "fileName": 1})
        known = {destination.name(path) for path in map(_path, documents) if path is not None}
        for name in page:
            if name not in known and name not in former:
                result.differs(f"file {name}: only at the destination")


def _path(document: Mapping[str, Any]) -> str | None:
    name = document.get("fileName")
    if not isinstance(name, str):
        return None
    return ("user/" if document.get("page") is None else "attachment/") + name


def _compare(result: Comparison, path: str, source: Files, destination: Files, *, told_missing: bool) -> None:
    ours = source.open(path)
    if ours is None:
        if not told_missing:
            result.differs(f"file {path}: missing at the source, which the transfer did not tell")
        return
    with ours:
        if told_missing:
            result.differs(f"file {path}: told to be missing at the source, but it is there")
        theirs = destination.open(path)
        if theirs is None:
            result.differs(f"file {path}: missing at the destination")
            return
        with theirs:
            size = 0
            while True:
                one, other = ours.read(_CHUNK), theirs.read(_CHUNK)
                if one != other:
                    at = next(
                        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
                        min(len(one), len(other)),
                    )
                    result.differs(f"file {path}: differs from byte {size + at} on")
                    return
                if not one:
                    break
                size += len(one)
    result.attachments += 1
    result.attachment_bytes += size
