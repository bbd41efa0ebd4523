"""Attachments in MongoDB, in GROWI's layout: GridFS bucket `attachmentFiles`, filename = fileName.

GridFS has no folders, and GROWI uses none there: `attachment/x` and `user/x` are one file `x`, which a listing shows
as `attachment/x`. Every other path, such as those of our own folder, is a filename as a whole. Of several files with
one name the newest is the file, as the GridFS specification has it; writing removes the others.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from bson import ObjectId

from growi_transfer.protocol.errors import (
    FileNotFound,
    NameIllegal,
    SizeMismatch,
    StorageUnavailable,
    TransferError,
)
from growi_transfer.storage.base import READ_CHUNK, Features, FileMeta, SmallFile, StoredFile
from growi_transfer.storage.gridfs_bucket import BATCH_CHUNKS, Bucket, Commands
from growi_transfer.storage.gridfs_documents import CHUNK_SIZE, Row, chunks_of, files_document, joined
from growi_transfer.storage.gridfs_inserts import Inserts
from growi_transfer.storage.gridfs_orphans import OrphanChunks
from growi_transfer.storage.gridfs_partial import GridFsPartialUpload
from growi_transfer.storage.paths import OWN_PREFIX, split_path

_LISTED = "attachment/"
_FOLDERS = ("attachment", "user")
_PAGE = 1000
_BLOCK = BATCH_CHUNKS * CHUNK_SIZE
_GROUP = 8 << 20
"""Bytes of small files read by one command; a reply has at most 16 MB."""


class GridFsStorage:
    """`commands` runs commands on the wiki's database. The bucket is not touched before the first operation."""

    def __init__(self, commands: Commands) -> None:
        self._bucket = Bucket(commands)
        self.orphans = OrphanChunks(self._bucket)

    @property
    def features(self) -> Features:
        return Features(kind="gridfs", place="GridFS in this wiki's database")

    async def open(self, path: str, offset: int = 0) -> AsyncGenerator[bytes, None]:
        row = await self._row(path)
        rest = b""
        async with aclosing(self._bucket.read(row, offset)) as blocks:
            async for block in blocks:
                data = rest + block
                whole = len(data) - len(data) % READ_CHUNK
                for start in range(0, whole, READ_CHUNK):
                    yield data[start : start + READ_CHUNK]
                rest = data[whole:]
        if rest:
            yield rest

    async def write(self, path: str, chunks: AsyncIterator[bytes], size: int, meta: FileMeta | None = None) -> None:
        filename, files_id = filename_of(path), ObjectId()
        await self._bucket.prepare()
        note = await self._bucket.note([files_id])
        inserts = Inserts(self._bucket)
        try:
            await _add_chunks(inserts, files_id, chunks, size, path)
            known = await self._bucket.rows([filename])
            document = files_document(files_id, filename, size, meta, known)
            await self._bucket.add_files([document], replaced=known)
        except BaseException as error:
            await inserts.ended()
            await self._bucket.give_up(note, [files_id], error)
            raise
        await self._bucket.drop_note(note)

    async def stat_many(self, paths: Sequence[str]) -> list[StoredFile | None]:
        names = [filename_of(path) for path in paths]
        rows = await self._bucket.newest(names)
        return [
            StoredFile(path, rows[name].length) if name in rows else None
            for path, name in zip(paths, names, strict=True)
        ]

    async def list_files(self, prefix: str = "") -> AsyncIterator[list[StoredFile]]:
        if prefix.startswith(OWN_PREFIX):
            shown, start, hidden = "", prefix, ""
        elif _LISTED.startswith(prefix) or prefix.startswith(_LISTED):
            shown, start, hidden = _LISTED, prefix[len(_LISTED) :], OWN_PREFIX
        else:
            return
        after, size = "", _PAGE
        while True:
            rows = await self._bucket.page(after, start, hidden, size)
            is_last = len(rows) < size
            if not is_last:
                # The rows of the last name may go on on the next page.
                kept = [row for row in rows if row.filename != rows[-1].filename]
                if not kept:
                    size *= 2
                    continue
                rows = kept
            newest: dict[str, Row] = {}
            copies: dict[str, int] = {}
            for row in rows:
                known = newest.get(row.filename)
                if known is not None:
                    copies[row.filename] = copies.get(row.filename, 1) + 1
                if known is None or row.age > known.age:
                    newest[row.filename] = row
            found = [
                StoredFile(shown + name, row.length, row.modified, copies.get(name, 1))
                for name, row in newest.items()
                if name.startswith(start) and _is_path(shown + name)
            ]
            if found:
                yield found
            if is_last or not rows[-1].filename.startswith(start):
                return
            after, size = rows[-1].filename, _PAGE

    async def delete(self, path: str) -> None:
        await self.delete_many([path])

    async def delete_many(self, paths: Sequence[str]) -> None:
        await self._bucket.remove([row.id for row in await self._bucket.rows([filename_of(path) for path in paths])])

    async def read_many(self, paths: Sequence[str], limit: int) -> list[bytes | TransferError]:
        names = [filename_of(path) for path in paths]
        rows = await self._bucket.newest(names)
        small = [row for row in rows.values() if row.length <= min(limit, _GROUP)]
        data: dict[str, bytes | TransferError] = {}
        for group in _groups(small):
            data.update(await self._read_group(group))
        for name, row in rows.items():
            if row.length > limit:
                data[name] = SizeMismatch(path=name, limit=limit)
            elif name not in data:
                data[name] = await self._read_alone(row)
        return [
            data[name] if name in data else FileNotFound(path=path) for path, name in zip(paths, names, strict=True)
        ]

    async def _read_group(self, group: Sequence[Row]) -> Mapping[str, bytes | TransferError]:
        count = sum(row.chunks for row in group)
        ids = [row.id for row in group if row.chunks]
        found = await self._bucket.find_chunks({"files_id": {"$in": ids}}, count) if ids else []
        by_file: dict[Any, list[dict[str, Any]]] = {}
        for document in found:
            by_file.setdefault(document["files_id"], []).append(document)
        results: dict[str, bytes | TransferError] = {}
        for row in group:
            data = joined(row, by_file.get(row.id, []), 0, row.chunks)
            # A chunk too many of one file may have left no room for those of another: look at each alone.
            results[row.filename] = await self._read_alone(row) if data is None else data
        return results

    async def _read_alone(self, row: Row) -> bytes | TransferError:
        try:
            return b"".join([block async for block in self._bucket.read(row)])
        except TransferError as error:
            return error

    async def write_many(self, files: Sequence[SmallFile]) -> list[TransferError | None]:
        results: list[TransferError | None] = [None] * len(files)
        by_name: dict[str, SmallFile] = {}
        for index, file in enumerate(files):
            try:
                by_name[filename_of(file.path)] = file
            except TransferError as error:
                results[index] = error
        try:
            if by_name:
                await self._write_small(by_name)
        except TransferError as error:
            return [result or error for result in results]
        return results

    async def _write_small(self, files: Mapping[str, SmallFile]) -> None:
        await self._bucket.prepare()
        ids = {name: ObjectId() for name in files}
        note = await self._bucket.note(list(ids.values()))
        inserts = Inserts(self._bucket)
        try:
            batch: list[dict[str, Any]] = []
            size = 0
            for name, file in files.items():
                for document in chunks_of(ids[name], file.data):
                    batch.append(document)
                    size += len(document["data"])
                    if size >= _BLOCK:
                        await inserts.add(functools.partial(list, batch))
                        batch, size = [], 0
            if batch:
                await inserts.add(functools.partial(list, batch))
            await inserts.settled()
            known = await self._bucket.rows(files)
            older: dict[str, list[Row]] = {name: [] for name in files}
            for row in known:
                older[row.filename].append(row)
            documents = [
                files_document(ids[name], name, len(file.data), file.meta, older[name]) for name, file in files.items()
            ]
            await self._bucket.add_files(documents, replaced=known)
        except BaseException as error:
            await inserts.ended()
            await self._bucket.give_up(note, list(ids.values()), error)
            raise
        await self._bucket.drop_note(note)

    async def partial(self, path: str, upload_id: str, meta: FileMeta | None = None) -> GridFsPartialUpload:
        upload = GridFsPartialUpload(self._bucket, filename_of(path), upload_id, meta)
        await upload.open()
        return upload

    async def move(self, source: str, target: str) -> None:
        old, new = filename_of(source), filename_of(target)
        rows = await self._bucket.rows([old, new])
        row = max((row for row in rows if row.filename == old), key=lambda row: row.age, default=None)
        if row is None:
            if not rows:
                raise FileNotFound(path=source)
            return
        if old != new:
            others = [other for other in rows if other.id != row.id]
            if not await self._bucket.rename(row, new, replaced=others):
                raise FileNotFound(path=source)

    async def probe(self) -> None:
        path, data = f"{OWN_PREFIX}probe/{ObjectId()}", os.urandom(64)
        try:
            for error in await self.write_many([SmallFile(path, data)]):
                if error is not None:
                    raise error
            read = await self.read_many([path], len(data))
        except asyncio.CancelledError:
            await self.delete(path)
            raise
        await self.delete(path)
        if read != [data]:
            raise StorageUnavailable("What was written to the attachment storage was not read back.")

    async def free_bytes(self) -> int | None:
        stats = await self._bucket.run({"dbStats": 1})
        total, used = stats.get("fsTotalSize"), stats.get("fsUsedSize")
        return None if not total or used is None else max(0, int(total) - int(used))

    async def close(self) -> None:
        """Nothing is held; the database is closed by whoever opened it."""

    async def _row(self, path: str) -> Row:
        name = filename_of(path)
        try:
            return (await self._bucket.newest([name]))[name]
        except KeyError:
            raise FileNotFound(path=path) from None


