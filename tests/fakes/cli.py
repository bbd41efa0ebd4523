"""One wiki as a command sees it: real keys and a ledger in memory, and roles that do what a test tells them to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.fakes.web import SECRET, TRANSFER, MemoryBoard, RecordingPusher, RecordingReceiver

from growi_transfer.cli.main import run
from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import Snapshot
from growi_transfer.protocol.shape import to_json
from growi_transfer.receiver.keys import Keys
from growi_transfer.settings import Settings

KEY = "token__grw_internal_tranferkey__http://destination.test:8080"
CLEAN = {
    "blockers": [],
    "warnings": [],
    "counts": {
        "collections": 3,
        "documents": 10,
        "document_bytes": 2048,
        "index_bytes": 4096,
        "attachments": 4,
        "attachments_moving": 2,
        "attachment_bytes": 1024,
        "attachments_missing": 1,
        "attachments_excluded": 1,
        "attachments_excluded_bytes": 77,
    },
    "collections": [{"name": "pages", "kind": "collection", "documents": 7, "bytes": 1536}],
    "not_moving": [{"name": "sessions", "reason": "operating_state", "documents": 5, "bytes": 500}],
    "files_not_moving": [
        {"reason": "excluded", "files": 1, "bytes": 77, "first": ["a.png"]},
        {"reason": "attachment_file_missing", "files": 1, "bytes": 0, "first": ["b.png"]},
    ],
    "excluded_paths": ["/trash"],
    "bytes_per_second": 45 << 20,
    "expected_seconds": 90.0,
    "checked_at": "2026-11-21T12:00:00+00:00",
}


class Steps(RecordingReceiver):
    """Answers as the real ones do: with the transfer."""

    async def purge_expired(self, retention: timedelta) -> list[str]:
        await self._note("purge_expired", retention=retention)
        return [TRANSFER]

    async def _note(self, name: str, **arguments: Any) -> dict[str, Any]:
        await super()._note(name, **arguments)
        shape = to_json(
            Snapshot(arguments.get("transfer_id", TRANSFER), "receiver", position=Position(State.COMPLETED))
        )
        return {"transfer": shape}


@dataclass
class ScriptedPusher(RecordingPusher):
    """`start` runs `script`, which may show snapshots on the board and set facts of the row."""

    report: dict[str, Any] = field(default_factory=lambda: dict(CLEAN))
    script: Callable[[], Awaitable[None]] | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def _note(self, name: str, **arguments: Any) -> dict[str, Any]:
        await super()._note(name, **arguments)
        shape = to_json(Snapshot(arguments.get("transfer_id", TRANSFER), "pusher", position=Position(State.COMPLETED)))
        return {"transfer": shape}

    async def preflight(self, key_string: str, options: Any) -> dict[str, Any]:
        await self._note("preflight", key_string=key_string, options=options)
        return self.report

    async def start(self, key_string: str, options: Any) -> str:
        transfer_id = await super().start(key_string, options)
        if self.script is not None:

            async def background() -> None:
                assert self.script is not None
                await self.script()

            self.tasks.append(asyncio.create_task(background()))
        return transfer_id

    @property
    def runner(self) -> ScriptedPusher:
        return self

    def has(self, transfer_id: str) -> bool:
        return any(not task.done() for task in self.tasks)

    async def proceed(self, transfer_id: str) -> dict[str, Any]:
        return await self._note("proceed", transfer_id=transfer_id)

    async def take_key(self, transfer_id: str, key_string: str) -> None:
        await self._note("take_key", transfer_id=transfer_id, key_string=key_string)

    async def leave_behind(self, transfer_id: str, codes: Sequence[str]) -> None:
        await self._note("leave_behind", transfer_id=transfer_id, codes=tuple(codes))

    async def purge_expired(self, retention: timedelta) -> list[str]:
        await self._note("purge_expired", retention=retention)
        return []

    async def wait(self, transfer_id: str) -> None:
        await asyncio.gather(*self.tasks)

    async def export_archive(
        self, path: Path, *, exclude_collections: Sequence[str] = (), with_attachments: bool = True
    ) -> dict[str, Any]:
        names = tuple(exclude_collections)
        await self._note("export_archive", path=path, exclude_collections=names, with_attachments=with_attachments)
        return {"collections": 3, "documents": 10, "bytes": 2048, "attachments": 2, "attachment_bytes": 1024}

    async def export_growi_archive(self, path: Path, *, exclude_collections: Sequence[str] = ()) -> dict[str, Any]:
        await self._note("export_growi_archive", path=path, exclude_collections=tuple(exclude_collections))
        return {"format": "growi", "collections": 3, "documents": 10, "bytes": 2048, "not_exported": ["sessions"]}


@dataclass
class FakeOrders:
    """Other processes. `server` answers orders, if there is one; `owned` are transfers that another process has."""

    server: Callable[[str, str, dict[str, Any]], Awaitable[dict[str, Any]]] | None = None
    given: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    owned: set[str] = field(default_factory=set)

    async def is_owned(self, role: Role, transfer_id: str) -> bool:
        return transfer_id in self.owned

    async def is_elsewhere(self, role: Role, transfer_id: str) -> bool:
        return transfer_id in self.owned

    async def to_server(
        self, role: Role, transfer_id: str, verb: str, arguments: dict[str, Any]
    ) -> dict[str, Any] | None:
        self.given.append((role.value, verb, arguments))
        return await self.server(transfer_id, verb, arguments) if self.server else None

    async def settled(self, seconds: float | None = None) -> None:
        pass


class Wiki:
    """Runs commands in this process. `opened` has the settings and the role of each opening."""

    def __init__(self, data_dir: Path) -> None:
        self.environ = {"GROWI_TRANSFER_DATA_DIR": str(data_dir)}
        self.data_dir = data_dir
        self.ledger = MemoryLedger()
        self.board = MemoryBoard()
        self.keys = Keys(self.ledger, [SECRET], "http://destination.test:8080", lambda: datetime.now(UTC))
        self.receiver = Steps(self.keys)
        self.growi = None
        self.pusher = ScriptedPusher()
        self.jobs = None
        self.tally = None
        self.orders = FakeOrders()
        self.instance = None
        self.recheck = None
        self.opened: list[tuple[Settings, str]] = []
        self.closed = 0
        self.serving = False
        self.fails: BaseException | None = None

    @asynccontextmanager
    async def open_services(
        self, settings: Settings, *, role: str, loopback_allowed: bool = False, serving: bool = False
    ) -> AsyncIterator[Wiki]:
        self.opened.append((settings, role))
        self.serving = serving
        if self.fails is not None:
            raise self.fails
        try:
            yield self
        finally:
            self.closed += 1
            for task in self.pusher.tasks:
                task.cancel()

    def run(self, *arguments: str, **environ: str) -> int:
        return run(arguments, {**self.environ, **environ}, self.open_services)

    async def row(
        self,
        role: Role = Role.PUSHER,
        transfer_id: str = TRANSFER,
        state: State = State.COPYING,
        came_from: State | None = None,
        **facts: Any,
    ) -> None:
        now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
        position = Position(state, came_from)
        await self.ledger.create_transfer(TransferRow(role, transfer_id, position, {}, now, now, facts=facts))

    def pushes(self, *states: State, **facts: Any) -> None:
        """Let the next push go through these states, the last one with `facts` in its row."""

        async def script() -> None:
            await self.row(state=states[-1], came_from=State.COPYING if states[-1] is State.FAILED else None, **facts)
            for number, state in enumerate(states):
                done = (number + 1) * 10 // len(states)
                await self.board.put(
                    Snapshot(
                        TRANSFER,
                        "pusher",
                        position=Position(state),
                        documents_done=done,
                        documents_total=10,
                        bytes_done=done << 20,
                        bytes_total=10 << 20,
                        files_done=2 if done == 10 else 0,
                        files_total=2,
                        bytes_per_second=2.5 * (1 << 20),
                    )
                )
                await asyncio.sleep(0)

        self.pusher.script = script

    def calls(self) -> list[str]:
        return [name for name, _ in [*self.pusher.calls, *self.receiver.calls]]
