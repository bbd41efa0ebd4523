"""Documents and files together: readings of the source, until the destination equals one moment of it.

The documents of a pass and the list of attachments are read at the same snapshot, so that they fit by construction.
Where they cannot be (the source has no snapshots, or one has run out), the attachments that a look has seen are
compared with those that there are by a sum of hashes. A source that never rests does not keep this from ending: a
moment is a moment, even if the source has gone on since.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bson.timestamp import Timestamp

from growi_transfer.mongo.changes import Changes
from growi_transfer.protocol.errors import SourceChanged
from growi_transfer.protocol.progress import Notice
from growi_transfer.pusher.attachments import AttachmentSender, Look
from growi_transfer.pusher.exporter import Exporter
from growi_transfer.pusher.reading import Pass, Reading

_PASSES = 12
_PATIENCE = 4
"""Passes that are made so that what came up under the one before is in it too: new collections, capped collections
that were written, attachments that were removed. After that any moment will do."""
_ATTACHMENTS = "attachments"

IN_USE = "capped_collection_in_use"
REMOVED_MEANWHILE = "attachments_removed_meanwhile"


@dataclass(frozen=True, slots=True)
class Settled:
    """What it took to make the destination equal the source at the moment `Settling.since`."""

    documents: int
    bytes: int
    """What differed in the last pass: documents that were written, as far as the source tells, otherwise those of the
    ranges that were sent; bytes of the ranges that were sent."""
    sent: int
    """Ranges and files that were sent or removed, in all passes."""


class Settling:
    """The passes of one transfer in one process. `sender` is None for a transfer without attachments; `notify` tells
    the operator; `spent` adds the time since a moment (monotonic) to a phase."""

    def __init__(
        self,
        exporter: Exporter,
        sender: AttachmentSender | None,
        marker: Callable[[], str],
        notify: Callable[[Notice], None],
        spent: Callable[[str, float], None],
    ) -> None:
        self._exporter = exporter
        self._sender = sender
        self._marker = marker
        self._notify = notify
        self._spent = spent
        self.since: Timestamp | None = None
        """The moment of the last reading (None: it had none). Every range was read then or later, so what was not
        written since need not be read again; after `settle` the destination equals it."""

    async def settle(
        self, copied: Callable[[], Awaitable[None]], *, whole: bool = True, files_first: bool = False
    ) -> Settled:
        """Read and send until the destination equals one moment. `whole`: the first pass reads everything, not only
        what the source tells has been written. `copied` is called after that pass.

        Raises SourceChanged when no such moment can be found.
        """
        if files_first and self._sender is not None:
            await self._exporter.begin(self._marker())
            await self._sender.run()
        sent = 0
        for attempt in range(1, _PASSES + 1):
            reading = await self._exporter.begin(self._marker())
            changes = None if whole else await self._exporter.changes(self.since, reading.moment)
            result, look = await self._read(reading, changes, one_by_one=attempt > 1)
            sent += result.sent + look.changed
            self.since = reading.moment
            if attempt == 1:
                await copied()
            if reading.snapshot is None:
                equal = attempt > 1 and result.is_quiet and await self._fits(look)
            else:
                equal = result.is_one_moment and look.is_of_moment
            restless = result.newer or result.capped_sent or look.vanished
            if equal and (not restless or attempt >= _PATIENCE):
                await self._accept(result, look)
                documents = result.documents if changes is None else changes.documents
                return Settled(documents, result.bytes, sent)
            # What has only been overtaken is completed by what was written since. A changed catalogue is read anew.
            whole = result.newer or bool(result.restarted) or not reading.is_catalogue_known
        raise SourceChanged("The source changes faster than it can be read; it is not at rest.")

    async def _read(self, reading: Reading, changes: Changes | None, *, one_by_one: bool) -> tuple[Pass, Look]:
        if reading.snapshot is None and one_by_one:
            # With no snapshot to hold them together: the look is before the pass, and is compared after it.
            look = await self._look(reading, changes)
            return await self._pass(reading, changes), look
        async with asyncio.TaskGroup() as group:
            passing = group.create_task(self._pass(reading, changes))
            looking = group.create_task(self._look(reading, changes))
        return passing.result(), looking.result()

    async def _pass(self, reading: Reading, changes: Changes | None) -> Pass:
        started = time.monotonic()
        result = await self._exporter.run(reading, changes)
        self._spent("mongo", started)
        return result

    async def _look(self, reading: Reading, changes: Changes | None) -> Look:
        if self._sender is None:
            return Look(is_of_moment=True, fingerprint=b"")
        started = time.monotonic()
        look = await self._sender.run(reading.snapshot, None if changes is None else changes.of(_ATTACHMENTS))
        self._spent("attachments", started)
        return look

    async def _fits(self, look: Look) -> bool:
        """Whether the attachments that were looked at are those that there are."""
        return self._sender is None or await self._sender.fingerprint() == look.fingerprint

    async def _accept(self, result: Pass, look: Look) -> None:
        if result.capped_sent:
            message = "A capped collection is being written all the time; it arrives as it was when it was read last."
            self._notify(Notice(IN_USE, message))
        if look.vanished and self._sender is not None:
            count = await self._sender.accept_vanished()
            message = (
                f"{count} attachments were removed while they were looked at; their documents arrive without file."
            )
            self._notify(Notice(REMOVED_MEANWHILE, message, {"count": count}))

    async def changed_since(self) -> Changes | None:
        """What was written since the last reading, and the moment moves on if that is nothing; None when it cannot be
        told or when the catalogue has changed, so that everything has to be read."""
        now = await self._exporter.now()
        changes = await self._exporter.changes(self.since, now)
        if changes is None or await self._exporter.is_newer():
            return None
        if not changes.ids:
            self.since = now
        return changes
