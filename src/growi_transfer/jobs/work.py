"""What a job does: the same code as the commands `export` and `import`, watched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import structlog

from growi_transfer.jobs.files import JobFiles
from growi_transfer.jobs.progress import Progress
from growi_transfer.ledger.base import Role
from growi_transfer.ledger.jobs import JobRow
from growi_transfer.protocol.errors import StateConflict, TransferError, TransferNotFound, code_of, is_retryable
from growi_transfer.protocol.machine import FINISHED, State
from growi_transfer.protocol.progress import Snapshot

TRIES = 3
"""Readings of a source that changes under the reading."""
_AGAIN_SECONDS = (1.0, 5.0)
_LOOK_SECONDS = 0.5
_SPACE_EVERY = 64 << 20
_log = structlog.get_logger(__name__)


class Exporter(Protocol):
    """The source's role, as far as an export needs it."""

    async def collections(self) -> list[str]: ...

    async def export_archive(
        self,
        path: Path,
        *,
        exclude_collections: Sequence[str],
        only: Sequence[str] | None,
        with_attachments: bool,
        watch: Any,
        digest: bool,
    ) -> dict[str, Any]: ...

    async def export_growi_archive(
        self, path: Path, *, exclude_collections: Sequence[str], only: Sequence[str] | None, watch: Any, digest: bool
    ) -> dict[str, Any]: ...


class Importer(Protocol):
    """The destination's role, as far as an import needs it."""

    async def check_archive(self, path: Path) -> str:
        """What kind of archive it is, `bson` or `growi`. Raises ArchiveInvalid and the like."""

    async def import_archive(self, path: Path, *, transfer_id: str | None) -> dict[str, Any]: ...

    async def transfer(self, transfer_id: str) -> dict[str, Any]: ...

    async def cancel(self, transfer_id: str, *, epoch: int | None) -> dict[str, Any]: ...


