"""Steps of an outgoing transfer that exists. Each is taken by the process that has the transfer (see `ordered`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

import structlog

from growi_transfer.ledger.base import Ledger, Role, TransferRow
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.life import Life, require
from growi_transfer.ledger.retention import kept_until
from growi_transfer.protocol.errors import (
    KeyNotKept,
    PeerRefused,
    SetupDiffers,
    StateConflict,
    TransferError,
    TransferNotFound,
    code_of,
)
from growi_transfer.protocol.findings import consented
from growi_transfer.protocol.machine import FINISHED, RUNNING, Event, State, advance, allows
from growi_transfer.protocol.progress import Noted, Notice, WarningRaised
from growi_transfer.protocol.shape import to_json
from growi_transfer.protocol.transfer_key import parse_key
from growi_transfer.protocol.wire import Claim, SourceInfo
from growi_transfer.pusher.consent import refuse_other_source
from growi_transfer.pusher.freeze import Freeze
from growi_transfer.pusher.job import PushJob, setup_of
from growi_transfer.pusher.options import options_of
from growi_transfer.pusher.ordered import Owners, ordered
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.receipts import Receipts

_log = structlog.get_logger(__name__)
_ROWS = 1000


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


class Steering:
    """What can be done with a transfer that was begun. Answers are `{"transfer": <the public shape>}`."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        board: ProgressBoard,
        life: Life,
        keys: KeyStore,
        open_peer: OpenPeer,
        owners: Owners,
        receipts: Receipts,
        source: Callable[[], Awaitable[SourceInfo]],
        clock: Callable[[], datetime],
        freeze: Freeze,
    ) -> None:
        self.owners = owners
        self.board = board
        self._ledger = ledger
        self._life = life
        self._keys = keys
        self._open_peer = open_peer
        self._receipts = receipts
        self._source = source
        self._clock = clock
        self._freeze = freeze
        self._runner: JobRunner | None = None

    def use(self, runner: JobRunner) -> None:
        """The runner in whose hands transfers run; set once, before anything is started."""
        self._runner = runner

    @property
    def runner(self) -> JobRunner:
        """The runner."""
        assert self._runner is not None
        return self._runner

    # going on and stopping

    async def resume(self, transfer_id: str, key_string: str | None, accept: Sequence[str] = ()) -> dict[str, Any]:
        """Go on with a transfer that is paused, failed or was interrupted; with a new key if one is given. `accept`:
        codes of faults under which files stay behind from now on; what failed by another code fails again."""
        if key_string is not None:
            await self.take_key(transfer_id, key_string)
        if accept:
            await self.leave_behind(transfer_id, accept)
        return await self.proceed(transfer_id)

    async def leave_behind(self, transfer_id: str, codes: Sequence[str]) -> None:
        """Files that failed by one of these codes stay behind from now on. Raises StateConflict unless it is paused or
        has failed."""
        row = await self._life.get(transfer_id)
        require(row, State.PAUSED, State.FAILED)
        options = options_of(row)
        fresh = sorted(set(codes) - set(options.accept_warnings))
        options = replace(options, accept_warnings=(*options.accept_warnings, *fresh))
        accepted = consented(row.facts.get("accepted_warnings", []), fresh, self._clock().isoformat())
        await self._life.note(transfer_id, {"options": asdict(options), "accepted_warnings": accepted})
        told = Noted("accepted", f"Files may stay behind for: {', '.join(fresh)}", {"codes": fresh}, "warning")
        self.board.apply(Role.PUSHER, transfer_id, told)

    async def take_key(self, transfer_id: str, key_string: str) -> None:
        """Let a new key take the transfer over, and keep it. Raises SetupDiffers for one of another destination,
        TransferKeyMalformed, and what the destination says of it."""
        row = await self._life.get(transfer_id)
        if parse_key(key_string).origin != row.setup["destination"]:
            raise SetupDiffers(
                f"The key is for another destination than {row.setup['destination']}.", different=["destination"]
            )
        try:
            async with self._open_peer(key_string, row.epoch) as peer:
                await peer.claim(transfer_id, Claim(setup=setup_of(row)))
        except TransferError as error:
            # One that it has not heard of is claimed when it is declared there.
            if code_of(error) != TransferNotFound.code:
                raise
        self._keys.keep_key(transfer_id, key_string)
        self.board.apply(
            Role.PUSHER,
            transfer_id,
            Noted("key", f"A new key is kept, by {self.owners.actor}", {"by": self.owners.actor}),
        )

    @ordered
    async def proceed(self, transfer_id: str) -> dict[str, Any]:
        """Go on with the key and the options that are kept; one that runs just takes the options over."""
        row = await self._life.get(transfer_id)
        if row.position.state in FINISHED:
            raise StateConflict(f"The transfer is {row.position.state}.", state=row.position.state.value)
        if self._keys.key(transfer_id) is None:
            raise KeyNotKept()
        refuse_other_source(row.setup, await self._source())
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
        """Try again what failed, and look again at what was skipped; what is stored is not sent again.

        A transfer that is ready goes back to copying for that, and is proved anew.
        """
        row = await self._life.get(transfer_id)
        if row.position.state is not State.READY:
            return await self.resume(transfer_id, None)
        await self._life.step(transfer_id, Event.DIFFERENCE_FOUND)
        await self.runner.start(transfer_id)
        return self._shape(await self._life.get(transfer_id))

    @ordered
    async def pause(self, transfer_id: str) -> dict[str, Any]:
        """Stop sending; what is acknowledged stays, and the transfer can go on at any time."""
        row = await self._life.get(transfer_id)
        if row.position.state is State.PAUSED:
            return self._shape(row)
        if row.position.state is State.READY and options_of(row).follow:
            # Between two rounds: it goes on with the next one.
            await self.runner.stop(transfer_id)
            if await self._life.state(transfer_id) is State.READY:  # unless a round began just then
                await self._life.step(transfer_id, Event.DIFFERENCE_FOUND)
        await self._stop_for(transfer_id, Event.PAUSED)
        await self._life.step(transfer_id, Event.PAUSED)
        return self._shape(await self._life.get(transfer_id))

    # steering

    @ordered
    async def tune(
        self,
        transfer_id: str,
        *,
        volumes: int | Literal["unchanged"] | None = "unchanged",
        attachments: int | Literal["unchanged"] | None = "unchanged",
        bandwidth: int | Literal["unchanged"] | None = "unchanged",
    ) -> dict[str, Any]:
        """Change the numbers of requests in flight (None: they adapt) and the bandwidth, now if the transfer runs, and
        for later."""
        row = await self._life.get(transfer_id)
        options = options_of(row)
        options = replace(
            options,
            volumes=options.volumes if volumes == "unchanged" else volumes,
            attachments=options.attachments if attachments == "unchanged" else attachments,
            bandwidth=options.bandwidth if bandwidth == "unchanged" else bandwidth,
        )
        await self._life.note(transfer_id, {"options": asdict(options)})
        job = self.runner.job(transfer_id)
        if job is not None:
            job.tune(options)
        return self._shape(row)

    @ordered
    async def verify(self, transfer_id: str, *, deep: bool = False) -> dict[str, Any]:
        """Read the source again, send what differs, and prove it once more; `deep` from now on."""
        row = await self._life.get(transfer_id)
        require(row, State.READY)
        options = options_of(row)
        options = replace(options, commit=False, deep=options.deep or deep)
        await self._life.note(transfer_id, {"options": asdict(options)})
        await self._life.step(transfer_id, Event.DIFFERENCE_FOUND)
        await self.runner.start(transfer_id)
        return self._shape(await self._life.get(transfer_id))

    @ordered
    async def commit(self, transfer_id: str) -> dict[str, Any]:
        """Swap in what is verified. One that follows its source makes a last pass first, and then commits."""
        row = await self._life.get(transfer_id)
        options = options_of(row)
        require(row, State.READY, State.COMMITTING, *(RUNNING if options.follow else ()))
        await self._life.note(transfer_id, {"options": asdict(replace(options, commit=True, follow=False))})
        await self.runner.start(transfer_id)
        return self._shape(await self._life.get(transfer_id))

    @ordered
    async def rollback(self, transfer_id: str) -> dict[str, Any]:
        """Have the destination bring back its former data."""
        row = await self._life.get(transfer_id)
        require(row, State.COMPLETED)
        if row.setup.get("dialect") == "growi":
            raise StateConflict("A GROWI without growi-transfer keeps nothing to go back to.", state="completed")
        async with self._peer_of(row) as peer:
            await peer.rollback(transfer_id)
        await self._life.step(transfer_id, Event.ROLLED_BACK)
        await self._freeze.end(transfer_id)
        with suppress(TransferError):  # it can be had later
            await self._receipts.newest(row, self._peer_of)
        return self._shape(await self._life.get(transfer_id))

    async def receipt(self, transfer_id: str) -> dict[str, Any]:
        """The newest version of the receipt, fetched where it can be. Raises ReceiptNotFound."""
        row = await self._life.get(transfer_id)
        return (await self._receipts.newest(row, self._peer_of)).to_json()

    @ordered
    async def release(self, transfer_id: str) -> dict[str, Any]:
        """End the maintenance mode in which a commit with `freeze` has left this wiki. Raises StateConflict."""
        row = await self._life.get(transfer_id)
        require(row, State.COMPLETED)
        if not await self._freeze.end(transfer_id):
            raise StateConflict("This transfer has not set the maintenance mode here.", state=row.position.state.value)
        return self._shape(row)

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
        await self._freeze.end(transfer_id)
        await self._ledger.delete_items(Role.PUSHER, transfer_id)
        self._keys.forget_key(transfer_id)
        return self._shape(await self._life.get(transfer_id))

    @ordered
    async def purge(self, transfer_id: str) -> dict[str, Any]:
        """Forget the rows and the key of a finished transfer; what it was and how it ended stays."""
        row = await self._life.get(transfer_id)
        require(row, *FINISHED)
        await self._ledger.delete_items(Role.PUSHER, transfer_id)
        self._keys.forget_key(transfer_id)
        await self._life.note(transfer_id, {"purged_at": self._clock().isoformat()})
        return self._shape(await self._life.get(transfer_id))

    async def purge_expired(self, retention: timedelta) -> list[str]:
        """Purge every finished transfer whose retention is over; their ids."""
        purged: list[str] = []
        for row in await self._ledger.list_transfers(Role.PUSHER, _ROWS):
            if row.position.state not in (State.COMPLETED, State.ROLLED_BACK) or row.facts.get("purged_at"):
                continue
            if kept_until(row, retention) > self._clock():
                continue
            try:
                await self.purge(row.id)
            except TransferError as error:
                # The others are purged all the same, and this one the next time.
                _log.warning("purge_failed", transfer=row.id, code=code_of(error), message=error.message)
                continue
            purged.append(row.id)
        return purged

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
            raise KeyNotKept()
        async with self._open_peer(key, row.epoch) as peer:
            yield peer

    def _shape(self, row: TransferRow) -> dict[str, Any]:
        return {"transfer": to_json(self.board.shown(row))}
