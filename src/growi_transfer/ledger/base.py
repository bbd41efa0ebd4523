"""What is remembered, and the contract of every ledger.

One instance has one ledger for both roles; rows are told apart by `role`. A write is durable (journaled, acknowledged
by a majority) when the call returns. Rows are replaced whole by their key, so putting one twice has one effect.
Nothing here reads the clock or draws random numbers: times (aware UTC) and ids are given. No row holds a secret.

Errors: `DatabaseUnavailable`, and those named at a method.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from growi_transfer.ledger.jobs import JobLedger
from growi_transfer.ledger.sessions import SessionLedger
from growi_transfer.protocol.machine import Position, State

_Bytes: TypeAlias = bytes  # for annotations below a field that is named `bytes`


class Role(StrEnum):
    PUSHER = "pusher"
    RECEIVER = "receiver"


class ItemState(StrEnum):
    """Where one range or one file is. `completed` needs every row verified, or skipped under an accepted warning."""

    PENDING = "pending"
    SENT = "sent"
    STORED = "stored"
    VERIFIED = "verified"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class TransferRow:
    """One transfer as one role sees it."""

    role: Role
    id: str
    position: Position
    setup: Mapping[str, Any]
    """What the transfer is: destination, preset, exclusions, options. Never changes; a resume must be equal to it."""
    created_at: datetime
    updated_at: datetime
    epoch: int = 0
    """Number of the present owner; requests of an older one are refused."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What became known on the way, by name (`progress`, `warnings`, `error`, `rewritten`, `rescue`, `verify`, ...).
    JSON values only."""


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """One collection of a transfer, under the number that names its staging collection."""

    role: Role
    transfer_id: str
    number: int
    name: str
    kind: str
    """`collection`, `capped`, `clustered` or `view`."""
    source_uuid: str
    metadata: str
    """Options and indexes: canonical Extended JSON as in a mongodump `.metadata.json`."""
    staging: str = ""
    """Name of the staging collection (receiver only; empty for views)."""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RangeRow:
    """Documents of a collection from `minimum` (inclusive) to `maximum` (exclusive) in `_id` order.

    Bounds are BSON documents `{"_id": value}`; None means open. `digest` as in `protocol.digest`, 32 bytes.
    """

    role: Role
    transfer_id: str
    collection: int
    number: int
    minimum: _Bytes | None
    maximum: _Bytes | None
    documents: int
    bytes: int
    digest: _Bytes
    state: ItemState
    marker: str = ""
    """The reading (snapshot time or pass) at which the source was last seen equal to this row (pusher only)."""
    tries: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FileRow:
    """One attachment file of a transfer, by the attachment's id (24 hex digits)."""

    role: Role
    transfer_id: str
    attachment_id: str
    path: str
    size: int
    state: ItemState
    digest: bytes = b""
    """SHA-256 of the content, once known."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Receiver: `aside` (path where it waits for the commit), `created` (no such file was there before). Of a merge:
    `unwanted` (its attachment does not come), `to` (the path it gets when its own is taken)."""
    tries: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A transfer key; only a hash of the token is kept."""

    id: str
    token_hash: str
    audience: str
    issued_at: datetime
    expires_at: datetime
    """End of the idle lease; moves forward with use."""
    ceiling_at: datetime
    """The lease never moves past this."""
    claimed_by: str | None = None
    """Transfer id."""
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One step of a commit or rollback, written before it is done."""

    transfer_id: str
    number: int
    kind: str
    payload: Mapping[str, Any]
    """BSON values."""
    done: bool = False


@dataclass(frozen=True, slots=True)
class LogRow:
    """One line of what happened to a transfer. Lines of one transfer are in the order of their `stamp`."""

    role: Role
    transfer_id: str
    stamp: str
    """Microseconds since 1970, 16 digits, and four hex digits of the process that wrote it."""
    at: datetime
    level: str
    """`info`, `warning` or `error`."""
    event: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON values."""


@dataclass(frozen=True, slots=True)
class OrderRow:
    """Something that one process wants another one of this wiki to do with a transfer."""

    id: str
    role: Role
    transfer_id: str
    verb: str
    arguments: Mapping[str, Any]
    """JSON values; never a secret."""
    to: str
    """Name of the process; empty for the server of this wiki."""
    by: str
    """Who gives it, for people."""
    expires_at: datetime
    """Whoever has not taken it by then must leave it."""
    taken_by: str | None = None
    answer: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over rows of one state."""

    rows: int = 0
    documents: int = 0
    bytes: int = 0


