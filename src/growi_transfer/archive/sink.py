"""Where an archive is written to, piece by piece and only forwards."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from growi_transfer.protocol.errors import InsufficientSpace, OperatorFault, TransferError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Sink(Protocol):
    """Takes an archive in order. It need not be a file, and nobody ever goes back in it."""

    async def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Take these pieces, one after another; slow down the writer by returning late."""


@runtime_checkable
class Rewindable(Protocol):
    """A sink that can take back what it was given last, so that one bad entry does not spoil an archive."""

    def mark(self) -> object:
        """This place, for `rewind`."""

    async def rewind(self, mark: Any) -> None:
        """Forget everything since a mark. Raises as `write`."""


class FileSink:
    """A binary file (a pipe and standard output too), written in a thread. The caller closes it.

    Raises InsufficientSpace or OperatorFault.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    async def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        try:
            await asyncio.to_thread(self._file.writelines, pieces)
        except OSError as error:
            raise _fault(error) from error


class NewFile(FileSink):
    """The file of `new_file`. It counts what it has, and hashes it if it was asked to."""

    def __init__(self, file: BinaryIO, *, digest: bool) -> None:
        super().__init__(file)
        self._new = file
        self._hasher = sha256() if digest else None
        self.size = 0
        """Bytes so far."""

    @property
    def sha256(self) -> str:
        """SHA-256 of all bytes so far, in hex; empty if it was not asked for."""
        return self._hasher.hexdigest() if self._hasher is not None else ""

    async def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        await super().write(pieces)
        self.size += sum(len(piece) for piece in pieces)
        if self._hasher is not None:
            await asyncio.to_thread(_feed, self._hasher, pieces)

    def mark(self) -> object:
        return self.size, self._hasher.copy() if self._hasher is not None else None

    async def rewind(self, mark: Any) -> None:
        self.size, self._hasher = mark
        try:
            await asyncio.to_thread(_cut, self._new, self.size)
        except OSError as error:
            raise _fault(error) from error


def _feed(hasher: Any, pieces: Sequence[bytes | memoryview]) -> None:
    for piece in pieces:
        hasher.update(piece)


def _cut(file: BinaryIO, size: int) -> None:
    file.flush()
    file.seek(size)
    file.truncate()


@asynccontextmanager
async def new_file(path: Path, *, digest: bool = False) -> AsyncIterator[NewFile]:
    """A sink whose content appears under `path`, whole and durable, when the block ends without an error.

    Until then, and after an error, what was under `path` is untouched and nothing else remains. The file can be read
    by its owner only: an archive has password hashes in it. Raises InsufficientSpace or OperatorFault.
    """
    try:
        file, part = await asyncio.to_thread(_create, path)
    except OSError as error:
        raise _fault(error) from error
    try:
        yield NewFile(file, digest=digest)
        try:
            await asyncio.to_thread(_publish, file, part, path)
        except OSError as error:
            raise _fault(error) from error
    finally:
        await asyncio.to_thread(_discard, file, part)


def _create(path: Path) -> tuple[BinaryIO, Path]:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "there is a folder of this name")
    descriptor, name = tempfile.mkstemp(".part", f".{path.name[:100]}-", path.parent)
    return os.fdopen(descriptor, "wb"), Path(name)


def _publish(file: BinaryIO, part: Path, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _discard(file: BinaryIO, part: Path) -> None:
    with suppress(OSError):  # closing writes what is left in the buffer; if it matters, `_publish` has told
        file.close()
    part.unlink(missing_ok=True)


def _fault(error: OSError) -> TransferError:
    if error.errno in _FULL:
        return InsufficientSpace("There is no space left for the archive.")
    return OperatorFault(f"The archive cannot be written: {error.strerror or error}")
