"""Tries a storage: every operation that a transfer needs, some times, and how fast a larger file goes in and out.

Everything is done below `.growi-transfer/check/`, which nobody lists, and is gone afterwards, whatever happened.
"""

from __future__ import annotations

import os
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from growi_transfer.protocol.errors import StorageUnavailable, TransferError
from growi_transfer.storage.base import READ_CHUNK, SmallFile, Storage, StoredFile
from growi_transfer.storage.paths import OWN_FOLDER
from growi_transfer.storage.turns import finished

CHECK_FOLDER = f"{OWN_FOLDER}/check/"
STEPS = ("layout", "write", "read", "list", "delete")
_SMALL = 1024
"""Bytes of the files by which latency is measured."""
_ABANDONED = 3600.0
"""Seconds after which files of a check that was killed are removed by the next one."""

Clock = Callable[[], float]


@dataclass(slots=True)
class Step:
    """One operation, tried several times. Nothing in `seconds`: it was never reached."""

    name: str
    seconds: list[float] = field(default_factory=list)
    bytes_per_second: float | None = None
    error: TransferError | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def worst(self) -> float | None:
        return max(self.seconds, default=None)


class StorageCheck:
    """One check of one storage. `size`: bytes of the larger file, 0 for none; `tries`: of each small operation."""

    def __init__(self, storage: Storage, *, size: int, tries: int, clock: Clock = time.perf_counter) -> None:
        self._storage = storage
        self._size = size
        self._tries = tries
        self._clock = clock
        self._folder = f"{CHECK_FOLDER}{secrets.token_hex(8)}/"
        self._written: list[str] = []
        self.steps = {name: Step(name) for name in STEPS}

    async def run(self) -> list[Step]:
        """All steps, the first fault in its step; what comes after a fault is not tried. When this returns or is
        cancelled nothing is left in the storage."""
        try:
            for step, work in (
                ("layout", self._layout),
                ("write", self._write),
                ("read", self._read),
                ("list", self._list),
                ("delete", self._delete),
            ):
                try:
                    await work(self.steps[step])
                except TransferError as error:
                    self.steps[step].error = error
                    break
        finally:
            await finished(self._clean())
        return list(self.steps.values())

    async def _timed(self, step: Step, work: Coroutine[Any, Any, None]) -> None:
        began = self._clock()
        # A request whose answer nobody waits for may still be carried out, after everything was removed.
        await finished(work)
        step.seconds.append(self._clock() - began)

    async def _layout(self, step: Step) -> None:
        """Where GROWI itself writes: every folder of its layout."""
        await self._timed(step, self._storage.probe())

    async def _write(self, step: Step) -> None:
        for number in range(self._tries):
            path = self._path(str(number))
            await self._timed(step, self._put(SmallFile(path, _content(path))))
        if self._size:
            began = self._clock()
            await self._storage.write(self._path("large"), _random(self._size), self._size)
            step.bytes_per_second = self._size / max(self._clock() - began, 1e-9)

    def _path(self, name: str) -> str:
        self._written.append(self._folder + name)
        return self._written[-1]

    async def _put(self, file: SmallFile) -> None:
        for error in await self._storage.write_many([file]):
            if error is not None:
                raise error

    async def _read(self, step: Step) -> None:
        for path in self._written[: self._tries]:
            await self._timed(step, self._compare(path))
        if self._size:
            began = self._clock()
            size = 0
            async with aclosing(self._storage.open(self._written[-1])) as chunks:
                async for chunk in chunks:
                    size += len(chunk)
            if size != self._size:
                raise StorageUnavailable(f"Of {self._size} bytes that were written, {size} were read back.")
            step.bytes_per_second = size / max(self._clock() - began, 1e-9)

    async def _compare(self, path: str) -> None:
        (content,) = await self._storage.read_many([path], _SMALL)
        if isinstance(content, TransferError):
            raise content
        if content != _content(path):
            raise StorageUnavailable("What was written was not read back.")

    async def _list(self, step: Step) -> None:
        for _ in range(self._tries):
            await self._timed(step, self._list_once())

    async def _list_once(self) -> None:
        found = [file.path async for page in self._storage.list_files(self._folder) for file in page]
        if found != sorted(self._written):
            raise StorageUnavailable(f"Of {len(self._written)} files that were written, {len(found)} are listed.")

    async def _delete(self, step: Step) -> None:
        for path in list(self._written):
            await self._timed(step, self._storage.delete(path))
        if any(await self._storage.stat_many(self._written)):
            raise StorageUnavailable("Files that were deleted are still there.")
        self._written.clear()

    async def _clean(self) -> None:
        """What a step that failed or was stopped left, and what a check that was killed left an hour ago."""
        try:
            if self._written:
                await self._storage.delete_many(self._written)
            old: list[str] = []
            async for page in self._storage.list_files(CHECK_FOLDER):
                old += [file.path for file in page if _is_before(file, time.time() - _ABANDONED)]
            if old:
                await self._storage.delete_many(old)
        except TransferError:
            return  # the step that met the same fault tells it


def _is_before(file: StoredFile, moment: float) -> bool:
    return file.modified is not None and file.modified < moment


def _content(path: str) -> bytes:
    return (path.encode() * _SMALL)[:_SMALL]


async def _random(size: int) -> AsyncIterator[bytes]:
    """Bytes that no store can pack or know already."""
    block = os.urandom(min(size, READ_CHUNK))
    for start in range(0, size, READ_CHUNK):
        yield block[: size - start]
