"""Writes a zip forwards, entry by entry, in flat memory: what is packed and written overlaps with reading the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from typing import Any, Protocol

from growi_transfer.archive import zip_format as zf
from growi_transfer.archive.entries import Packer
from growi_transfer.archive.sink import Rewindable, Sink
from growi_transfer.protocol.errors import ArchiveInvalid

SMALL_ENTRY = 1 << 20
"""Packed bytes up to which an entry is kept back until its size is known, so that its header can tell it."""


class Proof(Protocol):
    """Sees the data of an entry as they are packed."""

    def feed(self, piece: bytes | memoryview) -> None: ...


class ZipWriter:
    """One zip on its way into a sink. Use it from one task at a time, and end with `finish`.

    An error of an entry's own data leaves the zip as it was, and others can follow, if nothing of the entry was written
    yet or the sink can go back (`Rewindable`). Any other error leaves a zip that cannot be finished.
    """

    def __init__(self, sink: Sink, same: Callable[[str], str] = str) -> None:
        """Entries whose names are one under `same` are refused."""
        self._sink = sink
        self._same = same
        self._names: set[str] = set()
        self._directory: list[bytes] = []
        self._half_written = False
        self.offset = 0
        """Bytes written so far."""

    async def add(
        self, name: str, pieces: AsyncIterable[bytes | memoryview], proof: Proof | None = None, *, deflate: bool
    ) -> None:
        """Write an entry of unknown size. Nothing of it is written before SMALL_ENTRY bytes have come or all has."""
        self._check_usable()
        mark = self._sink.mark() if isinstance(self._sink, Rewindable) else None
        offset = self.offset
        try:
            await self._add(name, pieces, proof, deflate=deflate)
        except Exception:
            if mark is not None and self._half_written and isinstance(self._sink, Rewindable):
                await self._sink.rewind(mark)
                self.offset, self._half_written = offset, False
            raise

    async def _add(
        self, name: str, pieces: AsyncIterable[bytes | memoryview], proof: Proof | None, *, deflate: bool
    ) -> None:
        packer = Packer(deflate=deflate)
        held: list[bytes | memoryview] = []
        offset = self.offset
        source = aiter(pieces)
        piece = await anext(source, None)
        while piece is not None:
            ready: list[bytes | memoryview] = []
            if self._half_written:
                ready, held = held, ready
            # Three pieces at once: the next one is read, this one packed and hashed, the one before it written.
            packed, _, piece, _ = await _all(
                asyncio.to_thread(packer.feed, piece),
                _feed(proof, piece),
                anext(source, None),
                self._emit(ready),
            )
            held.append(packed)
            if not self._half_written and packer.packed > SMALL_ENTRY:
                self._half_written = True
                held.insert(0, zf.local_header(_record(name, packer, offset, streamed=True)))
        held.append(await asyncio.to_thread(packer.finish))
        if not self._half_written:
            await self._write([self.header_of(name, packer), *held])
            return
        record = _record(name, packer, offset, streamed=True)
        self._register(name, record)
        await self._emit([*held, zf.descriptor(record)])
        self._half_written = False

    async def add_whole(self, name: str, data: bytes, *, deflate: bool) -> None:
        """Write an entry that is in memory."""
        packer = Packer(deflate=deflate)
        pieces = [packer.feed(data), packer.finish()]
        await self._write([self.header_of(name, packer), *pieces])

    async def add_packed(self, name: str, packer: Packer, pieces: Sequence[bytes | memoryview]) -> None:
        """Write an entry that is packed already; `packer` has finished."""
        await self._write([self.header_of(name, packer), *pieces])

    async def write_entries(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write whole entries, headers and data, that were put together with `header_of`."""
        await self._write(pieces)

    async def finish(self) -> None:
        """Write the zip's directory. Nothing can follow."""
        size = sum(len(record) for record in self._directory)
        end = zf.directory_end(len(self._directory), size, self.offset)
        await self._write([*self._directory, end])
        self._half_written = True

    def header_of(self, name: str, packer: Packer, offset: int | None = None) -> bytes:
        """Local header of an entry that is packed already; it is put into the directory."""
        record = _record(name, packer, self.offset if offset is None else offset, streamed=False)
        self._register(name, record)
        return zf.local_header(record)

    def has(self, name: str) -> bool:
        """Whether there is an entry of this name already."""
        return self._same(name) in self._names

    def _register(self, name: str, record: zf.Record) -> None:
        if self.has(name):
            raise ArchiveInvalid(f"The archive has two entries of one name: {name[:200]}")
        self._names.add(self._same(name))
        self._directory.append(zf.central_record(record))

    def _check_usable(self) -> None:
        if self._half_written:
            raise RuntimeError("This archive is finished, or an entry of it failed half-way.")

    async def _write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Whole entries: what was written before stays good only if all of it gets through."""
        self._check_usable()
        self._half_written = True
        await self._emit(pieces)
        self._half_written = False

    async def _emit(self, pieces: Sequence[bytes | memoryview]) -> None:
        if pieces:
            await self._sink.write(pieces)
        self.offset += sum(len(piece) for piece in pieces)


async def _feed(proof: Proof | None, piece: bytes | memoryview) -> None:
    if proof is not None:
        await asyncio.to_thread(proof.feed, piece)


def _record(name: str, packer: Packer, offset: int, *, streamed: bool) -> zf.Record:
    flags = zf.UTF8_FLAG | (zf.STREAMED_FLAG if streamed else 0)
    return zf.Record(name.encode(), flags, packer.method, packer.crc, packer.packed, packer.size, offset)


async def _all(*steps: Awaitable[Any]) -> list[Any]:
    """All results. An error of any is raised when all have ended, so that nothing goes on behind one's back."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
