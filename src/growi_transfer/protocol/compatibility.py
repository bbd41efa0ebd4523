"""Whether a transfer can be made: facts of both sides in, blockers and warnings out.

First come GROWI's own findings, in GROWI's order, with GROWI's codes, texts and detail names, because its pages and
scripts know them; then ours. A blocker stops a transfer; a warning has to be accepted. One finding never hides another.
What a side does not say (None) is judged only where nothing else would be safe.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from growi_transfer.protocol.growi_info import GrowiInfo
from growi_transfer.protocol.wire import PROTOCOL

SOURCE_MINIMUM = (5, 0)
"""Snapshot reads outside a transaction."""
DESTINATION_MINIMUM = (5, 1)
"""collMod turns a plain index into a TTL index."""
SHOWN = 20
"""Names listed in one finding; the count is always of all."""


@dataclass(frozen=True, slots=True)
class Finding:
    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON values. Never a secret, an e-mail address or a person's name."""

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "details": dict(self.details)}


@dataclass(frozen=True, slots=True)
class Judgement:
    blockers: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()

    @property
    def reason(self) -> str | None:
        """GROWI's one reason: the message of the first blocker."""
        return self.blockers[0].message if self.blockers else None

    def unaccepted(self, accepted: Sequence[str]) -> tuple[Finding, ...]:
        """Warnings whose code is not among `accepted`."""
        return tuple(warning for warning in self.warnings if warning.code not in accepted)

    def to_json(self) -> dict[str, Any]:
        return {
            "blockers": [finding.to_json() for finding in self.blockers],
            "warnings": [finding.to_json() for finding in self.warnings],
        }


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


def judge(source: SourceFacts, destination: GrowiInfo) -> Judgement:
    """Everything that speaks against this transfer."""
    return Judgement(
        (*_growi_blockers(source, destination), *_own_blockers(source, destination)),
        (*_growi_warnings(source, destination), *_own_warnings(source, destination)),
    )


def _growi_blockers(source: SourceFacts, destination: GrowiInfo) -> Iterator[Finding]:
    if source.version is not None and source.version != destination.version:
        yield Finding(
            "version_mismatch",
            f"GROWI versions mismatch. src GROWI: {source.version} / dest GROWI: {destination.version}.",
            {"src": source.version, "dest": destination.version},
        )
    users = destination.user_upper_limit
    if users is not None and users < source.active_users:
        yield Finding(
            "user_upper_limit",
            f"The number of active users ({source.active_users} users) exceeds the limit of the destination GROWI"
            f" (up to {_plain(users)} users).",
            {"activeUsers": source.active_users, "limit": users},
        )
    if not source.with_attachments:
        return
    if destination.file_upload_disabled:
        yield Finding(
            "file_upload_not_configured",
            "The file upload setting is disabled in the destination GROWI.",
            {"side": "dest"},
        )
    if source.file_upload_type == "none":
        yield Finding("file_upload_not_configured", "File upload is not configured for src GROWI.", {"side": "src"})
    if destination.attachment_info.type == "none" and not destination.file_upload_disabled:
        yield Finding("file_upload_not_configured", "File upload is not configured for dest GROWI.", {"side": "dest"})
    if not destination.attachment_info.writable:
        yield Finding("destination_storage_not_writable", "The storage of the destination GROWI is not writable.")
    total = destination.file_upload_total_limit
    if total is not None and total < source.attachment_bytes:
        yield Finding(
            "file_upload_total_limit",
            "The total file size of attachments exceeds the file upload limit of the destination GROWI."
            f" Requires {_grouped(source.attachment_bytes)} bytes, but got {_grouped(total)} bytes.",
            {"required": source.attachment_bytes, "limit": total},
        )


def _own_blockers(source: SourceFacts, destination: GrowiInfo) -> Iterator[Finding]:
    block = destination.transfer
    if block is not None:
        if block.protocol != PROTOCOL:
            yield Finding(
                "protocol_unsupported",
                f"The destination speaks version {block.protocol} of the transfer protocol, this side version"
                f" {PROTOCOL}. Install the same version of growi-transfer on both sides.",
                {"source": PROTOCOL, "destination": block.protocol},
            )
        if source.instance_id and source.instance_id == block.instance_id:
            yield Finding(
                "same_instance",
                "The key was issued by this very instance: source and destination are the same database.",
            )
    versions = (
        ("source", source.mongo_version, SOURCE_MINIMUM),
        ("destination", block.mongo_version if block else "", DESTINATION_MINIMUM),
    )
    for side, version, minimum in versions:
        needed = ".".join(map(str, minimum))
        if version and _numbers(version) < minimum:
            yield Finding(
                "server_version_too_old",
                f"The {side}'s MongoDB {version} is too old; {needed} or later is needed.",
                {"side": side, "version": version, "minimum": needed},
            )
    if source.unsupported_collections:
        kinds = ", ".join(f"{one.name} ({one.kind})" for one in source.unsupported_collections[:SHOWN])
        yield Finding(
            "collection_kind_unsupported",
            f"Collections of these kinds cannot be moved: {kinds}. Exclude them to move the others.",
            {
                "count": len(source.unsupported_collections),
                "collections": [{"name": one.name, "kind": one.kind} for one in source.unsupported_collections[:SHOWN]],
            },
        )
    if source.unstorable_documents:
        first = source.unstorable_documents[0]
        yield Finding(
            "document_not_storable",
            f"{_count(len(source.unstorable_documents), 'document')} cannot be stored by the destination's MongoDB;"
            f" the first one is {first.id} in {first.collection}: {first.reason}",
            {
                "count": len(source.unstorable_documents),
                "documents": [
                    {"collection": one.collection, "id": one.id, "reason": one.reason}
                    for one in source.unstorable_documents[:SHOWN]
                ],
            },
        )


