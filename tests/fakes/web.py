"""Services for tests of the web part: real keys on a ledger in memory, and roles that note what they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.protocol.errors import OffsetMismatch
from growi_transfer.protocol.machine import FINISHED, Position, State
from growi_transfer.protocol.merge_keys import MergePlan
from growi_transfer.protocol.progress import Snapshot
from growi_transfer.receiver.keys import Keys
from growi_transfer.storage.base import StoredFile
from growi_transfer.web.services import Limits, Services

ADMIN_TOKEN = "an-admin-token-for-tests"
SECRET = "a-secret-that-is-long-enough"
ORIGIN = "http://destination.test:8080"
TRANSFER = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
ATTACHMENT = "0123456789abcdef01234567"


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **delta: float) -> None:
        self.now += timedelta(**delta)


@dataclass(frozen=True)
class UploadState:
    offset: int
    length: int | None
    complete: bool


class MemoryBoard:
    """The contract of the board in its shortest form: every watcher sees the newest snapshot of each transfer."""

    def __init__(self) -> None:
        self.held: dict[tuple[Role, str], Snapshot] = {}
        self.watchers = 0
        self._changed = asyncio.Condition()

    def snapshot(self, role: Role, transfer_id: str) -> Snapshot | None:
        return self.held.get((role, transfer_id))

    def snapshots(self) -> list[Snapshot]:
        return list(self.held.values())

    async def put(self, snapshot: Snapshot) -> None:
        async with self._changed:
            self.held[Role(snapshot.role), snapshot.id] = snapshot
            self._changed.notify_all()

    async def watch(
        self, role: Role | None = None, transfer_id: str | None = None, *, pace: float = 0.0
    ) -> AsyncIterator[Snapshot]:
        seen: dict[tuple[Role, str], Snapshot] = {}
        self.watchers += 1
        try:
            while True:
                for key, snapshot in list(self.held.items()):
                    wanted = (role is None or key[0] is role) and (transfer_id is None or key[1] == transfer_id)
                    if wanted and seen.get(key) is not snapshot:
                        seen[key] = snapshot
                        yield snapshot
                        if transfer_id is not None and snapshot.position.state in FINISHED:
                            return
                async with self._changed:
                    await self._changed.wait_for(lambda: any(seen.get(k) is not v for k, v in self.held.items()))
        finally:
            self.watchers -= 1


@dataclass
class RecordingReceiver:
    """Notes each call as (name, arguments) and answers at once, or raises `fails`."""

    keys: Keys
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    fails: Exception | None = None
    pages: list[list[StoredFile]] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    """Buffers of large files, as they came."""
    durable: int = 0
    stream_error: BaseException | None = None
    spooled: bytes | None = None
    spool_path: Path | None = None
    before: Callable[[], Any] | None = None
    """Awaited in each call: lets a test stop the receiver in the middle."""

    async def _note(self, name: str, **arguments: Any) -> dict[str, Any]:
        self.calls.append((name, arguments))
        if self.before is not None:
            await self.before()
        if self.fails is not None:
            raise self.fails
        return {"did": name}

    async def growi_info(self) -> dict[str, Any]:
        return await self._note("growi_info")

    async def plan_merge(self, part: MergePlan) -> dict[str, Any]:
        return await self._note("plan_merge", part=part)

    async def files(self) -> AsyncIterator[list[StoredFile]]:
        await self._note("files")
        for page in self.pages:
            yield page

    async def put_transfer(self, transfer_id: str, body: Any, *, key_id: str | None, epoch: int) -> dict[str, Any]:
        return await self._note("put_transfer", transfer_id=transfer_id, body=body, key_id=key_id, epoch=epoch)

    async def claim(self, transfer_id: str, body: Any, *, key_id: str) -> dict[str, Any]:
        return await self._note("claim", transfer_id=transfer_id, body=body, key_id=key_id)

    async def transfer(self, transfer_id: str) -> dict[str, Any]:
        return await self._note("transfer", transfer_id=transfer_id)

    async def volumes(self, transfer_id: str, collection: str) -> list[dict[str, Any]]:
        return [await self._note("volumes", transfer_id=transfer_id, collection=collection)]

    async def put_volume(
        self, transfer_id: str, collection: str, number: int, body: bytes, *, epoch: int
    ) -> dict[str, Any]:
        return await self._note(
            "put_volume", transfer_id=transfer_id, collection=collection, number=number, body=body, epoch=epoch
        )

    async def plan_attachments(self, transfer_id: str, page: Any, *, epoch: int) -> dict[str, Any]:
        return await self._note("plan_attachments", transfer_id=transfer_id, page=page, epoch=epoch)

    async def put_bundle(self, transfer_id: str, body: bytes, *, epoch: int) -> dict[str, Any]:
        return await self._note("put_bundle", transfer_id=transfer_id, body=body, epoch=epoch)

    async def upload_state(self, transfer_id: str, attachment_id: str) -> UploadState:
        await self._note("upload_state", transfer_id=transfer_id, attachment_id=attachment_id)
        return UploadState(self.durable, 100, False)

    async def patch_upload(
        self, transfer_id: str, attachment_id: str, *, offset: int, chunks: AsyncIterator[bytes], **rest: Any
    ) -> UploadState:
        await self._note("patch_upload", transfer_id=transfer_id, attachment_id=attachment_id, offset=offset, **rest)
        if offset != self.durable:
            raise OffsetMismatch(offset=self.durable)
        try:
            async for chunk in chunks:
                self.received.append(chunk)
                self.durable += len(chunk)
        except BaseException as error:
            self.stream_error = error
            raise
        return UploadState(self.durable, self.durable, rest["complete"])

    async def receipt(self, transfer_id: str) -> dict[str, Any]:
        return await self._note("receipt", transfer_id=transfer_id)

    async def countersign(self, transfer_id: str, mark: Any) -> dict[str, Any]:
        return await self._note("countersign", transfer_id=transfer_id, mark=mark)

    async def verify(self, transfer_id: str, expected: Any, *, epoch: int) -> dict[str, Any]:
        return await self._note("verify", transfer_id=transfer_id, expected=expected, epoch=epoch)

    async def commit(self, transfer_id: str, *, epoch: int | None) -> dict[str, Any]:
        return await self._note("commit", transfer_id=transfer_id, epoch=epoch)

    async def rollback(self, transfer_id: str, *, epoch: int | None) -> dict[str, Any]:
        return await self._note("rollback", transfer_id=transfer_id, epoch=epoch)

    async def cancel(self, transfer_id: str, *, epoch: int | None) -> dict[str, Any]:
        return await self._note("cancel", transfer_id=transfer_id, epoch=epoch)

    async def purge(self, transfer_id: str) -> dict[str, Any]:
        return await self._note("purge", transfer_id=transfer_id)

    async def release_maintenance(self, transfer_id: str) -> dict[str, Any]:
        return await self._note("release_maintenance", transfer_id=transfer_id)

    async def keep_alive(self, transfer_id: str, *, epoch: int) -> None:
        await self._note("keep_alive", transfer_id=transfer_id, epoch=epoch)

    async def import_archive(self, path: Path) -> dict[str, Any]:
        self.spooled, self.spool_path = path.read_bytes(), path
        return await self._note("import_archive")


@dataclass
class RecordingPusher:
    """Notes each call as (name, arguments)."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    fails: Exception | None = None

    async def _note(self, name: str, **arguments: Any) -> dict[str, Any]:
        self.calls.append((name, arguments))
        if self.fails is not None:
            raise self.fails
        return {"did": name}

    async def collections(self) -> list[str]:
        return ["configs", "pages", "revisions", "users"]

    async def preflight(self, key_string: str, options: Any) -> dict[str, Any]:
        return await self._note("preflight", key_string=key_string, options=options)

    async def start(self, key_string: str, options: Any) -> str:
        await self._note("start", key_string=key_string, options=options)
        return TRANSFER

    async def pause(self, transfer_id: str) -> dict[str, Any]:
        return await self._note("pause", transfer_id=transfer_id)

    async def resume(self, transfer_id: str, key_string: str | None, accept: Any = ()) -> dict[str, Any]:
        accepted = {"accept": accept} if accept else {}
        return await self._note("resume", transfer_id=transfer_id, key_string=key_string, **accepted)

    async def cancel(self, transfer_id: str) -> dict[str, Any]:
        return await self._note("cancel", transfer_id=transfer_id)

    async def retry(self, transfer_id: str) -> dict[str, Any]:
        return await self._note("retry", transfer_id=transfer_id)

    async def verify(self, transfer_id: str, *, deep: bool = False) -> dict[str, Any]:
        return await self._note("verify", transfer_id=transfer_id, **({"deep": deep} if deep else {}))

    async def receipt(self, transfer_id: str) -> dict[str, Any]:
        return await self._note("receipt", transfer_id=transfer_id)

    async def commit(self, transfer_id: str) -> dict[str, Any]:
        return await self._note("commit", transfer_id=transfer_id)

    async def rollback(self, transfer_id: str) -> dict[str, Any]:
        return await self._note("rollback", transfer_id=transfer_id)

    async def release(self, transfer_id: str) -> dict[str, Any]:
        return await self._note("release", transfer_id=transfer_id)

    async def purge(self, transfer_id: str) -> dict[str, Any]:
        return await self._note("purge", transfer_id=transfer_id)

    async def tune(self, transfer_id: str, **changes: Any) -> dict[str, Any]:
        return await self._note("tune", transfer_id=transfer_id, **changes)


