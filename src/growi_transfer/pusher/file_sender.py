"""Files over the line: small ones in bundles, large ones by offset, both as large as the line takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from growi_transfer.archive.bundle import hash_contents, write_frames
from growi_transfer.ledger.base import FileRow
from growi_transfer.protocol.answers import BundleResults, FileResult
from growi_transfer.protocol.errors import (
    FileNotFound,
    NameIllegal,
    OffsetMismatch,
    PeerRefused,
    SizeMismatch,
    TransferError,
    Unavailable,
    code_of,
)
from growi_transfer.protocol.progress import Sending
from growi_transfer.protocol.wire import LARGE_FILE_BYTES, AttachmentFile
from growi_transfer.pusher.adapt import Tuner
from growi_transfer.pusher.answers import checked
from growi_transfer.pusher.file_outcomes import Outcomes
from growi_transfer.pusher.in_flight import InFlight
from growi_transfer.pusher.large_files import send_large
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.retry import Retry, is_away
from growi_transfer.pusher.sizes import DOUBTS, Sizes, is_doubtful, is_too_large
from growi_transfer.pusher.source_files import Source
from growi_transfer.storage.base import Storage

_FILE_WEIGHT = 16 << 10
"""What one more file costs beside its bytes, in bytes: so that rates of bundles can be compared."""
_ABOUT_ONE_FILE = (
    "size_mismatch",
    "digest_mismatch",
    "body_too_large",
    "name_illegal",
    "name_collision",
    "invalid_request",
)


_MOVED = 8
"""How often a large file may be found at another offset than expected before any more of it has arrived."""


class _BundleTooLarge(Exception):
    """The bundle has to be sent in parts."""


class FileSender:
    """Sends files of one transfer and notes what became of each. `source` tries readings of the storage again."""

    def __init__(
        self,
        *,
        storage: Storage,
        peer: Peer,
        retry: Retry,
        source: Retry,
        sizes: Sizes,
        tuner: Tuner,
        outcomes: Outcomes,
        transfer_id: str,
        in_flight: InFlight,
    ) -> None:
        self._storage = storage
        self._peer = peer
        self._retry = retry
        self._source = source
        self._sizes = sizes
        self._tuner = tuner
        self._outcomes = outcomes
        self._transfer_id = transfer_id
        self._in_flight = in_flight

    def is_large(self, size: int) -> bool:
        """Whether a file goes alone."""
        return size > min(LARGE_FILE_BYTES, self._sizes.bundle.current)

    def is_full(self, files: int, size: int) -> bool:
        """Whether a bundle of so many files and bytes is more than one."""
        return files > self._sizes.bundle_files or size > self._sizes.bundle.current

    # bundles

    async def bundle(self, sources: Sequence[Source]) -> None:
        """Send small files together. A fault of one of them is noted in its row."""
        read = await self._read([source.row.path for source in sources])
        good: list[Source] = []
        contents: list[bytes] = []
        for source, content in zip(sources, read, strict=True):
            if isinstance(content, TransferError):
                await self._outcomes.failed_now([replace(source, error=content)])
            elif source.file is not None:
                good.append(replace(source, row=replace(source.row, size=len(content))))
                contents.append(content)
        if good:
            await self._send(good, contents)

    async def _read(self, paths: Sequence[str]) -> list[bytes | TransferError]:
        """The contents. When the storage does not answer it is asked again, for that is no fault of a file."""
        found: list[bytes | TransferError] = [FileNotFound()] * len(paths)
        left = list(range(len(paths)))

        async def read() -> None:
            for at, content in zip(
                left, await self._storage.read_many([paths[at] for at in left], LARGE_FILE_BYTES), strict=True
            ):
                found[at] = content
            left[:] = [at for at in left if isinstance(found[at], Unavailable)]
            for at in left:
                error = found[at]
                assert isinstance(error, TransferError)
                raise error

        try:
            await self._source(read)
        except Unavailable:
            if len(left) == len(paths):
                raise
        return found

    async def _send(self, sources: list[Source], contents: list[bytes]) -> None:
        pieces, files = await asyncio.to_thread(_frames, sources, contents)
        on_its_way = Sending("bundle", sources[0].row.path, len(sources), sum(map(len, contents)))
        try:
            with self._in_flight.sending(on_its_way):
                answer = await self._put(pieces, len(sources))
        except _BundleTooLarge:
            half = len(sources) // 2
            if half:
                await self._send(sources[:half], contents[:half])
                await self._send(sources[half:], contents[half:])
            else:
                contents.clear()
                await self.large(sources[0])
            return
        results = {result.id: result for result in checked(BundleResults, answer, self._peer.origin).results}
        stored: list[FileRow] = []
        for source, file in zip(sources, files, strict=True):
            result = results.get(file.id) or FileResult(id=file.id, ok=False, message="There was no answer.")
            if result.ok:
                stored.append(replace(source.row, digest=bytes.fromhex(file.sha256 or "")))
            else:
                error = PeerRefused(result.message, code=result.code, status=400, retryable=result.retryable)
                await self._outcomes.failed_now([replace(source, error=error)])
        await self._outcomes.stored(stored, wire=sum(map(len, pieces)))

    async def _put(self, pieces: list[bytes | memoryview], files: int) -> dict[str, Any]:
        size = sum(map(len, pieces))
        doubts = 0

        async def put() -> dict[str, Any]:
            nonlocal doubts
            try:
                return await self._peer.put_bundle(self._transfer_id, pieces)
            except TransferError as error:
                self._failed(error)
                self._sizes.bundle.failed(size, error)
                doubts += is_doubtful(error)
                too_slow = doubts >= DOUBTS and files > 1 and size > self._sizes.bundle.least
                if is_too_large(error) or too_slow:
                    raise _BundleTooLarge from None
                raise

        answer = await self._retry(put)
        self._sizes.bundle.succeeded(size)
        self._tuner.succeeded(size + files * _FILE_WEIGHT)
        return answer

    # large files

    async def large(self, source: Source) -> None:
        """Send a file alone, from the offset at which the destination is. A fault of it is noted in its row."""
        moved = reached = 0
        while True:
            before = self._sizes.chunk.current
            try:
                digest = await self._retry(lambda: self._from_offset(source))
                break
            except TransferError as error:
                if is_too_large(error) and error.details.get("foreign") and self._sizes.chunk.current < before:
                    continue  # in smaller parts: what refused it stands before the destination
                durable = self._outcomes.counted.get(source.row.attachment_id, 0)
                if durable > reached:
                    moved, reached = 0, durable
                if code_of(error) == OffsetMismatch.code and moved < _MOVED:
                    moved += 1  # an answer was lost, or a request arrived twice: on from where it is now
                    continue
                if not _is_about_the_file(error):
                    raise
                await self._outcomes.failed_now([replace(source, error=error)])
                return
        self._outcomes.counted.pop(source.row.attachment_id, None)
        await self._outcomes.stored([replace(source.row, digest=digest)], counted=True)

    async def _from_offset(self, source: Source) -> bytes:
        assert source.file is not None
        began = self._outcomes.counted.get(source.row.attachment_id, 0)
        try:
            with self._in_flight.sending(Sending("file", source.row.path, 1, source.file.size)) as durable:

                def on_durable(offset: int) -> None:
                    durable(offset)
                    self._outcomes.count(source.row.attachment_id, offset)

                digest = await send_large(
                    self._peer,
                    self._storage,
                    self._transfer_id,
                    source.row.path,
                    source.file,
                    chunk=self._sizes.chunk,
                    on_durable=on_durable,
                )
        except TransferError as error:
            self._failed(error)
            raise
        self._tuner.succeeded(max(0, source.file.size - began) + _FILE_WEIGHT)
        return digest

    def _failed(self, error: TransferError) -> None:
        if is_away(error):
            self._tuner.failed()


def _is_about_the_file(error: TransferError) -> bool:
    return isinstance(error, FileNotFound | SizeMismatch | NameIllegal) or code_of(error) in _ABOUT_ONE_FILE


def _frames(
    sources: Sequence[Source], contents: Sequence[bytes]
) -> tuple[list[bytes | memoryview], list[AttachmentFile]]:
    """For a thread: hashes and frames."""
    files = [
        source.file.model_copy(update={"size": len(content), "sha256": digest})
        for source, content, digest in zip(sources, contents, hash_contents(contents), strict=True)
        if source.file is not None
    ]
    return write_frames(list(zip(files, contents, strict=True))), files
