"""What a source knows about itself before a transfer, as plain values that can be judged."""

from __future__ import annotations

from dataclasses import dataclass

from growi_transfer.protocol.growi_info import AttachmentInfo


@dataclass(frozen=True, slots=True)
class UnsupportedCollection:
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class UnstorableDocument:
    collection: str
    id: str
    """The `_id` as text."""
    reason: str


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What the source knows about itself. None: not known."""

    version: str | None
    active_users: int
    file_upload_type: str
    attachment_bytes: int
    """Sum of `fileSize` over the attachment documents."""
    with_attachments: bool = True
    storage: AttachmentInfo | None = None
    """Where the attachments are, as a destination tells it of its own."""
    password_seed_fingerprint: str | None = None
    local_login_enabled: bool | None = None
    instance_id: str = ""
    is_replica_set: bool = True
    mongo_version: str = ""
    feature_compatibility_version: str = ""
    migrations: tuple[str, ...] | None = None
    unsupported_collections: tuple[UnsupportedCollection, ...] = ()
    """Those that are part of the transfer; excluded ones are left out here."""
    unknown_exclusions: tuple[str, ...] = ()
    """Collections that the operator left out, and that are not there."""
    unstorable_documents: tuple[UnstorableDocument, ...] = ()
    """The first ones."""
    unstorable_count: int = 0
    missing_files: tuple[str, ...] = ()
    """File names of attachment documents whose file is not in the source's storage, the first ones."""
    missing_file_count: int = 0
    illegal_names: tuple[str, ...] = ()
    """File names of attachment documents that are not sent, the first ones."""
    illegal_name_count: int = 0
    duplicate_names: tuple[str, ...] = ()
    """File names that more than one attachment document has, the first ones."""
    duplicate_name_count: int = 0
    orphans: tuple[str, ...] = ()
    """Paths of files in the source's storage that no attachment document names, the first ones."""
    orphan_count: int = 0
    orphan_bytes: int = 0
    other_sizes: tuple[str, ...] = ()
    """File names of attachment documents that say another size than their file has, the first ones."""
    other_size_count: int = 0
    stored_twice: tuple[str, ...] = ()
    """Paths of files of which the storage has older ones under the same name, the first ones."""
    stored_twice_count: int = 0
    older_copies: int = 0
    """How many these older ones are."""
    document_bytes: int = 0
    """Raw BSON of the documents that move."""
    document_disk_bytes: int = 0
    """What the same documents take on the source's disk."""
    index_bytes: int = 0
    file_bytes: int = 0
    """The files that move."""
    free_bytes: int | None = None
    """On the disk of the source's database."""
    merges: bool = False
    """The documents are to be merged into those of the destination."""
    clock_difference: float = 0.0
    """Seconds by which the destination's clock is ahead (negative: behind), beyond what the asking took."""
    refused_bytes: int | None = None
    """Size of a request body that something on the way to the destination refused; None when none was."""
