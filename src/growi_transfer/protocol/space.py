"""Whether there is room for a transfer: bytes that are needed against bytes that are free, by disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from growi_transfer.protocol.findings import Finding, grouped
from growi_transfer.protocol.growi_info import TransferBlock
from growi_transfer.protocol.source_facts import SourceFacts

SPARE = 10
"""What is needed, and one tenth of it more, should be free."""
SAME_DISK_BYTES = 64 << 20
"""Two disks whose free space differs by less are taken for one."""
SOURCE_BYTES = 256 << 20
"""The source writes its ledger only: some hundred bytes for each range and each file."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes for one thing. `least` is what it takes however well the server compresses."""

    what: str
    """`database`, `attachments`, or `database and attachments` where both are on one disk."""
    least: int
    usual: int
    free: int


def needs(source: SourceFacts, block: TransferBlock, *, in_database: bool) -> list[Need]:
    """What the destination needs, where it told what is free.

    Staging stands beside the data of today: all documents as they are, and their indexes. The least is what they take
    at the source, compressed. Attachments that the destination has already may be these very files: they are taken off
    the least. A merge puts copies of the destination's own collections beside all that, but only of those that are in
    both wikis, so the least is without them. `in_database`: the destination keeps its attachments in GridFS.
    """
    documents = Need(
        "database",
        source.document_disk_bytes + source.index_bytes,
        source.document_bytes + source.index_bytes + ((block.database_bytes or 0) if source.merges else 0),
        block.database_free_bytes or 0,
    )
    files = Need(
        "attachments",
        max(0, source.file_bytes - (block.attachment_bytes or 0)),
        source.file_bytes,
        block.free_bytes or 0,
    )
    has_documents, has_files = block.database_free_bytes is not None, block.free_bytes is not None
    if has_documents and has_files and (in_database or abs(documents.free - files.free) < SAME_DISK_BYTES):
        free = min(documents.free, files.free)
        both = Need("database and attachments", documents.least + files.least, documents.usual + files.usual, free)
        return [both]
    return [need for need, is_known in ((documents, has_documents), (files, has_files)) if is_known]


def space_blockers(source: SourceFacts, block: TransferBlock, *, in_database: bool) -> Iterator[Finding]:
    """Disks that are too small even for the least."""
    for need in needs(source, block, in_database=in_database):
        if need.free < need.least:
            yield Finding(
                "destination_space_insufficient",
                f"The destination has {grouped(need.free)} bytes free for its {need.what}; at least"
                f" {grouped(need.least)} bytes are needed.",
                {"what": need.what, "required": need.least, "free": need.free},
            )


def space_warnings(source: SourceFacts, block: TransferBlock | None, *, in_database: bool) -> Iterator[Finding]:
    """Disks that may turn out too small, on either side."""
    for need in needs(source, block, in_database=in_database) if block is not None else ():
        if need.least <= need.free < need.usual + need.usual // SPARE:
            yield Finding(
                "destination_space_low",
                f"The destination has {grouped(need.free)} bytes free for its {need.what}; up to"
                f" {grouped(need.usual)} bytes are needed.",
                {"what": need.what, "required": need.usual, "free": need.free},
            )
    if source.free_bytes is not None and source.free_bytes < SOURCE_BYTES:
        yield Finding(
            "source_space_low",
            f"The source's database disk has {grouped(source.free_bytes)} bytes free; the ledger of a transfer is"
            " written there.",
            {"required": SOURCE_BYTES, "free": source.free_bytes},
        )
