"""Files that the destination's store copies from the source's bucket, where both have the same provider.

It is tried, not asked for: a store that refuses, because the destination may not read this bucket, is left alone for
the rest of the run, and the files are sent like all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog

from growi_transfer.protocol.errors import CopyRefused, TransferError, code_of
from growi_transfer.protocol.growi_info import GrowiInfo
from growi_transfer.protocol.wire import COPY_FILES, CopyOffer, CopyPage
from growi_transfer.pusher.file_outcomes import Outcomes
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.retry import Retry
from growi_transfer.pusher.source_files import Source
from growi_transfer.storage.base import BucketCopies

FEATURE = "server_copy"
_BYTES = 1 << 30
"""Bytes that one request has copied, if they are those of several files."""
_LARGEST = 16 << 30
"""Files over this are sent: a request has to be answered while somebody waits for it, and they are read back for it."""
_FIRST = 8
"""Files with which it is found out whether the store does it."""
_log = structlog.get_logger(__name__)


class ServerCopy:
    """The copies of one transfer. `copies` is what the source's storage can do; None: nothing is copied."""

    def __init__(
        self, copies: BucketCopies | None, peer: Peer, retry: Retry, outcomes: Outcomes, transfer_id: str
    ) -> None:
        self._copies = copies
        self._peer = peer
        self._retry = retry
        self._outcomes = outcomes
        self._transfer_id = transfer_id
        self._is_possible: bool | None = None
        self._has_worked = False

    async def run(self, sources: Sequence[Source]) -> set[str]:
        """Have what can be copied copied: the ids of those files. All others are to be sent.

        Raises what concerns the whole transfer, as sending does."""
        copies = self._copies
        if copies is None or not sources or not await self._may_work(copies):
            return set()
        copied: set[str] = set()
        named: set[str] = set()
        page: list[tuple[Source, CopyOffer]] = []
        size = 0
        for source in sources:
            offer = copies.offer(source.stored) if source.stored is not None else None
            if offer is None or source.file is None or offer.size > _LARGEST or source.paths & named:
                continue
            if page and (len(page) == (COPY_FILES if self._has_worked else _FIRST) or size + offer.size > _BYTES):
                copied |= await self._put(page, copies)
                page, size = [], 0
            named |= source.paths
            page.append((source, CopyOffer.model_construct(file=source.file, key=offer.key, etag=offer.etag)))
            size += offer.size
        if page:
            copied |= await self._put(page, copies)
        return copied

    async def _may_work(self, copies: BucketCopies) -> bool:
        if self._is_possible is None:
            self._is_possible = _is_offered(await self._retry(self._peer.growi_info), copies)
        return self._is_possible

    async def _put(self, page: Sequence[tuple[Source, CopyOffer]], copies: BucketCopies) -> set[str]:
        if not self._is_possible:
            return set()
        body = CopyPage.model_construct(bucket=copies.name.bucket, offers=tuple(offer for _, offer in page))
        results: dict[str, dict[str, Any]] = {}
        try:
            answer = await self._retry(lambda: self._peer.copy_files(self._transfer_id, body))
            results = {result["id"]: result for result in answer["results"]}
        except TransferError as error:
            if code_of(error) != CopyRefused.code:
                raise
        good = [
            replace(source.row, digest=bytes.fromhex(results[source.row.attachment_id]["sha256"]))
            for source, _ in page
            if results.get(source.row.attachment_id, {}).get("ok")
        ]
        await self._outcomes.stored(good)
        self._has_worked |= bool(good)
        if not good:
            # One refused file may be a changed one; a whole page of them is a store that does not do it.
            self._is_possible = False
            reason = next(iter(results.values()), {}).get("message", "")
            _log.info("server_copy_refused", transfer=self._transfer_id, reason=str(reason)[:300])
        return {row.attachment_id for row in good}


def _is_offered(destination: GrowiInfo, copies: BucketCopies) -> bool:
    theirs, ours = destination.attachment_info, copies.name
    return (
        destination.has_feature(FEATURE)
        and theirs.type == ours.kind
        and (theirs.custom_endpoint or "") == ours.endpoint
        and theirs.bucket != ours.bucket
    )