def _growi_warnings(source: SourceFacts, destination: GrowiInfo) -> Iterator[Finding]:
    seeds = (source.password_seed_fingerprint, destination.password_seed_fingerprint)
    if None not in seeds and seeds[0] != seeds[1]:
        yield Finding(
            "password_seed_mismatch",
            "PASSWORD_SEED differs: nobody of the source can log in with a password at the destination until it is"
            " set to the source's value there.",
        )
    if destination.loginable_admin_count == 0:
        yield Finding(
            "no_loginable_admin",
            "The destination has no active admin with a password who could be kept; after the transfer only accounts"
            " of the source can log in.",
        )
    if destination.session_store_supports_enumeration is False:
        yield Finding(
            "sessions_not_invalidatable",
            "The destination cannot end the sessions of users who are replaced; they stay logged in until their"
            " sessions expire.",
        )
    if source.local_login_enabled is False:
        yield Finding(
            "local_auth_disabled_at_source",
            "Log-in with a password is disabled at the source, and so it will be at the destination: admins of the"
            " destination who are kept cannot log in with their passwords.",
        )


def _own_warnings(source: SourceFacts, destination: GrowiInfo) -> Iterator[Finding]:
    block = destination.transfer
    if source.version is None:
        yield Finding(
            "version_unknown",
            f"The source's GROWI version is not known, so it cannot be compared with the destination's"
            f" {destination.version}. Set GROWI_VERSION to have it compared.",
            {"dest": destination.version},
        )
    if source.password_seed_fingerprint is None or destination.password_seed_fingerprint is None:
        side = "source" if source.password_seed_fingerprint is None else "destination"
        yield Finding(
            "password_seed_unknown",
            f"The {side} does not tell the fingerprint of its PASSWORD_SEED; if the two differ, nobody can log in with"
            " a password at the destination.",
            {"side": side},
        )
    counts = destination.destination_counts
    if counts is not None and (counts.users or counts.user_groups or counts.pages):
        yield Finding(
            "destination_not_empty",
            f"The destination is not empty: {_count(counts.users, 'user')}, {_count(counts.user_groups, 'user group')}"
            f" and {_count(counts.pages, 'page')} would be replaced.",
            {"users": counts.users, "userGroups": counts.user_groups, "pages": counts.pages},
        )
    if not source.is_replica_set:
        yield Finding(
            "source_not_replica_set",
            "The source's MongoDB is not a replica set, so there is no common point in time to read it at. It is read"
            " until two passes agree; nobody should write in the wiki meanwhile.",
        )
    if source.with_attachments and source.missing_file_count:
        named = ", ".join(source.missing_files[:SHOWN])
        yield Finding(
            "attachment_file_missing",
            f"{_count(source.missing_file_count, 'attachment')} of the source"
            f" {'has' if source.missing_file_count == 1 else 'have'} no file in its storage and will be skipped"
            + (f": {named}" if named else "")
            + ("." if source.missing_file_count <= SHOWN else ", ..."),
            {"count": source.missing_file_count, "files": list(source.missing_files[:SHOWN])},
        )
    if block is None:
        return
    if _is_older(block.mongo_version, source.mongo_version):
        yield Finding(
            "server_version_older",
            f"The destination's MongoDB {block.mongo_version} is older than the source's {source.mongo_version};"
            " collection options or indexes it does not know would be refused.",
            {"source": source.mongo_version, "destination": block.mongo_version},
        )
    elif _is_older(block.feature_compatibility_version, source.feature_compatibility_version):
        yield Finding(
            "feature_compatibility_version_older",
            f"The destination's MongoDB works at feature compatibility version {block.feature_compatibility_version},"
            f" the source's at {source.feature_compatibility_version}.",
            {
                "source": source.feature_compatibility_version,
                "destination": block.feature_compatibility_version,
            },
        )
    if block.migrations is not None and source.migrations is not None:
        missing = sorted(set(source.migrations) - set(block.migrations))
        ahead = sorted(set(block.migrations) - set(source.migrations))
        if missing or ahead:
            yield Finding(
                "migrations_differ",
                f"The schemas differ: the destination lacks {_count(len(missing), 'migration')} of the source and has"
                f" {len(ahead)} that the source lacks. Start both GROWIs once on the same version first.",
                {"missing": missing[:SHOWN], "ahead": ahead[:SHOWN]},
            )
    if source.with_attachments and block.free_bytes is not None and block.free_bytes < source.attachment_bytes:
        yield Finding(
            "destination_space_low",
            f"The attachments have {_grouped(source.attachment_bytes)} bytes, and the destination's storage has"
            f" {_grouped(block.free_bytes)} bytes free.",
            {"required": source.attachment_bytes, "free": block.free_bytes},
        )


def _is_older(version: str, other: str) -> bool:
    """Compares major and minor numbers; what is not known is not older."""
    return bool(version and other) and _numbers(version)[:2] < _numbers(other)[:2]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]{1,9}", version)[:3])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _plain(number: int | float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _grouped(number: int | float) -> str:
    """As JavaScript's `toLocaleString` in English: groups of three digits, at most three decimals."""
    return f"{number:,.3f}".rstrip("0").rstrip(".") if isinstance(number, float) else f"{number:,}"
