"""The source's role, as one object: what the web routes and the command line call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import structlog

from growi_transfer.ledger.base import Ledger, Role, TransferRow
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.life import Life
from growi_transfer.mongo.client import Database
from growi_transfer.mongo.collections import list_collections
from growi_transfer.protocol.errors import (
    StateConflict,
    TransferError,
    code_of,
)
from growi_transfer.protocol.findings import accepted_warnings
from growi_transfer.protocol.machine import FINISHED, RUNNING, Position, State
from growi_transfer.protocol.progress import Noted, Notice, Planned, WarningRaised
from growi_transfer.protocol.transfer_key import parse_key
from growi_transfer.pusher.catalogue import partition
from growi_transfer.pusher.consent import (
    LastReport,
    refuse_other_exclusions,
    refuse_other_source,
    refuse_unaccepted,
    unaccepted,
)
from growi_transfer.pusher.export import export_archive
from growi_transfer.pusher.export_watch import UNWATCHED, ExportWatch, Wanted
from growi_transfer.pusher.freeze import Freeze
from growi_transfer.pusher.growi_export import GrowiExporter
from growi_transfer.pusher.options import PushOptions, options_of
from growi_transfer.pusher.ordered import Owners
from growi_transfer.pusher.plan import Report
from growi_transfer.pusher.preflight import Preflight
from growi_transfer.pusher.receipts import Receipts
from growi_transfer.pusher.steering import KeyStore, OpenPeer, Steering
from growi_transfer.storage.base import Storage

_log = structlog.get_logger(__name__)


_ROWS = 10_000
"""Transfers that are looked at when a server starts; nobody has so many."""
_UNDER_WAY = (State.CREATED, State.CHECKED, *RUNNING, State.COMMITTING)
PATIENCE = timedelta(seconds=40)
"""How long a server that starts waits for the lease of one that went silent: longer than a lease lasts."""


def transfer_id_of(key_string: str) -> str:
    """The id of the transfer that a key starts: the same key always means the same transfer.

    The first 128 bits of a SHA-256; a key has far more entropy than anybody can try.
    """
    key = parse_key(key_string)
    return sha256(f"growi-transfer/transfer-id/1\n{key.token}\n{key.origin}".encode()).hexdigest()[:32]


class Pusher(Steering):
    """Starts, steers and ends outgoing transfers."""

    def __init__(
        self,
        *,
        database: Database,
        storage: Storage,
        ledger: Ledger,
        board: ProgressBoard,
        life: Life,
        preflight: Preflight,
        keys: KeyStore,
        open_peer: OpenPeer,
        owners: Owners,
        growi_exporter: GrowiExporter,
        receipts: Receipts,
        clock: Callable[[], datetime],
        freeze: Freeze,
    ) -> None:
        super().__init__(
            ledger=ledger,
            board=board,
            life=life,
            keys=keys,
            open_peer=open_peer,
            owners=owners,
            receipts=receipts,
            source=preflight.source,
            clock=clock,
            freeze=freeze,
        )
        self._database = database
        self._storage = storage
        self._preflight = preflight
        self._growi_exporter = growi_exporter
        self._seen = LastReport()

    async def collections(self) -> list[str]:
        """Names of the collections that would move."""
        moving, _, _ = partition(await list_collections(self._database), ())
        return [info.name for info in moving]

    async def preflight(self, key_string: str, options: PushOptions) -> dict[str, Any]:
        """Blockers, warnings, counts and the destination's own words. Writes nothing."""
        return (await self._report(key_string, options)).to_json()

    async def _report(self, key_string: str, options: PushOptions) -> Report:
        async with self._open_peer(key_string, 0) as peer:
            report = await self._preflight.run(peer, options)
        self._seen.keep(key_string, options, report, self._clock())
        return report

    async def _report_to_start(self, key_string: str, options: PushOptions) -> Report:
        """What the operator has just seen and agreed to, or a new look when there is nothing to go on with."""
        seen = self._seen.take(key_string, options, self._clock())
        if seen is not None and not unaccepted(seen, options):
            return seen
        return await self._report(key_string, options)

    # starting and going on

    async def start(self, key_string: str, options: PushOptions) -> str:
        """Begin the transfer of this key, or go on with it; the id, at once.

        Raises TransferKeyMalformed, Blocked (blockers, or warnings that are not accepted), SetupDiffers,
        DestinationNotAllowed, StateConflict for a cancelled one, TransferOwned, PeerRefused, PeerUnavailable.
        """
        transfer_id = transfer_id_of(key_string)
        row = await self._ledger.get_transfer(Role.PUSHER, transfer_id)
        if row is not None:
            return await self._go_on(row, key_string, options)
        report = await self._report_to_start(key_string, options)
        refuse_unaccepted(report, options)
        now = self._clock()
        row = await self._ledger.create_transfer(
            TransferRow(
                role=Role.PUSHER,
                id=transfer_id,
                position=Position(State.CREATED),
                setup={
                    **report.setup.model_dump(mode="json"),
                    "destination": parse_key(key_string).origin,
                    "dialect": report.destination.dialect,
                },
                created_at=now,
                updated_at=now,
                facts={
                    "options": asdict(options),
                    "totals": report.totals(),
                    "limits": dict(report.destination.transfer.limits) if report.destination.transfer else {},
                    "plan": report.plan(),
                    "warnings": [finding.to_json() for finding in report.judgement.warnings],
                    "accepted_warnings": self._accepted(report.judgement.to_json()["warnings"], (), options),
                },
            )
        )
        self._keys.keep_key(transfer_id, key_string)
        self.board.start(row)
        for finding in report.judgement.warnings:
            notice = Notice(finding.code, finding.message, dict(finding.details))
            self.board.apply(Role.PUSHER, transfer_id, WarningRaised(notice))
        size = report.document_bytes + report.attachments.moving.bytes
        planned = Planned(documents=report.documents, bytes=size, files=report.attachments.documents)
        self.board.apply(Role.PUSHER, transfer_id, planned)
        await self.runner.start(transfer_id)
        return transfer_id

    async def _go_on(self, row: TransferRow, key_string: str, options: PushOptions) -> str:
        if row.position.state is State.CANCELLED:
            raise StateConflict("This transfer was cancelled. Ask the destination for a new key.", state="cancelled")
        if row.position.state in FINISHED:
            return row.id
        refuse_other_exclusions(row.setup, options)
        self._keys.keep_key(row.id, key_string)
        warnings, before = row.facts.get("warnings", []), row.facts.get("accepted_warnings", [])
        accepted = self._accepted(warnings, before, options)
        await self._life.note(row.id, {"options": asdict(options), "accepted_warnings": accepted})
        await self.proceed(row.id)
        return row.id

    def _accepted(
        self, warnings: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]], options: PushOptions
    ) -> list[dict[str, Any]]:
        now = self._clock().isoformat()
        return accepted_warnings(
            warnings, before, codes=options.accept_warnings, accept_all=options.accept_all, now=now
        )

    # without a destination

    async def export_archive(
        self,
        path: Path,
        *,
        exclude_collections: Sequence[str] = (),
        only: Sequence[str] | None = None,
        with_attachments: bool = True,
        watch: ExportWatch = UNWATCHED,
        digest: bool = False,
    ) -> dict[str, Any]:
        """Write the whole wiki, or `only` some collections, to a new file (see `pusher.export`)."""
        return await export_archive(
            self._database,
            self._storage if with_attachments else None,
            path,
            wanted=Wanted(watch, exclude_collections, only),
            created_at=self._clock().isoformat(),
            digest=digest,
        )

    async def export_growi_archive(
        self,
        path: Path,
        *,
        exclude_collections: Sequence[str] = (),
        only: Sequence[str] | None = None,
        watch: ExportWatch = UNWATCHED,
        digest: bool = False,
    ) -> dict[str, Any]:
        """Write the database to a new file that GROWI's own importer takes (see `pusher.growi_export`)."""
        return await self._growi_exporter.run(path, wanted=Wanted(watch, exclude_collections, only), digest=digest)

    async def go_on_with_all(self) -> None:
        """At the start of a server: go on with every transfer that was interrupted while it ran. At the same time: each
        may have to wait for a lease."""
        rows = await self._ledger.list_transfers(Role.PUSHER, _ROWS)
        await asyncio.gather(*(self._go_on_after_start(row) for row in rows if self._is_interrupted(row)))

    def _is_interrupted(self, row: TransferRow) -> bool:
        interrupted = row.position.state in _UNDER_WAY or (
            row.position.state is State.READY and (options_of(row).follow or options_of(row).commit)
        )
        return interrupted and self._keys.key(row.id) is not None

    async def _go_on_after_start(self, row: TransferRow) -> None:
        try:
            refuse_other_source(row.setup, await self._source())
            await self.runner.start(row.id, patience=PATIENCE)
        except TransferError as error:
            _log.warning("transfer_not_resumed", transfer=row.id, code=code_of(error))
            details = {"code": code_of(error), "message": error.message}
            told = Noted("not_resumed", f"Not gone on with: {error.message}", details, "error")
            self.board.apply(Role.PUSHER, row.id, told)
        else:
            _log.info("transfer_resumed", transfer=row.id)
