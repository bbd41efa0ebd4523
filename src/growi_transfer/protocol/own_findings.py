"""What GROWI does not look for before a transfer, and what would make one fail or surprise."""

from __future__ import annotations

import re
from collections.abc import Iterator

from growi_transfer.protocol.attachment_findings import attachment_warnings
from growi_transfer.protocol.findings import SHOWN, Finding, counted, grouped
from growi_transfer.protocol.growi_info import GrowiInfo, is_one_storage
from growi_transfer.protocol.source_facts import SourceFacts
from growi_transfer.protocol.space import space_blockers, space_warnings
from growi_transfer.protocol.wire import PROTOCOL

SOURCE_MINIMUM = (5, 0)
"""Snapshot reads outside a transaction."""
DESTINATION_MINIMUM = (5, 1)
"""collMod turns a plain index into a TTL index."""
CLOCK_SECONDS = 60
"""A greater difference of the clocks is told."""


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
        number = max(source.unstorable_count, len(source.unstorable_documents))
        yield Finding(
            "document_not_storable",
            f"{counted(number, 'document')} cannot be stored by the destination's MongoDB; the first one is {first.id}"
            f" in {first.collection}: {first.reason}",
            {
                "count": number,
                "documents": [
                    {"collection": one.collection, "id": one.id, "reason": one.reason}
                    for one in source.unstorable_documents[:SHOWN]
                ],
            },
        )
    if block is not None:
        yield from space_blockers(source, block, in_database=_in_database(destination))


def own_warnings(source: SourceFacts, destination: GrowiInfo) -> Iterator[Finding]:
    block = destination.transfer
    if block is None:
        yield Finding(
            "destination_is_growi",
            "The destination is a GROWI without growi-transfer: it replaces its data at once, without staging, and"
            " cannot roll back; it does not tell whether it stored every document.",
        )
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
    if source.unknown_exclusions:
        names = ", ".join(source.unknown_exclusions[:SHOWN])
        yield Finding(
            "excluded_collection_missing",
            f"The source has no such collections to leave out: {names}.",
            {"count": len(source.unknown_exclusions), "collections": list(source.unknown_exclusions[:SHOWN])},
        )
    if source.storage is not None and is_one_storage(source.storage, destination.attachment_info):
        yield Finding(
            "same_storage",
            "Source and destination keep their attachments in the same place of the same store: the files are there"
            " already and do not move. A wiki that deletes one of them deletes it for both.",
            {"type": source.storage.type},
        )
    yield from attachment_warnings(source)
    yield from _line_warnings(source)
    yield from space_warnings(source, block, in_database=_in_database(destination))
    if block is None:
        return
    if block.unset_acl:
        yield Finding(
            "object_acl_not_set",
            f"The destination's GROWI gives its files the ACL {block.unset_acl} (S3_OBJECT_ACL), but a transfer can set"
            " none without an access key of GROWI's own (aws:s3AccessKeyId): files will have that of the bucket.",
            {"acl": block.unset_acl},
        )
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


def _line_warnings(source: SourceFacts) -> Iterator[Finding]:
    seconds = round(source.clock_difference)
    if abs(seconds) > CLOCK_SECONDS:
        side = "ahead of" if seconds > 0 else "behind"
        yield Finding(
            "clock_difference",
            f"The destination's clock is {abs(seconds):,} seconds {side} the source's. Keys and indexes that delete by"
            " age depend on the time: set both clocks.",
            {"seconds": seconds},
        )
    if source.refused_bytes is not None:
        yield Finding(
            "line_refuses_large_bodies",
            f"Something on the way refuses a request of {grouped(source.refused_bytes)} bytes, most likely a proxy in"
            " front of the destination (nginx: client_max_body_size). The transfer may be slow, or stop at a document"
            " or file that is larger than what is let through.",
            {"bytes": source.refused_bytes},
        )


def _in_database(destination: GrowiInfo) -> bool:
    """Whether the destination keeps its attachments in its database."""
    return destination.attachment_info.type in ("gridfs", "mongodb")


def _is_older(version: str, other: str) -> bool:
    """Compares major and minor numbers; what is not known is not older."""
    return bool(version and other) and _numbers(version)[:2] < _numbers(other)[:2]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]{1,9}", version)[:3])
