"""The source's role, as one object: what the web routes and the command line call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol

import structlog

from growi_transfer.ledger.base import Ledger, Role, TransferRow
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.life import Life, require
from growi_transfer.mongo.client import Database
from growi_transfer.mongo.collections import list_collections
from growi_transfer.protocol.errors import (
    PeerRefused,
    SetupDiffers,
    StateConflict,
    TransferError,
    TransferKeyMalformed,
    code_of,
)
from growi_transfer.protocol.findings import accepted_warnings
from growi_transfer.protocol.machine import FINISHED, Event, Position, State, advance, allows
from growi_transfer.protocol.progress import Notice, Planned, WarningRaised, to_json
from growi_transfer.protocol.transfer_key import parse_key
from growi_transfer.pusher.catalogue import partition
from growi_transfer.pusher.consent import LastReport, refuse_other_exclusions, refuse_unaccepted, unaccepted
from growi_transfer.pusher.export import export_archive
from growi_transfer.pusher.growi_export import GrowiExporter
from growi_transfer.pusher.job import PushJob, options_of
from growi_transfer.pusher.options import PushOptions
from growi_transfer.pusher.ordered import Owners, ordered
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.plan import Report
from growi_transfer.pusher.preflight import Preflight
from growi_transfer.storage.base import Storage

_log = structlog.get_logger(__name__)


PATIENCE = timedelta(seconds=40)
"""How long a server that starts waits for the lease of one that went silent: longer than a lease lasts."""


class KeyStore(Protocol):
    """Where the keys of transfers under way are kept, readable by their owner only."""

    def keep_key(self, transfer_id: str, key_string: str) -> None: ...

    def key(self, transfer_id: str) -> str | None: ...

    def forget_key(self, transfer_id: str) -> None: ...


class JobRunner(Protocol):
    def job(self, transfer_id: str) -> PushJob | None: ...

    async def start(self, transfer_id: str, *, patience: timedelta = timedelta()) -> None: ...

    async def stop(self, transfer_id: str) -> None: ...


OpenPeer = Callable[[str, int], AbstractAsyncContextManager[Peer]]
"""A client for the destination that a key string names, under an epoch."""


def transfer_id_of(key_string: str) -> str:
    """The id of the transfer that a key starts: the same key always means the same transfer.

    The first 128 bits of a SHA-256; a key has far more entropy than anybody can try.
    """
    key = parse_key(key_string)
    return sha256(f"growi-transfer/transfer-id/1\n{key.token}\n{key.origin}".encode()).hexdigest()[:32]


class Pusher:
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
        clock: Callable[[], datetime],
    ) -> None:
        self.owners = owners
        self.board = board
        self._database = database
        self._storage = storage
        self._ledger = ledger
        self._life = life
        self._preflight = preflight
        self._keys = keys
        self._open_peer = open_peer
        self._growi_exporter = growi_exporter
        self._clock = clock
        self._seen = LastReport()
        self._runner: JobRunner | None = None

    def use(self, runner: JobRunner) -> None:
        """The runner in whose hands transfers run; set once, before anything is started."""
        self._runner = runner

    @property
    def runner(self) -> JobRunner:
        """The runner."""
        assert self._runner is not None
        return self._runner

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
                setup={**report.setup.model_dump(mode="json"), "destination": parse_key(key_string).origin},
                created_at=now,
                updated_at=now,
                facts={
                    "options": asdict(options),
                    "totals": report.totals(),
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

    async def resume(self, transfer_id: str, key_string: str | None) -> dict[str, Any]:
        """Go on with a transfer that is paused, failed or was interrupted; with a new key if one is given."""
        row = await self._life.get(transfer_id)
        if row.position.state in FINISHED:
            raise StateConflict(f"The transfer is {row.position.state}.", state=row.position.state.value)
        if key_string is not None:
            if parse_key(key_string).origin != row.setup["destination"]:
                raise SetupDiffers("The key is for another destination.", different=["destination"])
            self._keys.keep_key(transfer_id, key_string)
        return await self.proceed(transfer_id)

    @ordered
    async def proceed(self, transfer_id: str) -> dict[str, Any]:
        """Go on with the key and the options that are kept; one that runs just takes the options over."""
        row = await self._life.get(transfer_id)
        if row.position.state in FINISHED:
            raise StateConflict(f"The transfer is {row.position.state}.", state=row.position.state.value)
        if row.position.state in (State.FAILED, State.PAUSED):
            await self._life.note(row.id, {"error": None})
            await self._life.step(row.id, Event.RESUMED)
        job = self.runner.job(transfer_id)
        if job is not None:
            job.tune(options_of(row))
        await self.runner.start(row.id)
        return self._shape(await self._life.get(transfer_id))

    @ordered
    async def retry(self, transfer_id: str) -> dict[str, Any]:
        """Try again what failed; what is stored is not sent again."""
        return await self.resume(transfer_id, None)

    @ordered
    async def pause(self, transfer_id: str) -> dict[str, Any]:
        """Stop sending; what is acknowledged stays, and the transfer can go on at any time."""
        row = await self._life.get(transfer_id)
        if row.position.state is State.PAUSED:
            return self._shape(row)
        await self._stop_for(transfer_id, Event.PAUSED)
        await self._life.step(transfer_id, Event.PAUSED)
        return self._shape(await self._life.get(transfer_id))

    # steering

    @ordered
    async def tune(
        self,
        transfer_id: str,
        *,
        volumes: int | None = None,
        attachments: int | None = None,
        bandwidth: int | Literal["unchanged"] | None = "unchanged",
    ) -> dict[str, Any]:
        """Change the numbers of requests in flight and the bandwidth, now if the transfer runs, and for later."""
        row = await self._life.get(transfer_id)
        options = options_of(row)
        options = replace(
            options,
            volumes=options.volumes if volumes is None else volumes,
            attachments=options.attachments if attachments is None else attachments,
            bandwidth=options.bandwidth if bandwidth == "unchanged" else bandwidth,
        )
        await self._life.note(transfer_id, {"options": asdict(options)})
        job = self.runner.job(transfer_id)
        if job is not None:
            job.tune(options)
        return self._shape(row)

    @ordered
    async def verify(self, transfer_id: str) -> dict[str, Any]:
        """Read the source again, send what differs, and prove it once more."""
        row = await self._life.get(transfer_id)
        require(row, State.READY)
        await self._life.note(transfer_id, {"options": asdict(replace(options_of(row), commit=False))})
        await self._life.step(transfer_id, Event.DIFFERENCE_FOUND)
        await self.runner.start(transfer_id)
        return self._shape(await self._life.get(transfer_id))

    @ordered
    async def commit(self, transfer_id: str) -> dict[str, Any]:
        """Swap in what is verified."""
        row = await self._life.get(transfer_id)
        require(row, State.READY, State.COMMITTING)
        await self._life.note(transfer_id, {"options": asdict(replace(options_of(row), commit=True))})
        await self.runner.start(transfer_id)
        return self._shape(await self._life.get(transfer_id))

    @ordered
    async def rollback(self, transfer_id: str) -> dict[str, Any]:
        """Have the destination bring back its former data."""
        row = await self._life.get(transfer_id)
        require(row, State.COMPLETED)
        async with self._peer_of(row) as peer:
            await peer.rollback(transfer_id)
        await self._life.step(transfer_id, Event.ROLLED_BACK)
        return self._shape(await self._life.get(transfer_id))

    @ordered
    async def cancel(self, transfer_id: str) -> dict[str, Any]:
        """End a transfer that is not committed; the destination removes what it was sent.

        A destination that cannot be told is named in a warning: its admin can cancel there.
        """
        row = await self._life.get(transfer_id)
        if row.position.state is State.CANCELLED:
            return self._shape(row)
        await self._stop_for(transfer_id, Event.CANCELLED)
        try:
            async with self._peer_of(await self._life.get(transfer_id)) as peer:
                await self._cancel_there(peer, transfer_id)
        except StateConflict:
            raise
        except TransferError as error:
            if code_of(error) != "transfer_not_found":
                notice = Notice("destination_not_told", f"The destination could not be told: {error.message}")
                self.board.apply(Role.PUSHER, transfer_id, WarningRaised(notice))
        await self._life.step(transfer_id, Event.CANCELLED)
        await self._ledger.delete_items(Role.PUSHER, transfer_id)
        self._keys.forget_key(transfer_id)
        return self._shape(await self._life.get(transfer_id))

    async def _stop_for(self, transfer_id: str, event: Event) -> None:
        """End the job for a step that the table has. Raises StateConflict for one that it has not, and then a job that
        is committing is not disturbed."""
        advance((await self._life.get(transfer_id)).position, event)
        running = self.runner.job(transfer_id) is not None
        await self.runner.stop(transfer_id)
        position = (await self._life.get(transfer_id)).position
        if running and not allows(position, event):
            await self.runner.start(transfer_id)  # it got further before it was stopped
        advance(position, event)

    async def _cancel_there(self, peer: Peer, transfer_id: str) -> None:
        try:
            await peer.cancel(transfer_id)
        except PeerRefused as error:
            if code_of(error) != StateConflict.code:
                raise
            shape = (await peer.transfer(transfer_id)).get("transfer") or {}
            if shape.get("state") in (State.COMMITTING, State.COMPLETED):
                raise StateConflict(
                    "The destination has committed this transfer. Go on with it, and roll it back if need be.",
                    state=str(shape["state"]),
                ) from None
            raise

    @asynccontextmanager
    async def _peer_of(self, row: TransferRow) -> AsyncIterator[Peer]:
        key = self._keys.key(row.id)
        if key is None:
            raise TransferKeyMalformed("The key of this transfer is no longer kept; give it again.")
        async with self._open_peer(key, row.epoch) as peer:
            yield peer

    def _shape(self, row: TransferRow) -> dict[str, Any]:
        return {"transfer": to_json(self.board.shown(row))}

    # without a destination

    async def export_archive(
        self, path: Path, *, exclude_collections: Sequence[str] = (), with_attachments: bool = True
    ) -> dict[str, Any]:
        """Write the whole wiki to a new file (see `pusher.export`)."""
        return await export_archive(
            self._database,
            self._storage if with_attachments else None,
            path,
            exclude_collections=exclude_collections,
            created_at=self._clock().isoformat(),
        )

    async def export_growi_archive(self, path: Path, *, exclude_collections: Sequence[str] = ()) -> dict[str, Any]:
        """Write the database to a new file that GROWI's own importer takes (see `pusher.growi_export`)."""
        return await self._growi_exporter.run(path, exclude_collections=exclude_collections)

    async def go_on_with_all(self) -> None:
        """At the start of a server: go on with every transfer that was interrupted while it ran."""
        for row in await self._ledger.list_transfers(Role.PUSHER):
            interrupted = row.position.state in (
                State.CREATED,
                State.CHECKED,
                State.COPYING,
                State.RECONCILING,
                State.INDEXING,
                State.VERIFYING,
                State.COMMITTING,
            )
            if interrupted and self._keys.key(row.id) is not None:
                try:
                    await self.runner.start(row.id, patience=PATIENCE)
                except TransferError as error:
                    _log.warning("transfer_not_resumed", transfer=row.id, code=code_of(error))
                else:
                    _log.info("transfer_resumed", transfer=row.id)