class World:
    """One server's services, with handles for the test."""

    def __init__(self, data_dir: Path, *, roles: str = "both", limits: Limits | None = None) -> None:
        self.clock = Clock()
        self.ledger = MemoryLedger()
        self.board = MemoryBoard()
        self.keys = Keys(self.ledger, [SECRET], ORIGIN, self.clock)
        self.receiver = RecordingReceiver(self.keys)
        self.pusher = RecordingPusher()
        self.services = Services(
            board=self.board,
            ledger=self.ledger,
            admin_token=ADMIN_TOKEN,
            session_secrets=[SECRET],
            data_dir=data_dir,
            version="0.0.0",
            receiver=self.receiver if roles in ("both", "receiver") else None,
            pusher=self.pusher if roles in ("both", "pusher") else None,
            limits=limits or Limits(linger_seconds=0),
            clock=self.clock,
        )
        self.open = 0

    @asynccontextmanager
    async def open_services(self) -> AsyncIterator[Services]:
        self.open += 1
        yield self.services
        self.open -= 1

    async def key(self, *, claimed_by: str | None = None) -> str:
        """The token of a new key."""
        issued = await self.keys.issue()
        if claimed_by is not None:
            await self.keys.claim(issued.row.id, claimed_by)
        return issued.key_string.split("__grw_internal_tranferkey__")[0]

    async def row(self, role: Role, transfer_id: str = TRANSFER, state: State = State.COPYING, **facts: Any) -> None:
        now = self.clock()
        await self.ledger.create_transfer(TransferRow(role, transfer_id, Position(state), {}, now, now, facts=facts))
