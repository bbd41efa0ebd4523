"""Attachments in a folder, in GROWI's layout: `<root>/attachment/<fileName>` and `<root>/user/<fileName>`.

The root is GROWI's `public/uploads`; it must exist. What is not whole yet lies in `<root>/.growi-transfer/`, because
renaming is atomic only within a file system. All work on the disk is done in threads of the storage's own, so that a
slow disk holds nobody else up.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from aiofiles.threadpool import wrap

from growi_transfer.protocol.errors import SizeMismatch, TransferError
from growi_transfer.storage.base import READ_CHUNK, Features, FileMeta, SmallFile, StoredFile
from growi_transfer.storage.local_disk import Disk
from growi_transfer.storage.local_folders import translated
from growi_transfer.storage.local_new_file import NewFile
from growi_transfer.storage.local_partial import LocalPartialUpload

_THREADS = 8

T = TypeVar("T")


class LocalStorage:
    """`root` is not touched before the first operation. StorageNotWritable for writes when it does not exist,
    StorageUnavailable for reads: it may be a disk that is not mounted."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._disk = Disk(root)
        self._folds: bool | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="local-storage")

    @property
    def features(self) -> Features:
        return Features(kind="local", place=f"the folder {self._root}", folds_names=self._folds_names())

    def _folds_names(self) -> bool:
        """Tried once, by a file that is removed at once: it is the disk that decides, not the system."""
        if self._folds is None:
            try:
                self._folds = self._disk.folds_names()
            except OSError:
                return False  # not there, or not writable: nothing is written to it either
        return self._folds

    async def open(self, path: str, offset: int = 0) -> AsyncGenerator[bytes, None]:
        fd = await self._open_file(path)
        # Not by `aiofiles.open`: cancelled while it waits, it leaves the file that its thread opens to nobody.
        with os.fdopen(fd, "rb") as file:
            stream = wrap(file, loop=asyncio.get_running_loop(), executor=self._threads)
            try:
                await stream.seek(offset)
                while chunk := await stream.read(READ_CHUNK):
                    yield chunk
            except OSError as error:
                raise translated(error, path) from error

    async def write(self, path: str, chunks: AsyncIterator[bytes], size: int, meta: FileMeta | None = None) -> None:
        file = NewFile(self._disk, path)
        found = 0
        try:
            async for block in _blocks(chunks):
                found += len(block)
                if found > size:
                    break
                await self._write(file.append, block)
            if found != size:
                raise SizeMismatch(path=path, expected=size)
            await self._write(file.finish)
        finally:
            await self._write(file.discard)

    async def stat_many(self, paths: Sequence[str]) -> list[StoredFile | None]:
        return await self._read(self._disk.stat_many, paths)

    async def list_files(self, prefix: str = "") -> AsyncIterator[list[StoredFile]]:
        pages = self._disk.pages(prefix)
        while page := await self._read(next, pages, None):
            yield page

    async def delete(self, path: str) -> None:
        await self.delete_many([path])

    async def delete_many(self, paths: Sequence[str]) -> None:
        await self._write(self._disk.delete_many, paths)

    async def read_many(self, paths: Sequence[str], limit: int) -> list[bytes | TransferError]:
        return await self._read(self._disk.read_many, paths, limit)

    async def write_many(self, files: Sequence[SmallFile]) -> list[TransferError | None]:
        return await self._write(self._disk.write_many, files)

    async def partial(self, path: str, upload_id: str, meta: FileMeta | None = None) -> LocalPartialUpload:
        upload = LocalPartialUpload(self._disk, self._write, path, upload_id)
        await upload.open()
        return upload

    async def move(self, source: str, target: str) -> None:
        await self._write(self._disk.move, source, target)

    async def probe(self) -> None:
        await self._write(self._disk.probe)

    async def free_bytes(self) -> int | None:
        return await self._read(self._disk.free_bytes)

    async def close(self) -> None:
        """Wait for the work under way and remove the workspace. Partial uploads stay. May be called twice."""

        def end() -> None:
            self._threads.shutdown(wait=True)
            self._disk.close()

        await asyncio.to_thread(end)

    async def _read(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        except OSError as error:
            raise translated(error) from error

    async def _write(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        except OSError as error:
            raise translated(error, writing=True) from error

    async def _open_file(self, path: str) -> int:
        opening = self._threads.submit(self._disk.open_file, path)
        try:
            return await asyncio.wrap_future(opening)
        except OSError as error:
            raise translated(error, path) from error
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unused)
            raise


def _close_unused(opening: Future[int]) -> None:
    """For a task that was cancelled while a thread opened a file for it."""
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result())


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces worth a thread hop; one even for no bytes, since an empty file is a file."""
    waiting: list[bytes] = []
    size = 0
    async for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= READ_CHUNK:
            yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)
