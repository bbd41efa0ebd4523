"""The files of a push to a GROWI: one form for each, several at a time, and only what its listing lacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import bson

from growi_transfer.archive.growi_json import document_text
from growi_transfer.ledger.base import FileRow, ItemState, Ledger, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.grouped import FileBatch
from growi_transfer.mongo.client import DECODED, Database
from growi_transfer.protocol.errors import FileNotFound, SizeMismatch, TransferError, code_of, is_retryable
from growi_transfer.protocol.progress import Failure, FilesSkipped, FilesStored, ItemFailed, ItemRecovered, Sending
from growi_transfer.pusher.adapt import Tuner
from growi_transfer.pusher.excluded_pages import EXCLUDED
from growi_transfer.pusher.file_outcomes import MISSING_FILE
from growi_transfer.pusher.gate import Gate
from growi_transfer.pusher.growi_forms import attachment_form
from growi_transfer.pusher.growi_listing import Listing
from growi_transfer.pusher.growi_peer import GrowiPeer
from growi_transfer.pusher.in_flight import InFlight
from growi_transfer.pusher.retry import Retry, is_away
from growi_transfer.pusher.source_files import Source, SourceFiles
from growi_transfer.storage.base import Storage

_WHOLE_TRANSFER = ("invalid_transfer_key", "peer_unavailable", "forbidden")
"""Errors that every other file would meet too."""
_SMALL = 1 << 20
"""Bytes of a file that is read whole, together with others."""
_READ_FILES, _READ_BYTES = 64, 4 << 20
"""What is read in one go."""
_FORM_WEIGHT = 64 << 10
"""What one more form costs beside its bytes, in bytes: so that rates can be compared."""


class GrowiAttachments:
    """Sends the files of one transfer. `accepts` tells whether the operator accepted a warning."""

    def __init__(
        self,
        *,
        database: Database,
        storage: Storage,
        ledger: Ledger,
        board: ProgressBoard,
        peer: GrowiPeer,
        retry: Retry,
        gate: Gate,
        tuner: Tuner,
        sources: SourceFiles,
        transfer_id: str,
        accepts: Callable[[str], bool],
        in_flight: InFlight,
    ) -> None:
        self._database = database
        self._storage = storage
        self._ledger = ledger
        self._rows = FileBatch(ledger)
        self._board = board
        self._peer = peer
        self._retry = retry
        self._gate = gate
        self._tuner = tuner
        self._sources = sources
        self._transfer_id = transfer_id
        self._accepts = accepts
        self._in_flight = in_flight

    async def run(self, listing: Listing) -> int:
        """Send every file that the listing lacks; how many failed. Raises what concerns the whole transfer."""
        failed = 0

        async def send(source: Source, content: bytes | None, document: dict[str, Any], raw: bytes) -> None:
            nonlocal failed
            try:
                try:
                    await self._retry(lambda: self._send(source, content, document, raw))
                finally:
                    self._gate.release()
            except TransferError as error:
                if code_of(error) in _WHOLE_TRANSFER:
                    raise
                failed += await self._fail(source, error)
            else:
                await self._rows.put(_as_stored(source.row))
                self._count_stored([source.row])

        async with asyncio.TaskGroup() as group:
            async for page in self._sources.pages():
                await self._leave_out([source for source in page if source.excluded])
                for source in page:
                    if source.error is not None and not source.excluded:
                        failed += await self._fail(source, source.error)
                good = [source for source in page if source.error is None and not source.excluded]
                there = [source for source in good if listing.has_one(source.paths, source.row.size)]
                await self._stored([source.row for source in there if source.row.state is not ItemState.STORED])
                known = {source.row.attachment_id for source in there}
                missing = [source for source in good if source.row.attachment_id not in known]
                documents = await self._documents(missing)
                # One that has no document by now was removed meanwhile.
                for part in _parts([source for source in missing if source.row.attachment_id in documents]):
                    for source, content in zip(part, await self._read(part), strict=True):
                        await self._gate.acquire()
                        group.create_task(send(source, content, *documents[source.row.attachment_id]))
        return failed

    async def _documents(self, sources: Sequence[Source]) -> dict[str, tuple[dict[str, Any], bytes]]:
        ids = [bson.ObjectId(source.row.attachment_id) for source in sources]
        found: dict[str, tuple[dict[str, Any], bytes]] = {}
        if ids:
            async for batch in self._database.raw_batches("attachments", query={"_id": {"$in": ids}}):
                for raw in map(bytes, batch):
                    document = bson.decode(raw, DECODED)
                    found[str(document["_id"])] = (document, raw)
        return found

    async def _read(self, sources: Sequence[Source]) -> list[bytes | None]:
        """The contents of small files. None for one that is read while it is sent, whatever the reason."""
        small = [source.row.path for source in sources if source.row.size <= _SMALL]
        read = dict(zip(small, await self._storage.read_many(small, _SMALL), strict=True)) if small else {}
        contents = [read.get(source.row.path) for source in sources]
        return [
            content if isinstance(content, bytes) and len(content) == source.row.size else None
            for source, content in zip(sources, contents, strict=True)
        ]

    async def _send(self, source: Source, content: bytes | None, document: dict[str, Any], raw: bytes) -> None:
        size = source.row.size
        form = attachment_form(
            (lambda: self._content(source)) if content is None else content, size, document, document_text(raw)
        )
        try:
            with self._in_flight.sending(Sending("file", source.row.path, 1, size)):
                await self._peer.attachment(form)
        except TransferError as error:
            if is_away(error):
                self._tuner.failed()
            raise
        self._tuner.succeeded(size + _FORM_WEIGHT)

    async def _content(self, source: Source) -> AsyncIterator[bytes]:
        async with aclosing(self._storage.open(source.row.path)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _stored(self, rows: Sequence[FileRow]) -> None:
        if rows:
            await self._ledger.put_files([_as_stored(row) for row in rows])
            self._count_stored(rows)

    def _count_stored(self, rows: Sequence[FileRow]) -> None:
        for row in rows:
            if row.state is ItemState.FAILED:
                self._board.apply(Role.PUSHER, self._transfer_id, ItemRecovered(row.path, "file"))
        size = sum(row.size for row in rows)
        self._board.apply(Role.PUSHER, self._transfer_id, FilesStored(len(rows), size, size))

    async def _leave_out(self, sources: Sequence[Source]) -> None:
        fresh = [source.row for source in sources if source.row.state is not ItemState.SKIPPED]
        if fresh:
            await self._ledger.put_files([replace(row, state=ItemState.SKIPPED, reason=EXCLUDED) for row in fresh])
            self._board.apply(Role.PUSHER, self._transfer_id, FilesSkipped(len(fresh)))

    async def _fail(self, source: Source, error: TransferError) -> int:
        """Keep the failure in the file's row; 0 when the operator has accepted it."""
        code = MISSING_FILE if isinstance(error, FileNotFound) else code_of(error)
        state = ItemState.SKIPPED if self._accepts(code) else ItemState.FAILED
        row = replace(source.row, state=state, reason=code, tries=source.row.tries + 1)
        await self._ledger.put_files([row])
        if state is ItemState.SKIPPED:
            if source.row.state is ItemState.FAILED:
                self._board.apply(Role.PUSHER, self._transfer_id, ItemRecovered(row.path, "file"))
            if source.row.state is not ItemState.SKIPPED:
                self._board.apply(Role.PUSHER, self._transfer_id, FilesSkipped(1, source.row.size))
            return 0
        self._board.apply(
            Role.PUSHER,
            self._transfer_id,
            ItemFailed(
                Failure(
                    item=row.path or row.attachment_id,
                    kind="file",
                    code=code,
                    message=error.message,
                    tries=row.tries,
                    retryable=is_retryable(error) and not isinstance(error, SizeMismatch),
                )
            ),
        )
        return 1


def _as_stored(row: FileRow) -> FileRow:
    return replace(row, state=ItemState.STORED, reason="")


def _parts(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """As many as are read in one go."""
    part: list[Source] = []
    size = 0
    for source in sources:
        held = source.row.size if source.row.size <= _SMALL else 0
        if part and (len(part) == _READ_FILES or size + held > _READ_BYTES):
            yield part
            part, size = [], 0
        part.append(source)
        size += held
    if part:
        yield part
