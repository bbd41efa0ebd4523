"""What is wrong with the attachments of a source: documents and files that do not fit together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from growi_transfer.protocol.findings import SHOWN, Finding, counted, grouped
from growi_transfer.protocol.source_facts import SourceFacts


def attachment_warnings(source: SourceFacts) -> Iterator[Finding]:
    """Attachments and files that do not fit together, and names that stand for two of either."""
    if source.with_attachments and source.missing_file_count:
        has = "has" if source.missing_file_count == 1 else "have"
        yield Finding(
            "attachment_file_missing",
            f"{counted(source.missing_file_count, 'attachment')} of the source {has} no file in its storage and will"
            f" be skipped{_named(source.missing_files, source.missing_file_count)}",
            {"count": source.missing_file_count, "files": list(source.missing_files[:SHOWN])},
        )
    if source.illegal_name_count:
        has = "has a name" if source.illegal_name_count == 1 else "have names"
        yield Finding(
            "name_illegal",
            f"{counted(source.illegal_name_count, 'attachment')} of the source {has} that GROWI does not make, and will"
            f" be skipped{_named(source.illegal_names, source.illegal_name_count)}",
            {"count": source.illegal_name_count, "files": list(source.illegal_names[:SHOWN])},
        )
    if source.duplicate_name_count:
        stand = "stands" if source.duplicate_name_count == 1 else "stand"
        yield Finding(
            "attachment_name_duplicate",
            f"{counted(source.duplicate_name_count, 'file name')} {stand} in more than one attachment; they share one"
            f" file{_named(source.duplicate_names, source.duplicate_name_count)}",
            {"count": source.duplicate_name_count, "files": list(source.duplicate_names[:SHOWN])},
        )
    if source.other_size_count:
        say = "says" if source.other_size_count == 1 else "say"
        yield Finding(
            "attachment_size_differs",
            f"{counted(source.other_size_count, 'attachment')} of the source {say} another size than the file has, a"
            " fault in GROWI's data. The files move as they are"
            f"{_named(source.other_sizes, source.other_size_count)}",
            {"count": source.other_size_count, "files": list(source.other_sizes[:SHOWN])},
        )
    if source.stored_twice_count:
        is_there = "is" if source.stored_twice_count == 1 else "are"
        yield Finding(
            "file_stored_twice",
            f"{counted(source.stored_twice_count, 'file')} of the source {is_there} in GridFS more than once under the"
            f" same name. The newest of each moves, {counted(source.older_copies, 'older one')} will not"
            f"{_named(source.stored_twice, source.stored_twice_count)}",
            {
                "count": source.stored_twice_count,
                "older": source.older_copies,
                "files": list(source.stored_twice[:SHOWN]),
            },
        )
    if source.orphan_count:
        belong = "belongs" if source.orphan_count == 1 else "belong"
        yield Finding(
            "file_without_attachment",
            f"{counted(source.orphan_count, 'file')} of {grouped(source.orphan_bytes)} bytes in the source's storage"
            f" {belong} to no attachment and will not move{_named(source.orphans, source.orphan_count)}",
            {"count": source.orphan_count, "bytes": source.orphan_bytes, "files": list(source.orphans[:SHOWN])},
        )


def _named(names: Sequence[str], number: int) -> str:
    """The first few names, for a sentence; the details have more."""
    if not names:
        return "."
    return f": {', '.join(names[:3])}" + ("." if number <= min(3, len(names)) else ", ...")