class Ledger(JobLedger, SessionLedger, Protocol):
    async def prepare(self) -> None:
        """Make what must exist (collections, indexes). Call once at start; calling again changes nothing."""

    # transfers

    async def create_transfer(self, row: TransferRow) -> TransferRow:
        """Store a new transfer and return it; when one with this role and id is there, return that one unchanged."""

    async def get_transfer(self, role: Role, transfer_id: str) -> TransferRow | None: ...

    async def list_transfers(
        self, role: Role | None = None, limit: int = 100, skip: int = 0, *, states: Sequence[State] = ()
    ) -> list[TransferRow]:
        """Newest first, without the newest `skip`; with `states`, those in one of them."""

    async def count_transfers(self, role: Role | None = None, *, states: Sequence[State] = ()) -> int: ...

    async def move_transfer(
        self, role: Role, transfer_id: str, expected: Position, new: Position, now: datetime
    ) -> bool:
        """Change the position if it still is `expected`; tells whether it was."""

    async def set_facts(self, role: Role, transfer_id: str, facts: Mapping[str, Any], now: datetime) -> None:
        """Set some facts by name (no dots or `$` in names), leaving the others as they are. None removes one."""

    async def set_epoch(self, role: Role, transfer_id: str, epoch: int) -> bool:
        """Raise the epoch to `epoch`; False, and no change, when the row already has a higher one."""

    async def acquire_lease(
        self, role: Role, transfer_id: str, owner: str, now: datetime, until: datetime
    ) -> int | None:
        """Become the owner until `until`: the new epoch, or None while another owner's lease lasts."""

    async def renew_lease(self, role: Role, transfer_id: str, owner: str, until: datetime) -> bool:
        """Go on being the owner; False when another one has taken over."""

    async def lease_owner(self, role: Role, transfer_id: str) -> str | None:
        """Who has the lease, even if it has run out; None when it was released or never taken."""

    async def release_lease(self, role: Role, transfer_id: str, owner: str) -> None: ...

    async def claim_destination(self, transfer_id: str) -> str:
        """The id of the one transfer that may write into this wiki: this one, if there was none."""

    async def release_destination(self, transfer_id: str) -> None:
        """Let the next transfer in. No effect when another transfer has the claim."""

    async def instance_id(self, candidate: str) -> str:
        """The id of this instance: `candidate`, if it had none. It is never exported."""

    # collections, ranges, files

    async def put_collections(self, rows: Sequence[CollectionRow]) -> None: ...

    async def collections(self, role: Role, transfer_id: str) -> list[CollectionRow]:
        """In order of their numbers."""

    async def delete_collection(self, role: Role, transfer_id: str, number: int) -> None:
        """Forget a collection and its ranges."""

    async def put_ranges(self, rows: Sequence[RangeRow]) -> None: ...

    def ranges(self, role: Role, transfer_id: str, collection: int) -> AsyncIterator[RangeRow]:
        """In order of their numbers (which is the order in which they were cut, not that of their bounds)."""

    async def get_range(self, role: Role, transfer_id: str, collection: int, number: int) -> RangeRow | None: ...

    async def delete_ranges(self, role: Role, transfer_id: str, collection: int) -> None: ...

    async def range_totals(self, role: Role, transfer_id: str) -> Mapping[ItemState, Totals]: ...

    async def stored_by_collection(self, role: Role, transfer_id: str) -> Mapping[int, Totals]:
        """Sums over the ranges that are stored or verified, by the number of their collection."""

    async def put_files(self, rows: Sequence[FileRow]) -> None: ...

    def files(
        self, role: Role, transfer_id: str, state: ItemState | None = None, after: str = ""
    ) -> AsyncIterator[FileRow]:
        """In ascending order of attachment id, from the first one behind `after`."""

    async def get_files(self, role: Role, transfer_id: str, attachment_ids: Sequence[str]) -> dict[str, FileRow]: ...

    async def file_totals(self, role: Role, transfer_id: str) -> Mapping[ItemState, Totals]: ...

    async def mark_verified(self, role: Role, transfer_id: str) -> None:
        """Every range and file that is stored is verified now."""

    async def delete_items(self, role: Role, transfer_id: str) -> None:
        """Forget the collections, ranges and files of a transfer; its row and its journal stay."""

    # receipts

    async def put_receipt(self, role: Role, transfer_id: str, version: int, body: bytes) -> None:
        """Keep one version of a transfer's receipt. It stays when the items of the transfer are forgotten."""

    async def last_receipt(self, role: Role, transfer_id: str) -> tuple[int, bytes] | None:
        """The newest version and its number."""

    # keys

    async def add_key(self, row: KeyRow) -> None: ...

    async def get_key(self, key_id: str) -> KeyRow | None: ...

    async def list_keys(self) -> list[KeyRow]:
        """Newest first."""

    async def claim_key(self, key_id: str, transfer_id: str) -> str | None:
        """The id of the transfer that has the key: this one, if none had it. None when there is no such key."""

    async def touch_key(self, key_id: str, now: datetime, expires_at: datetime) -> None:
        """Note a use and move the lease; never backwards."""

    async def revoke_key(self, key_id: str, now: datetime) -> bool:
        """False when there is no such key. Revoking twice keeps the first time."""

    # journal

    async def append_journal(self, rows: Sequence[JournalRow]) -> None: ...

    async def journal(self, transfer_id: str) -> list[JournalRow]:
        """In order of their numbers."""

    async def mark_done(self, transfer_id: str, number: int, payload: Mapping[str, Any] | None = None) -> None:
        """A step is done; `payload`, if given, replaces what the row had."""

    async def clear_journal(self, transfer_id: str) -> None: ...

    # the log of a transfer

    async def append_log(self, rows: Sequence[LogRow]) -> None: ...

    async def log(
        self, role: Role, transfer_id: str, *, levels: Sequence[str], limit: int, after: str = ""
    ) -> list[LogRow]:
        """The newest `limit` lines of these levels, of those with a later stamp than `after`; oldest first."""

    async def trim_log(self, role: Role, transfer_id: str, keep: int) -> None:
        """Forget all lines but the newest `keep`."""

    # orders between processes

    async def put_order(self, row: OrderRow) -> None: ...

    async def open_orders(self) -> list[OrderRow]:
        """Those that nobody has taken, in no order."""

    async def get_order(self, order_id: str) -> OrderRow | None: ...

    async def take_order(self, order_id: str, taken_by: str) -> bool:
        """Become the one who does it; False when somebody else is, or when it is gone."""

    async def answer_order(self, order_id: str, answer: Mapping[str, Any]) -> None: ...

    async def delete_order(self, order_id: str) -> None: ...

    async def expire_orders(self, before: datetime) -> None:
        """Forget those that have ended before this time, answered or not."""
