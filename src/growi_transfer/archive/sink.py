"""Where an archive is written to, piece by piece and only forwards."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from growi_transfer.protocol.errors import InsufficientSpace, OperatorFault, TransferError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Sink(Protocol):
    """Takes an archive in order. It need not be a file, and nobody ever goes back in it."""

    async def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Take these pieces, one after another; slow down the writer by returning late."""


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


@asynccontextmanager
async def new_file(path: Path) -> AsyncIterator[FileSink]:
    """A sink whose content appears under `path`, whole and durable, when the block ends without an error.

    Until then, and after an error, what was under `path` is untouched and nothing else remains. The file can be read
    by its owner only: an archive has password hashes in it. Raises InsufficientSpace or OperatorFault.
    """
    try:
        file, part = await asyncio.to_thread(_create, path)
    except OSError as error:
        raise _fault(error) from error
    try:
        yield FileSink(file)
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
