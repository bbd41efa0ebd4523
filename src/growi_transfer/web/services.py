"""What the web part needs of the others, as interfaces it owns, and the one bundle in which it gets them.

Whoever starts the server (the command line) builds a `Services` and hands it to `create_app`; nothing here knows how
the parts are made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any, Literal, Protocol

from growi_transfer.jobs.live import LiveJobs
from growi_transfer.ledger.base import KeyRow, Ledger, Role
from growi_transfer.ledger.jobs import JobKind, JobState
from growi_transfer.ledger.tally import Tally
from growi_transfer.protocol.job_shapes import ExportRequest, JobView
from growi_transfer.protocol.merge_keys import MergePlan
from growi_transfer.protocol.progress import Snapshot
from growi_transfer.protocol.receipt import CounterSignature
from growi_transfer.protocol.wire import AttachmentFile, Claim, CopyPage, PlanPage, PutTransfer, Verify
from growi_transfer.pusher.options import PushOptions
from growi_transfer.storage.base import StoredFile
from growi_transfer.web.form_file import Memory

_FORMS = 32 << 20
"""Bytes that small files of all forms together may hold in memory."""


class IssuedKey(Protocol):
    @property
    def key_string(self) -> str: ...

    @property
    def row(self) -> KeyRow: ...


class KeyService(Protocol):
    async def issue(self) -> IssuedKey: ...

    async def check(self, token: str) -> KeyRow:
        """The row of a valid key, its lease renewed. Raises TransferKeyInvalid for every reason alike."""

    async def renew(self, key_id: str) -> KeyRow: ...

    async def revoke(self, key_id: str) -> None:
        """Raises KeyNotFound."""

    async def list(self) -> list[KeyRow]: ...


class UploadState(Protocol):
    @property
    def offset(self) -> int: ...

    @property
    def length(self) -> int | None: ...

    @property
    def complete(self) -> bool: ...


class ReceiverService(Protocol):
    """The receiving role. `epoch` None is the destination's own admin."""

    @property
    def keys(self) -> KeyService: ...

    async def growi_info(self) -> dict[str, Any]: ...

    async def plan_merge(self, part: MergePlan) -> dict[str, Any]: ...

    def files(self) -> AsyncIterator[list[StoredFile]]: ...

    async def put_transfer(
        self, transfer_id: str, body: PutTransfer, *, key_id: str | None, epoch: int
    ) -> dict[str, Any]: ...

    async def claim(self, transfer_id: str, body: Claim, *, key_id: str) -> dict[str, Any]: ...

    async def transfer(self, transfer_id: str) -> dict[str, Any]: ...

    async def volumes(self, transfer_id: str, collection: str) -> list[dict[str, Any]]: ...

    async def put_volume(
        self, transfer_id: str, collection: str, number: int, body: bytes, *, epoch: int
    ) -> dict[str, Any]: ...

    async def plan_attachments(self, transfer_id: str, page: PlanPage, *, epoch: int) -> dict[str, Any]: ...

    async def put_bundle(self, transfer_id: str, body: bytes | CopyPage, *, epoch: int) -> dict[str, Any]: ...

    async def upload_state(self, transfer_id: str, attachment_id: str) -> UploadState: ...

    async def patch_upload(
        self,
        transfer_id: str,
        attachment_id: str,
        *,
        file: AttachmentFile | None,
        offset: int,
        complete: bool,
        sha256: str | None,
        chunks: AsyncIterator[bytes],
        epoch: int,
    ) -> UploadState:
        """Raises OffsetMismatch with the right `offset` in its details; a newer call ends an older one."""

    async def verify(self, transfer_id: str, expected: Verify, *, epoch: int) -> dict[str, Any]: ...

    async def commit(self, transfer_id: str, *, epoch: int | None) -> dict[str, Any]: ...

    async def rollback(self, transfer_id: str, *, epoch: int | None) -> dict[str, Any]: ...

    async def cancel(self, transfer_id: str, *, epoch: int | None) -> dict[str, Any]: ...

    async def purge(self, transfer_id: str) -> dict[str, Any]: ...

    async def release_maintenance(self, transfer_id: str) -> dict[str, Any]: ...

    async def receipt(self, transfer_id: str) -> dict[str, Any]:
        """The receipt as JSON. Raises ReceiptNotFound."""

    async def countersign(self, transfer_id: str, mark: CounterSignature) -> dict[str, Any]: ...

    async def keep_alive(self, transfer_id: str, *, epoch: int) -> None: ...

    async def import_archive(self, path: Path) -> dict[str, Any]: ...


class GrowiService(Protocol):
    """The receiving role for an unmodified GROWI."""

    @property
    def max_file_size(self) -> int | None:
        """Bytes one attachment may have; None for no limit."""

    async def import_archive(self, key_id: str, fields: Mapping[str, str], archive: Path | None) -> dict[str, Any]:
        """What is told in the answer, besides its message."""

    async def put_attachment(
        self, key_id: str, fields: Mapping[str, str], content: bytes | Path | None, size: int
    ) -> None: ...


