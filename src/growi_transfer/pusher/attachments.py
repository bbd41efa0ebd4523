"""The file side of a push: every attachment document gets a row, every file that is missing over there is sent.

Small files go in bundles, large ones alone and by offset. A fault of one file never stops the others and never
disappears: it stays in its row until a later try ends well or the operator has accepted it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from growi_transfer.archive.bundle import hash_contents, write_frames
from growi_transfer.ledger.base import FileRow, ItemState, Ledger, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.mongo.client import Database
from growi_transfer.protocol.errors import (
    FileNotFound,
    NameIllegal,
    PeerRefused,
    SizeMismatch,
    TransferError,
    code_of,
    is_retryable,
)
from growi_transfer.protocol.progress import (
    Failure,
    FileBytesStored,
    FilesSkipped,
    FilesStored,
    ItemFailed,
    ItemRecovered,
)
from growi_transfer.protocol.wire import (
    BUNDLE_BYTES,
    BUNDLE_FILES,
    CHUNK_BYTES,
    LARGE_FILE_BYTES,
    AttachmentFile,
    PlanPage,
)
from growi_transfer.pusher.excluded_pages import EXCLUDED, ExcludedPages
from growi_transfer.pusher.gate import Gate
from growi_transfer.pusher.large_files import send_large
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.retry import Retry
from growi_transfer.pusher.source_files import Source, SourceFiles
from growi_transfer.storage.base import Storage

MISSING_FILE = "attachment_file_missing"
"""Code of the warning under which files that the source itself lacks are skipped."""

REMOVED = "attachment_removed"
"""Reason of rows whose attachment the source has removed since it was first seen."""


class AttachmentSender:
    """Sends the files of one transfer. `accepts` tells whether the operator accepted a warning."""

    def __init__(
        self,
        *,
        database: Database,
        storage: Storage,
        ledger: Ledger,
        board: ProgressBoard,
        peer: Peer,
        retry: Retry,
        gate: Gate,
        transfer_id: str,
        accepts: Callable[[str], bool],
        exclude_paths: Sequence[str] = (),
    ) -> None:
        self._sources = SourceFiles(database, storage, ledger, transfer_id, ExcludedPages(database, exclude_paths))
        self._storage = storage
        self._ledger = ledger
        self._board = board
        self._peer = peer
        self._retry = retry
        self._gate = gate
        self._transfer_id = transfer_id
        self._accepts = accepts
        self._counted: dict[str, int] = {}
        """Bytes shown of large files under way, by attachment id."""
        self._failed: set[str] = set()
        """Ids of the files that could not be sent in the present run."""

    async def run(self) -> int:
        """Look at every attachment document and send what is missing; how many there were. May be run again.

        Raises the first error that concerns the whole transfer; faults of single files stay in their rows.
        """
        seen = 0
        self._failed.clear()
        async with asyncio.TaskGroup() as group:
            async for page in self._sources.pages():
                seen += len(page)
                await self._page(page, group)
        return seen

    async def unsettled(self) -> int:
        """How many files of the last run are neither stored nor skipped under an accepted warning.

        Rows that the run did not come to are of attachments that the source has removed since: nothing is to be sent.
        """
        left = 0
        for state in (ItemState.PENDING, ItemState.SENT, ItemState.FAILED):
            removed: list[FileRow] = []
            async for row in self._ledger.files(Role.PUSHER, self._transfer_id, state):
                if row.attachment_id in self._failed:
                    left += 1
                    continue
                if state is ItemState.FAILED:
                    self._board.apply(Role.PUSHER, self._transfer_id, ItemRecovered(row.path, "file"))
                removed.append(replace(row, state=ItemState.SKIPPED, reason=REMOVED))
            await self._ledger.put_files(removed)
        return left

    # one page

    async def _page(self, page: list[Source], group: asyncio.TaskGroup) -> None:
        await self._leave_out([source for source in page if source.excluded])
        await self._fail([source for source in page if source.error is not None and not source.excluded])
        good = [source for source in page if source.error is None and not source.excluded]
        if not good:
            return
        missing = await self._ask(good)
        small: list[Source] = []
        bundle_bytes = 0
        paths: set[str] = set()
        for source in good:
            if source.row.attachment_id not in missing:
                continue
            if source.row.size > LARGE_FILE_BYTES:
                await self._background(group, self._send_large(source))
                continue
            full = bundle_bytes + source.row.size > BUNDLE_BYTES or len(small) == BUNDLE_FILES
            # Two attachment documents may name one file; a bundle has no path twice.
            if small and (full or source.row.path in paths):
                await self._background(group, self._send_bundle(small))
                small, bundle_bytes, paths = [], 0, set()
            small.append(source)
            paths.add(source.row.path)
            bundle_bytes += source.row.size
        if small:
            await self._background(group, self._send_bundle(small))

    async def _background(self, group: asyncio.TaskGroup, work: Any) -> None:
        try:
            await self._gate.acquire()
        except BaseException:
            work.close()
            raise

        async def run() -> None:
            try:
                await work
            finally:
                self._gate.release()

        group.create_task(run())

    async def _ask(self, sources: Sequence[Source]) -> set[str]:
        """Ids that have to be sent; rows of the others are stored."""
        by_id = {source.row.attachment_id: source for source in sources}
        answer = await self._plan([source.file for source in sources if source.file is not None])
        missing, same_size = set(answer["missing"]), set(answer["same_size"])
        if same_size:
            digested = [await self._with_digest(by_id[one]) for one in same_size if one in by_id]
            known = [file for file in digested if file is not None]
            missing |= same_size - {file.id for file in known}
            missing |= set((await self._plan(known))["missing"])
        stored = [source for key, source in by_id.items() if key not in missing]
        await self._stored([source.row for source in stored if source.row.state is not ItemState.STORED])
        await self._ledger.put_files(
            [
                replace(by_id[key].row, state=ItemState.PENDING)
                for key in missing
                if key in by_id and by_id[key].row.state is not ItemState.FAILED
            ]
        )
        return missing

    async def _plan(self, files: Sequence[AttachmentFile]) -> dict[str, Any]:
        page = PlanPage.model_construct(files=tuple(files))
        return await self._retry(lambda: self._peer.plan(self._transfer_id, page))

    async def _with_digest(self, source: Source) -> AttachmentFile | None:
        hasher = sha256()
        try:
            async for chunk in self._storage.open(source.row.path):
                await asyncio.to_thread(hasher.update, chunk)
        except FileNotFound:
            return None
        assert source.file is not None
        return source.file.model_copy(update={"sha256": hasher.hexdigest()})

    # sending

    async def _send_bundle(self, sources: list[Source]) -> None:
        read = await self._storage.read_many([source.row.path for source in sources], LARGE_FILE_BYTES)
        good: list[Source] = []
        contents: list[bytes] = []
        for source, content in zip(sources, read, strict=True):
            if isinstance(content, TransferError):
                await self._fail([replace(source, error=content)])
            elif source.file is not None:
                good.append(replace(source, row=replace(source.row, size=len(content))))
                contents.append(content)
        if not good:
            return
        pieces, files = await asyncio.to_thread(_frames, good, contents)
        del contents
        answer = await self._retry(lambda: self._peer.put_bundle(self._transfer_id, pieces))
        results = {result["id"]: result for result in answer["results"]}
        stored: list[FileRow] = []
        for source, file in zip(good, files, strict=True):
            result = results.get(file.id, {"ok": False, "code": "internal_error", "message": "There was no answer."})
            if result["ok"]:
                stored.append(replace(source.row, digest=bytes.fromhex(file.sha256 or "")))
            else:
                error = PeerRefused(
                    str(result["message"]),
                    code=str(result["code"]),
                    status=400,
                    retryable=bool(result.get("retryable")),
                )
                await self._fail([replace(source, error=error)])
        await self._stored(stored, wire=sum(map(len, pieces)))

    async def _send_large(self, source: Source) -> None:
        try:
            digest = await self._retry(lambda: self._send_from_offset(source))
        except TransferError as error:
            if not _is_about_the_file(error):
                raise
            await self._fail([replace(source, error=error)])
            return
        self._counted.pop(source.row.attachment_id, None)
        await self._stored([replace(source.row, digest=digest)], counted=True)

    async def _send_from_offset(self, source: Source) -> bytes:
        assert source.file is not None
        return await send_large(
            self._peer,
            self._storage,
            self._transfer_id,
            source.row.path,
            source.file,
            chunk_bytes=CHUNK_BYTES,
            on_durable=lambda offset: self._count(source.row.attachment_id, offset),
        )

    def _count(self, attachment_id: str, durable: int) -> None:
        """Show a large file's bytes once, however often it is begun and wherever it goes on."""
        gained = durable - self._counted.get(attachment_id, 0)
        self._counted[attachment_id] = durable
        if gained:
            self._board.apply(Role.PUSHER, self._transfer_id, FileBytesStored(gained, max(0, gained)))

    # rows

    async def _stored(self, rows: Sequence[FileRow], *, wire: int = 0, counted: bool = False) -> None:
        if not rows:
            return
        for row in rows:
            if row.state is ItemState.FAILED:
                self._board.apply(Role.PUSHER, self._transfer_id, ItemRecovered(row.path, "file"))
        await self._ledger.put_files([replace(row, state=ItemState.STORED, reason="") for row in rows])
        size = 0 if counted else sum(row.size for row in rows)
        self._board.apply(Role.PUSHER, self._transfer_id, FilesStored(len(rows), size, wire))

    async def _leave_out(self, sources: Sequence[Source]) -> None:
        """Rows of files that the operator excluded; the plan has told them and their bytes."""
        fresh = [source.row for source in sources if source.row.state is not ItemState.SKIPPED]
        if not fresh:
            return
        for row in fresh:
            if row.state is ItemState.FAILED:
                self._board.apply(Role.PUSHER, self._transfer_id, ItemRecovered(row.path, "file"))
        await self._ledger.put_files([replace(row, state=ItemState.SKIPPED, reason=EXCLUDED) for row in fresh])
        self._board.apply(Role.PUSHER, self._transfer_id, FilesSkipped(len(fresh)))

    async def _fail(self, sources: Sequence[Source]) -> None:
        rows: list[FileRow] = []
        for source in sources:
            error = source.error
            assert error is not None
            code = MISSING_FILE if isinstance(error, FileNotFound) else code_of(error)
            skipped = self._accepts(code)
            if not skipped:
                self._failed.add(source.row.attachment_id)
            state = ItemState.SKIPPED if skipped else ItemState.FAILED
            rows.append(replace(source.row, state=state, reason=code, tries=source.row.tries + 1))
            if source.row.state is state:
                continue
            if skipped:
                self._board.apply(Role.PUSHER, self._transfer_id, FilesSkipped(1, source.row.size))
            else:
                failure = Failure(
                    item=source.row.path or source.row.attachment_id,
                    kind="file",
                    code=code,
                    message=error.message,
                    tries=source.row.tries + 1,
                    retryable=is_retryable(error),
                )
                self._board.apply(Role.PUSHER, self._transfer_id, ItemFailed(failure))
        await self._ledger.put_files(rows)


def _is_about_the_file(error: TransferError) -> bool:
    return isinstance(error, FileNotFound | SizeMismatch | NameIllegal) or code_of(error) in (
        "size_mismatch",
        "digest_mismatch",
        "body_too_large",
        "name_illegal",
        "invalid_request",
    )


def _frames(
    sources: Sequence[Source], contents: Sequence[bytes]
) -> tuple[list[bytes | memoryview], list[AttachmentFile]]:
    """For a thread: hashes and frames."""
    files = [
        source.file.model_copy(update={"size": len(content), "sha256": digest})
        for source, content, digest in zip(sources, contents, hash_contents(contents), strict=True)
        if source.file is not None
    ]
    return write_frames(list(zip(files, contents, strict=True))), files
