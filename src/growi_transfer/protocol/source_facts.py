"""What a source knows about itself before a transfer, as plain values that can be judged."""

from __future__ import annotations

from dataclasses import dataclass


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
    password_seed_fingerprint: str | None = None
    local_login_enabled: bool | None = None
    instance_id: str = ""
    is_replica_set: bool = True
    mongo_version: str = ""
    feature_compatibility_version: str = ""
    migrations: tuple[str, ...] | None = None
    unsupported_collections: tuple[UnsupportedCollection, ...] = ()
    """Those that are part of the transfer; excluded ones are left out here."""
    unstorable_documents: tuple[UnstorableDocument, ...] = ()
    missing_files: tuple[str, ...] = ()
    """File names of attachment documents whose file is not in the source's storage, the first ones."""
    missing_file_count: int = 0
