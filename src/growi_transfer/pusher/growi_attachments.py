"""The files of a push to a GROWI: one form for each, several at a time, and only what its listing lacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import bson

from growi_transfer.archive.growi_json import document_text
from growi_transfer.ledger.base import FileRow, ItemState, Ledger, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.mongo.client import DECODED, Database
from growi_transfer.protocol.errors import FileNotFound, SizeMismatch, TransferError, code_of, is_retryable
from growi_transfer.protocol.progress import Failure, FilesSkipped, FilesStored, ItemFailed, ItemRecovered, Sending
from growi_transfer.pusher.excluded_pages import EXCLUDED
from growi_transfer.pusher.file_outcomes import MISSING_FILE
from growi_transfer.pusher.gate import Gate
from growi_transfer.pusher.growi_forms import attachment_form
from growi_transfer.pusher.growi_listing import Listing
from growi_transfer.pusher.growi_peer import GrowiPeer
from growi_transfer.pusher.in_flight import InFlight
from growi_transfer.pusher.retry import Retry
from growi_transfer.pusher.source_files import Source, SourceFiles
from growi_transfer.storage.base import Storage

_WHOLE_TRANSFER = ("invalid_transfer_key", "peer_unavailable", "forbidden")
"""Errors that every other file would meet too."""


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
        sources: SourceFiles,
        transfer_id: str,
        accepts: Callable[[str], bool],
        in_flight: InFlight,
    ) -> None:
        self._database = database
        self._storage = storage
        self._ledger = ledger
        self._board = board
        self._peer = peer
        self._retry = retry
        self._gate = gate
        self._sources = sources
        self._transfer_id = transfer_id
        self._accepts = accepts
        self._in_flight = in_flight

    async def run(self, listing: Listing) -> int:
        """Send every file that the listing lacks; how many failed. Raises what concerns the whole transfer."""
        failed = 0

        async def send(source: Source, document: dict[str, Any], raw: bytes) -> None:
            nonlocal failed
            try:
                await self._retry(lambda: self._send(source, document, raw))
            except TransferError as error:
                if code_of(error) in _WHOLE_TRANSFER:
                    raise
                failed += await self._fail(source, error)
            else:
                await self._stored([source.row])
            finally:
                self._gate.release()

        async with asyncio.TaskGroup() as group:
            async for page in self._sources.pages():
                await self._leave_out([source for source in page if source.excluded])
                for source in page:
                    if source.error is not None and not source.excluded:
                        failed += await self._fail(source, source.error)
                good = [source for source in page if source.error is None and not source.excluded]
                there = [source for source in good if listing.has(_name(source), source.row.size)]
                await self._stored([source.row for source in there if source.row.state is not ItemState.STORED])
                known = {source.row.attachment_id for source in there}
                missing = [source for source in good if source.row.attachment_id not in known]
                documents = await self._documents(missing)
                for source in missing:
                    found = documents.get(source.row.attachment_id)
                    if found is None:
                        continue  # the source removed it meanwhile
                    await self._gate.acquire()
                    group.create_task(send(source, *found))
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

    async def _send(self, source: Source, document: dict[str, Any], raw: bytes) -> None:
        size = source.row.size
        form = attachment_form(lambda: self._content(source), size, document, document_text(raw))
        with self._in_flight.sending(Sending("file", source.row.path, 1, size)):
            await self._peer.attachment(form)

    async def _content(self, source: Source) -> AsyncIterator[bytes]:
        async with aclosing(self._storage.open(source.row.path)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _stored(self, rows: Sequence[FileRow]) -> None:
        if not rows:
            return
        for row in rows:
            if row.state is ItemState.FAILED:
                self._board.apply(Role.PUSHER, self._transfer_id, ItemRecovered(row.path, "file"))
        await self._ledger.put_files([replace(row, state=ItemState.STORED, reason="") for row in rows])
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


def _name(source: Source) -> str:
    return source.file.file_name if source.file is not None else ""
