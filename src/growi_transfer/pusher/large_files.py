"""One large file out, by offset: it goes on where the destination has it, whatever happened in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from hashlib import sha256

from growi_transfer.protocol.errors import SizeMismatch, TransferError
from growi_transfer.protocol.wire import AttachmentFile
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.sizes import Size
from growi_transfer.storage.base import Storage


async def send_large(
    peer: Peer,
    storage: Storage,
    transfer_id: str,
    path: str,
    file: AttachmentFile,
    *,
    chunk: Size,
    on_durable: Callable[[int], None],
) -> bytes:
    """Send a file from the offset at which the destination is; its digest. May be called again after any failure.

    `chunk` is the size of one request, and learns from each. The file is always read from its beginning, because the
    digest is that of what is sent as a whole. `on_durable`
    hears how many bytes are durable over there, each time that is known. Raises FileNotFound, SizeMismatch when the
    file changes its size, and the peer's errors.
    """
    state = await peer.upload_state(transfer_id, file.id)
    known = state is not None and state.length == file.size
    offset = state.offset if state is not None and known else 0
    on_durable(offset)
    hasher = sha256()
    async with aclosing(storage.open(path)) as chunks, aclosing(_Reader(chunks, hasher.update)) as reader:
        async for _ in reader.take(offset):
            pass
        first = True
        while offset < file.size:
            length = min(chunk.current, file.size - offset)
            try:
                sent = await peer.patch_upload(
                    transfer_id,
                    file.id,
                    offset=offset,
                    chunks=reader.take(length),
                    length=length,
                    complete=False,
                    file=file if first else None,
                )
            except TransferError as error:
                chunk.failed(length, error)
                raise
            chunk.succeeded(length)
            on_durable(sent.offset)
            offset, first = sent.offset, False
        if not await reader.at_end():
            raise SizeMismatch("The file became longer while it was read.")
        # The digest goes in a header and is known only now, so the end is a request of its own.
        await peer.patch_upload(
            transfer_id,
            file.id,
            offset=offset,
            chunks=reader.take(0),
            length=0,
            complete=True,
            digest=hasher.hexdigest(),
            file=file if first else None,
        )
        return hasher.digest()


class _Reader:
    """A file read once from the beginning, hashed on the way, and given out in parts. While one chunk is sent the next
    one is read."""

    def __init__(self, chunks: AsyncIterator[bytes], update: Callable[[bytes], None]) -> None:
        self._chunks = chunks
        self._update = update
        self._held = b""
        self._ahead: asyncio.Task[bytes] | None = None

    async def aclose(self) -> None:
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.wait([self._ahead])
            if not self._ahead.cancelled():
                self._ahead.exception()  # whoever came so far has been told

    async def _next(self) -> bytes:
        if self._held:
            chunk, self._held = self._held, b""
            return chunk
        if self._ahead is None:
            self._ahead = asyncio.ensure_future(self._read())
        chunk = await self._ahead
        if chunk:
            self._ahead = asyncio.ensure_future(self._read())
        return chunk

    async def _read(self) -> bytes:
        chunk = await anext(self._chunks, b"")
        if chunk:
            await asyncio.to_thread(self._update, chunk)
        return chunk

    async def take(self, size: int) -> AsyncIterator[bytes]:
        """The next `size` bytes. Raises SizeMismatch when the file has become shorter."""
        while size:
            chunk = await self._next()
            if not chunk:
                raise SizeMismatch("The file became shorter while it was read.")
            if len(chunk) > size:
                chunk, self._held = chunk[:size], chunk[size:]
            size -= len(chunk)
            yield chunk

    async def at_end(self) -> bool:
        """Whether nothing is left."""
        return not await self._next()