Note = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Keeps facts of the job before it goes on."""


class Work(Protocol):
    """One kind of job."""

    def progress(self, row: JobRow) -> Progress:
        """Counts of a new run."""

    async def run(self, row: JobRow, progress: Progress, note: Note) -> dict[str, Any]:
        """Do it all; the facts of the finished job. May be cancelled at any moment, and then leaves nothing."""

    def refuse_cancel(self, row: JobRow) -> None:
        """Raises StateConflict when it is too late to cancel."""


class Board(Protocol):
    def snapshot(self, role: Role, transfer_id: str) -> Snapshot | None: ...


class _Watched(Progress):
    """Progress of an export, with an eye on the disk."""

    def __init__(self, files: JobFiles, *, tolerant: bool) -> None:
        super().__init__(tolerant=tolerant)
        self._disk = files
        self._unchecked = 0

    def advanced(self, *, documents: int = 0, size: int = 0, files: int = 0) -> None:
        super().advanced(documents=documents, size=size, files=files)
        self._unchecked += size
        if self._unchecked >= _SPACE_EVERY:
            self._unchecked = 0
            self._disk.check_space()


class ExportWork:
    """Makes the archive of one job."""

    def __init__(self, exporter: Exporter, files: JobFiles, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._exporter = exporter
        self._files = files
        self._sleep = sleep

    def progress(self, row: JobRow) -> Progress:
        return _Watched(self._files, tolerant=row.request["on_error"] == "continue")

    def refuse_cancel(self, row: JobRow) -> None:
        """It is never too late."""

    async def run(self, row: JobRow, progress: Progress, note: Note) -> dict[str, Any]:
        """The facts of the finished job. Raises what the export raises, after some tries if these can help."""
        for pause in (*_AGAIN_SECONDS, None):
            try:
                return await self._run(row, progress)
            except TransferError as error:
                if pause is None or not is_retryable(error):
                    raise
                _log.warning("job_tries_again", job=row.id, code=code_of(error), message=error.message)
            progress.forget_errors()
            await self._sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def _run(self, row: JobRow, progress: Progress) -> dict[str, Any]:
        self._files.check_space()
        request: Mapping[str, Any] = row.request
        path = self._files.export(row.id)
        chosen: dict[str, Any] = {
            "exclude_collections": request["exclude_collections"],
            "only": request["collections"],
            "watch": progress,
            "digest": True,
        }
        if request["format"] == "growi":
            told = await self._exporter.export_growi_archive(path, **chosen)
        else:
            told = await self._exporter.export_archive(path, with_attachments=request["attachments"], **chosen)
        digest = told.pop("sha256")
        suffix = "growi.zip" if request["format"] == "growi" else "zip"
        name = f"wiki-{row.created_at:%Y%m%d-%H%M%S}-{row.id[:8]}.{suffix}"
        return {"result": told, "file": {"name": name, "bytes": path.stat().st_size, "sha256": digest}}


class ImportWork:
    """Brings the archive of one job in, as a transfer of its own."""

    def __init__(
        self,
        importer: Importer,
        board: Board,
        files: JobFiles,
        sleep: Callable[[float], Awaitable[None]],
        new_id: Callable[[], str],
    ) -> None:
        self._importer = importer
        self._board = board
        self._files = files
        self._sleep = sleep
        self._new_id = new_id

    def progress(self, row: JobRow) -> Progress:
        return Progress()

    def refuse_cancel(self, row: JobRow) -> None:
        transfer_id = row.facts.get("transfer_id", "")
        snapshot = self._board.snapshot(Role.RECEIVER, transfer_id)
        if snapshot is not None and snapshot.position.state in (State.COMMITTING, State.COMPLETED):
            raise StateConflict("The commit has begun; roll the transfer back afterwards.", transfer=transfer_id)

    async def run(self, row: JobRow, progress: Progress, note: Note) -> dict[str, Any]:
        """The facts of the finished job. Raises what the import raises; the wiki is then as it was."""
        before = row.facts.get("transfer_id")
        if before is not None and await self._outcome(before) is State.COMPLETED:
            # The server ended after the commit had begun, and the next one has finished it.
            return {"result": await self._importer.transfer(before)}
        transfer_id = self._new_id()
        await note({"transfer_id": transfer_id})
        looking = asyncio.ensure_future(self._look(transfer_id, progress))
        try:
            told = await self._importer.import_archive(self._files.upload(row.id), transfer_id=transfer_id)
        except asyncio.CancelledError:
            # A commit that has begun goes on, whoever leaves: then the job has done what it was to do.
            if await asyncio.shield(self._outcome(transfer_id)) is not State.COMPLETED:
                raise
            told = await self._importer.transfer(transfer_id)
        finally:
            looking.cancel()
            self._take(transfer_id, progress)
        return {"result": told}

    async def _outcome(self, transfer_id: str) -> State | None:
        """What became of a transfer whose import is not run any more: cancelled unless its commit had begun, which is
        waited for. None: there is none."""
        while True:
            try:
                state = State((await self._importer.transfer(transfer_id))["transfer"]["state"])
                if state in FINISHED:
                    return state
                if state is not State.COMMITTING:
                    await self._importer.cancel(transfer_id, epoch=None)
                    continue
            except TransferNotFound:
                return None
            except StateConflict:
                pass  # its commit has begun just now
            await self._sleep(_LOOK_SECONDS)

    async def _look(self, transfer_id: str, progress: Progress) -> None:
        while True:
            self._take(transfer_id, progress)
            await self._sleep(_LOOK_SECONDS)

    def _take(self, transfer_id: str, progress: Progress) -> None:
        snapshot = self._board.snapshot(Role.RECEIVER, transfer_id)
        if snapshot is None:
            return
        if snapshot.bytes_total != progress.shape().bytes.total:
            progress.planned(documents=snapshot.documents_total, size=snapshot.bytes_total, files=snapshot.files_total)
        progress.counted(documents=snapshot.documents_done, size=snapshot.bytes_done, files=snapshot.files_done)
