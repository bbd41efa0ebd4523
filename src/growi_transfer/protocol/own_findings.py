"""What GROWI does not look for before a transfer, and what would make one fail or surprise."""

from __future__ import annotations

import re
from collections.abc import Iterator

from growi_transfer.protocol.findings import SHOWN, Finding, counted, grouped
from growi_transfer.protocol.growi_info import GrowiInfo
from growi_transfer.protocol.source_facts import SourceFacts
from growi_transfer.protocol.wire import PROTOCOL

SOURCE_MINIMUM = (5, 0)
"""Snapshot reads outside a transaction."""
DESTINATION_MINIMUM = (5, 1)
"""collMod turns a plain index into a TTL index."""


def own_blockers(source: SourceFacts, destination: GrowiInfo) -> Iterator[Finding]:
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
            f"{counted(len(source.unstorable_documents), 'document')} cannot be stored by the destination's MongoDB;"
            f" the first one is {first.id} in {first.collection}: {first.reason}",
            {
                "count": len(source.unstorable_documents),
                "documents": [
                    {"collection": one.collection, "id": one.id, "reason": one.reason}
                    for one in source.unstorable_documents[:SHOWN]
                ],
            },
        )


def own_warnings(source: SourceFacts, destination: GrowiInfo) -> Iterator[Finding]:
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
            f"The destination is not empty: {counted(counts.users, 'user')},"
            f" {counted(counts.user_groups, 'user group')} and {counted(counts.pages, 'page')} would be replaced.",
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
            f"{counted(source.missing_file_count, 'attachment')} of the source"
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
                f"The schemas differ: the destination lacks {counted(len(missing), 'migration')} of the source and has"
                f" {len(ahead)} that the source lacks. Start both GROWIs once on the same version first.",
                {"missing": missing[:SHOWN], "ahead": ahead[:SHOWN]},
            )
    if source.with_attachments and block.free_bytes is not None and block.free_bytes < source.attachment_bytes:
        yield Finding(
            "destination_space_low",
            f"The attachments have {grouped(source.attachment_bytes)} bytes, and the destination's storage has"
            f" {grouped(block.free_bytes)} bytes free.",
            {"required": source.attachment_bytes, "free": block.free_bytes},
        )


def _is_older(version: str, other: str) -> bool:
    """Compares major and minor numbers; what is not known is not older."""
    return bool(version and other) and _numbers(version)[:2] < _numbers(other)[:2]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]{1,9}", version)[:3])
