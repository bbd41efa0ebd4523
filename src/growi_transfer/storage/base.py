"""The interface every attachment storage implements, and its contract.

A *path* is what `protocol.names.attachment_path` makes: `attachment/<fileName>` or `user/<fileName>`, always with
forward slashes, never checked again below this line. A backend maps a path to its own names and back.

Errors: `FileNotFound`, `StorageFull`, `StorageNotWritable`, `StorageRefused` (nothing may be read),
`StorageUnavailable`, and nothing else. Only `retry` tries again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from growi_transfer.protocol.errors import TransferError

READ_CHUNK = 1 << 20
"""Bytes in one chunk of `Storage.open`, except the last one of a file."""


@dataclass(frozen=True, slots=True)
class Features:
    """What a backend can do, as data; never ask `isinstance`."""

    kind: str
    """GROWI's word for it: `local`, `gridfs` (GROWI_TRANSFER and GROWI both write `mongodb` for it too), `aws`,
    `azure`, `gcs`, `memory`."""
    durable: bool = True
    """Whether a finished write survives a power cut."""
    folds_names: bool = False
    """Whether names that differ only by case or Unicode form are one file."""
    remote: bool = False
    """Whether each look at a file is a request to another server, for which money may be asked."""
    place: str = ""
    """Where the files are, in words for an operator."""
    unset_acl: str = ""
    """The canned ACL that GROWI gives new files here and that this storage does not; empty where there is none."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the storage: its path and its size in bytes."""

    path: str
    size: int
    modified: float | None = field(default=None, compare=False)
    """When it was last written, in seconds since 1970; None where the storage or the question does not tell."""
    copies: int = field(default=1, compare=False)
    """How many files have this name, in a listing of a storage (GridFS) that lets several: the newest is this one."""
    etag: str = field(default="", compare=False)
    """What an object store calls this very content; empty where there is no such name."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Parts of a file that was never finished, and that nobody goes on with."""

    name: str
    size: int
    modified: float | None
    """When the last part was written, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What GROWI's own backends store beside the bytes. Empty strings where unknown."""

    content_type: str = ""
    original_name: str = ""


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A whole file in memory, as it comes out of a bundle."""

    path: str
    data: bytes | memoryview
    meta: FileMeta = field(default_factory=FileMeta)


class PartialUpload(Protocol):
    """One large file on its way in; it survives the process.

    `write` appends; `sync` makes everything written so far durable and returns that offset, which is what a sender
    may rely on; `finish` makes the file visible under its path, whole, replacing one that is there; `abort` removes
    every trace and may be called twice.
    """

    @property
    def offset(self) -> int:
        """Bytes written so far (durable or not)."""

    async def write(self, data: bytes | bytearray | memoryview) -> None: ...

    async def sync(self) -> int: ...

    async def sha256(self) -> bytes | None:
        """Digest of all bytes written so far. Kept up while writing; read back only after a restart. None where what
        an earlier process has written cannot be read before `finish`."""

    async def finish(self) -> None: ...

    async def abort(self) -> None: ...

    async def close(self) -> None:
        """Release handles and keep what is there for a later `Storage.partial` with the same id."""


class Leftovers(Protocol):
    """What a storage without whole-or-nothing writes of its own collects: `registry.leftovers_of` tells which do."""

    def leftovers(self, older_than: timedelta) -> AsyncIterator[list[Leftover]]:
        """Pages of those whose last part is older. Uploads that can go on are none."""

    async def remove_leftovers(self, names: Sequence[str], older_than: timedelta) -> set[str]:
        """Remove those of these that still are leftovers; their names."""


@dataclass(frozen=True, slots=True)
class BucketName:
    """A bucket, as others of the same provider name it."""

    kind: str
    endpoint: str
    """Empty for the provider's own."""
    bucket: str


@dataclass(frozen=True, slots=True)
class Offer:
    """An object that may be copied: only while it has this ETag."""

    key: str
    size: int
    etag: str


class BucketCopies(Protocol):
    """Copies between buckets of one provider, made by the store: no byte comes here."""

    @property
    def name(self) -> BucketName:
        """Where this storage keeps its files."""

    def offer(self, file: StoredFile) -> Offer | None:
        """What another storage needs to copy a file, as it was when it was looked at; None if it cannot be copied."""

    async def copy(self, source: str, offer: Offer, path: str, meta: FileMeta | None) -> bytes | None:
        """Have the store copy an object of the bucket `source` to a path here. SHA-256 of the copy where the store
        tells it. Raises CopyRefused when it will not, and StorageUnavailable."""


class Storage(Protocol):
    """Five plain operations, four for speed, one for rollback, one probe. Safe to call concurrently."""

    @property
    def features(self) -> Features: ...

    def open(self, path: str, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """The bytes of a file from `offset` on, in chunks of READ_CHUNK. Raises FileNotFound on the first step.

        Whoever may stop before the end closes it (`aclose`): the file stays open until then.
        """

    async def write(self, path: str, chunks: AsyncIterator[bytes], size: int, meta: FileMeta | None = None) -> None:
        """Write a file: all of it or nothing, durable on return, replacing one that is there.

        Raises SizeMismatch when `chunks` has more or fewer than `size` bytes; then nothing is visible.
        """

    async def stat_many(self, paths: Sequence[str]) -> list[StoredFile | None]:
        """For each path, in order: the file, or None when there is none."""

    def list_files(self, prefix: str = "") -> AsyncIterator[list[StoredFile]]:
        """Pages of files whose path starts with `prefix`, in ascending order of path. Partial uploads and files
        that are not in GROWI's layout of this backend are left out only where their path would not be one."""

    async def delete(self, path: str) -> None:
        """Remove a file. No error when there is none."""

    async def delete_many(self, paths: Sequence[str]) -> None:
        """`delete` for each, in one go. After an error some of them may be gone."""

    async def read_many(self, paths: Sequence[str], limit: int) -> list[bytes | TransferError]:
        """Whole small files in one go, in order; an error value for each that cannot be read.

        A file of more than `limit` bytes gives SizeMismatch: it grew since it was looked at.
        """

    async def write_many(self, files: Sequence[SmallFile]) -> list[TransferError | None]:
        """Write small files in one go: each all or nothing, all that have no error are durable on return."""

    async def partial(self, path: str, upload_id: str, meta: FileMeta | None = None) -> PartialUpload:
        """Start a large file, or go on with the one that has this id (letters, digits, `-`, `_`)."""

    async def move(self, source: str, target: str) -> None:
        """Rename a file, replacing one that is there. Raises FileNotFound; twice has no other effect than once
        when the target exists and the source does not."""

    async def probe(self) -> None:
        """Write, read back and delete a small file. Raises StorageNotWritable, StorageFull or StorageUnavailable."""

    async def free_bytes(self) -> int | None:
        """Free space in bytes, or None where that has no meaning."""

    async def close(self) -> None: ...