async def _add_chunks(inserts: Inserts, files_id: Any, chunks: AsyncIterator[bytes], size: int, path: str) -> None:
    """All chunks of a file. Raises SizeMismatch."""
    waiting = bytearray()
    found = n = 0
    async for data in chunks:
        found += len(data)
        if found > size:
            break
        waiting += data
        while len(waiting) >= _BLOCK:
            await inserts.add(functools.partial(chunks_of, files_id, memoryview(waiting)[:_BLOCK], n))
            waiting = waiting[_BLOCK:]
            n += BATCH_CHUNKS
    if found != size:
        raise SizeMismatch(path=path, expected=size)
    if waiting:
        await inserts.add(functools.partial(chunks_of, files_id, waiting, n))
    await inserts.settled()


def filename_of(path: str) -> str:
    """The filename in the bucket. Raises NameIllegal."""
    folder, *rest = split_path(path)
    return "/".join(rest) if rest and folder in _FOLDERS else path


def _is_path(path: str) -> bool:
    try:
        split_path(path)
    except NameIllegal:
        return False
    return True


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows whose chunks fit into one reply together."""
    groups: list[list[Row]] = []
    room = 0
    for row in rows:
        if not groups or row.length > room or len(groups[-1]) >= _PAGE:
            groups.append([])
            room = _GROUP
        groups[-1].append(row)
        room -= row.length
    return groups
