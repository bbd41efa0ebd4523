"""A request's body on its way out: read from its source, cut into pieces, slowed down, stopped. Knows no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from growi_transfer.protocol.errors import SizeMismatch

PIECE_BYTES = 256 << 10
"""Bytes handed to the socket at once. Measured: 64 KiB took a sixth more processor time, 1 MiB went no faster."""
_TURNS_TO_READ = 20
"""Turns of the event loop in which it will have read what it can."""

Chunk = bytes | bytearray | memoryview
Pace = Callable[[int], Awaitable[int]]
"""Asked for permission to send some bytes; answers how many may go now (see `pusher.bandwidth`)."""


class Body:
    """Chunks of any size, `length` bytes in all, sent in pieces as fast as `pace` and the other side allow.

    `source` is asked for its chunks when sending begins, and again when a request is repeated on a fresh connection.
    `idle`: seconds the other side may take for one piece.
    """

    def __init__(self, source: Callable[[], AsyncIterator[Chunk]], length: int, pace: Pace | None, idle: float) -> None:
        self.length = length
        self.failure: Exception | None = None
        """What the source raised, or SizeMismatch when it was not of the announced length."""
        self._source = source
        self._pace = pace
        self._idle = idle
        self._sender: asyncio.Task[object] | None = None

    async def send(self, write: Callable[[memoryview], Awaitable[None]], answered: Callable[[], bool]) -> None:
        """Give all pieces to `write`, which returns when the other side has taken enough of them.

        `answered` tells whether bytes of an answer wait to be read. They are read before anything more is written: a
        peer that refuses may close the connection next, and a write that then fails would lose them.

        Raises what `write` and the source raise, SizeMismatch, and TimeoutError when a piece takes longer than `idle`.
        """
        self._sender = asyncio.current_task()
        chunks, left = self._source(), self.length
        while (chunk := await self._next(chunks, left)) is not None:
            left -= len(chunk)
            while chunk:
                size = min(len(chunk), PIECE_BYTES)
                if self._pace is not None:
                    size = await self._pace(size)
                turns = 0
                while turns < _TURNS_TO_READ and answered():
                    turns += 1
                    await asyncio.sleep(0)
                async with asyncio.timeout(self._idle):
                    await write(chunk[:size])
                chunk = chunk[size:]

    async def end(self) -> None:
        """Stop sending, if it has not ended, and wait until nothing reads from the source any more: also when the
        caller is cancelled a second time, for it closes the source next, which fails while somebody reads from it."""
        if self._sender is None or self._sender.done():
            return
        self._sender.cancel()
        cancelled: asyncio.CancelledError | None = None
        while not self._sender.done():
            try:
                await asyncio.wait([self._sender])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def _next(self, chunks: AsyncIterator[Chunk], left: int) -> memoryview | None:
        try:
            chunk = await anext(chunks, None)
            if (left != 0) if chunk is None else (len(chunk) > left):
                raise SizeMismatch("The content has another length than was announced.", announced=self.length)
        except Exception as error:
            self.failure = error
            raise
        return None if chunk is None else memoryview(chunk).cast("B")


async def joined(parts: Sequence[Chunk]) -> AsyncIterator[Chunk]:
    """The parts, small ones joined: a system call for each frame of a bundle would cost more than the copy."""
    small: list[Chunk] = []
    held = 0
    for part in parts:
        if len(part) < PIECE_BYTES:
            small.append(part)
            held += len(part)
        if small and (held >= PIECE_BYTES or len(part) >= PIECE_BYTES):
            yield b"".join(small)
            small, held = [], 0
        if len(part) >= PIECE_BYTES:
            yield part
    if small:
        yield b"".join(small)
