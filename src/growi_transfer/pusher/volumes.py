"""One range over the line: packed, sent until it is acknowledged, and noted as stored."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import structlog

from growi_transfer.archive.volume import pack, unpack
from growi_transfer.ledger.base import CollectionRow, ItemState, Ledger, RangeRow, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.mongo.ranges import RawRange
from growi_transfer.protocol.answers import Stored
from growi_transfer.protocol.documents import split
from growi_transfer.protocol.errors import PeerRefused, TransferError
from growi_transfer.protocol.progress import DocumentsStored, Sending
from growi_transfer.pusher.adapt import Tuner
from growi_transfer.pusher.answers import checked
from growi_transfer.pusher.in_flight import InFlight
from growi_transfer.pusher.link import Link
from growi_transfer.pusher.manifest import manifest_of
from growi_transfer.pusher.outgoing import RangeRestart, RangeTooLarge, is_stored
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.retry import Retry, is_away
from growi_transfer.pusher.sizes import DOUBTS, Size, is_doubtful, is_too_large

_log = structlog.get_logger(__name__)


class VolumeSender:
    """Sends the volumes of one transfer; what it learns about the line goes to `link`, `size` and `tuner`."""

    def __init__(
        self,
        *,
        transfer_id: str,
        ledger: Ledger,
        board: ProgressBoard,
        peer: Peer,
        retry: Retry,
        link: Link,
        size: Size,
        tuner: Tuner,
        in_flight: InFlight,
    ) -> None:
        self._id = transfer_id
        self._ledger = ledger
        self._board = board
        self._peer = peer
        self._retry = retry
        self._link = link
        self._size = size
        self._tuner = tuner
        self._in_flight = in_flight

    async def __call__(self, row: CollectionRow, one: RangeRow, raw: RawRange, before: RangeRow) -> None:
        """Send a range and note that it is stored; `before` is what its row said. The documents in `raw` are used up.

        Raises RangeRestart when the collection must begin again; RangeTooLarge, with the documents in `raw` again,
        when a smaller range may get through where this one does not; and the peer's errors.
        """
        manifest = manifest_of(row, one)
        pieces = await asyncio.to_thread(pack, manifest, raw.documents, deflate=self._link.deflate)
        raw.documents.clear()
        size = sum(map(len, pieces))
        started = time.monotonic()
        doubts = 0

        async def put() -> dict[str, Any]:
            nonlocal doubts, started
            started = time.monotonic()
            try:
                return await self._peer.put_volume(self._id, row.name, one.number, pieces)
            except TransferError as error:
                self._size.failed(one.bytes, error)
                if is_away(error):
                    self._tuner.failed()
                doubts += is_doubtful(error)
                if is_too_large(error) or (doubts >= DOUBTS and one.bytes > self._size.least):
                    if one.documents > 1:
                        raise RangeTooLarge from None
                    if is_too_large(error):
                        raise _document_too_large(row, one, self._peer.origin) from None
                raise

        try:
            with self._in_flight.sending(Sending("volume", row.name, one.documents, one.bytes)):
                answer = await self._retry(put)
        except RangeTooLarge:
            raw.documents.extend(await asyncio.to_thread(_documents_of, pieces))
            raise
        except PeerRefused as error:
            if error.peer_code in ("range_mismatch", "collection_not_found"):
                _log.info("collection_restarted", transfer=self._id, collection=row.name, code=error.peer_code)
                raise RangeRestart from None
            raise
        self._link.note(size, time.monotonic() - started - checked(Stored, answer, self._peer.origin).seconds)
        self._size.succeeded(one.bytes)
        self._tuner.succeeded(one.bytes)
        # The ledger first: what is shown as done must still be done after a crash.
        await self._ledger.put_ranges([replace(one, state=ItemState.STORED, tries=one.tries + 1)])
        held = before if is_stored(before) else replace(before, documents=0, bytes=0)
        self._board.apply(
            Role.PUSHER, self._id, DocumentsStored(one.documents - held.documents, one.bytes - held.bytes, size)
        )


def _documents_of(pieces: list[bytes | memoryview]) -> list[memoryview]:
    """For a thread: what was packed."""
    return split(unpack(b"".join(pieces))[1])


def _document_too_large(row: CollectionRow, one: RangeRow, origin: str) -> PeerRefused:
    needed = (one.bytes + (1 << 20)) // (1 << 20) + 1
    return PeerRefused(
        f"A document of {row.name} has {one.bytes:,} bytes, and a server in front of {origin} takes no body of that "
        f"size. Let it take {needed} MiB (nginx: client_max_body_size {needed}m) and go on, or exclude {row.name}.",
        code="body_too_large",
        status=413,
        collection=row.name,
        bytes=one.bytes,
    )