class PusherService(Protocol):
    """The pushing role. Answers with a transfer are `{"transfer": <the public shape>}`."""

    async def collections(self) -> list[str]:
        """Names of the collections that would be transferred."""

    async def preflight(self, key_string: str, options: PushOptions) -> dict[str, Any]: ...

    async def start(self, key_string: str, options: PushOptions) -> str:
        """The transfer's id, at once; the same key gives the same transfer."""

    async def pause(self, transfer_id: str) -> dict[str, Any]: ...

    async def resume(self, transfer_id: str, key_string: str | None, accept: Sequence[str] = ()) -> dict[str, Any]: ...

    async def cancel(self, transfer_id: str) -> dict[str, Any]: ...

    async def retry(self, transfer_id: str) -> dict[str, Any]: ...

    async def verify(self, transfer_id: str, *, deep: bool = False) -> dict[str, Any]: ...

    async def receipt(self, transfer_id: str) -> dict[str, Any]:
        """The receipt as JSON. Raises ReceiptNotFound."""

    async def commit(self, transfer_id: str) -> dict[str, Any]: ...

    async def rollback(self, transfer_id: str) -> dict[str, Any]: ...

    async def release(self, transfer_id: str) -> dict[str, Any]:
        """End the maintenance mode that a commit with `freeze` has left on here."""

    async def purge(self, transfer_id: str) -> dict[str, Any]: ...

    async def tune(
        self,
        transfer_id: str,
        *,
        volumes: int | Literal["unchanged"] | None = "unchanged",
        attachments: int | Literal["unchanged"] | None = "unchanged",
        bandwidth: int | Literal["unchanged"] | None = "unchanged",
    ) -> dict[str, Any]: ...


class RecheckService(Protocol):
    async def check(self, body: bytes, *, data: bool = False) -> dict[str, Any]:
        """The verdict on a receipt, as JSON. Raises ReceiptInvalid."""


class Board(Protocol):
    """Present state first, then each change, of a transfer at most one in `pace` seconds; ends at a finished state if
    one transfer is watched."""

    def watch(
        self, role: Role | None = None, transfer_id: str | None = None, *, pace: float = ...
    ) -> AsyncIterator[Snapshot]: ...

    def snapshot(self, role: Role, transfer_id: str) -> Snapshot | None: ...

    def snapshots(self) -> list[Snapshot]: ...


class JobsService(Protocol):
    """Exports and imports in the background."""

    @property
    def live(self) -> LiveJobs: ...

    async def create_export(self, request: ExportRequest) -> JobView: ...

    async def create_import(self, archive: Path) -> JobView:
        """Takes the file away."""

    async def check_queue(self) -> None:
        """Raises QueueFull."""

    def importer(self) -> object:
        """Raises NotFound where nothing can be imported."""

    async def get(self, job_id: str, kind: JobKind | None = None) -> JobView: ...

    async def page(
        self, *, kind: JobKind | None, states: Collection[JobState] | None, skip: int, limit: int
    ) -> tuple[list[JobView], int]: ...

    async def counts(self) -> dict[JobKind, dict[JobState, int]]: ...

    async def archive(self, job_id: str) -> tuple[FileIO, JobView]:
        """Whoever asks closes the file."""

    async def cancel(self, job_id: str, kind: JobKind | None = None) -> JobView: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    archive_bytes: int = 1 << 40
    """The largest body of `POST mongo`; the free space is checked too."""
    spare_bytes: int = 256 << 20
    """What a spooled body leaves free on its disk."""
    drain_bytes: int = 64 << 20
    """The most that is read, and thrown away, of a refused body whose sender has a valid key."""
    drain_seconds: float = 10.0
    linger_seconds: float = 0.5
    """How long a connection with an unread body stays open after the answer, so that the answer can be read."""
    heartbeat_seconds: float = 15.0
    """The longest silence on an event stream."""
    link_seconds: int = 3600
    """How long a link to the file of an export works."""
    session_seconds: int = 12 * 3600
    """How long a login on the page lasts."""


def _now() -> datetime:
    return datetime.now(UTC)


async def _owned(role: Role, transfer_id: str) -> bool:
    """Where nobody can tell, it is taken to be in somebody's hands."""
    return True


@dataclass(frozen=True)
class Services:
    """What a server serves. A role that it does not have is None; its routes answer 404."""

    board: Board
    ledger: Ledger
    admin_token: str = field(repr=False)
    session_secrets: Sequence[str] = field(repr=False)
    """Sign the login cookie; newest last. Older ones still verify."""
    data_dir: Path
    version: str
    receiver: ReceiverService | None = None
    growi: GrowiService | None = None
    pusher: PusherService | None = None
    jobs: JobsService | None = None
    tally: Tally | None = None
    """What is counted in this process."""
    metrics_token: str | None = field(default=None, repr=False)
    limits: Limits = Limits()
    clock: Callable[[], datetime] = _now
    instance: Callable[[], Awaitable[dict[str, Any]]] | None = None
    """The summary of this instance, for its admin."""
    recheck: RecheckService | None = None
    is_owned: Callable[[Role, str], Awaitable[bool]] = _owned
    """Whether a process that may be alive has the transfer."""
    retention: timedelta = timedelta(days=7)
    """How long what a commit replaced is kept."""
    form_memory: Memory = field(default_factory=lambda: Memory(_FORMS))
    """For the files of forms that come right now."""

    def __post_init__(self) -> None:
        if not self.admin_token or not self.session_secrets:
            raise ValueError("an admin token and a session secret are needed")
