"""What a preflight found, as one value: for the web, for the command line, and for the transfer's row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from growi_transfer.mongo.collections import CollectionInfo
from growi_transfer.protocol.estimate import expected_seconds
from growi_transfer.protocol.findings import Judgement
from growi_transfer.protocol.growi_info import GrowiInfo
from growi_transfer.protocol.wire import SetUp
from growi_transfer.pusher.catalogue import Left
from growi_transfer.pusher.inspection import Attachments
from growi_transfer.pusher.line import Line

KEPT = 200
"""Collections that are kept with a transfer: the largest ones. The ledger has them all while it runs."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a preflight found. `setup` is what a transfer under these options would be."""

    judgement: Judgement
    setup: SetUp
    moving: tuple[CollectionInfo, ...]
    left: tuple[Left, ...]
    attachments: Attachments
    line: Line
    limit: int | None
    """Bytes per second that the operator allows."""
    destination: GrowiInfo
    checked_at: str
    conflicts: Mapping[str, Mapping[str, Any]] | None = None
    """Of a merge: what is in its way, by kind."""

    @property
    def documents(self) -> int:
        return sum(info.documents for info in self.moving)

    @property
    def document_bytes(self) -> int:
        return sum(info.bytes for info in self.moving)

    @property
    def bytes_per_second(self) -> float | None:
        """What the line does, or may do."""
        known = [one for one in (self.line.bytes_per_second, self.limit) if one is not None]
        return min(known) if self.line.bytes_per_second is not None else None

    @property
    def expected_seconds(self) -> float | None:
        return expected_seconds(
            documents=self.documents,
            document_bytes=self.document_bytes,
            files=self.attachments.moving.count,
            file_bytes=self.attachments.moving.bytes,
            bytes_per_second=self.bytes_per_second,
        )

    def totals(self) -> dict[str, int]:
        """For the progress bars: files that move with their bytes, and files that are skipped."""
        found = self.attachments
        skipped = found.documents - found.moving.count
        return {"files": found.moving.count, "file_bytes": found.moving.bytes, "skipped": skipped}

    def to_json(self) -> dict[str, Any]:
        """For the web and the command line. Counts of documents are the server's own until the transfer has counted."""
        return {
            **self.judgement.to_json(),
            **self.plan(len(self.moving) + len(self.left)),
            "destination": self.destination.to_json(),
        }

    def plan(self, collections: int = KEPT) -> dict[str, Any]:
        """What would move and what would not; at most so many collections of each, the largest ones."""
        moving = sorted(self.moving, key=lambda info: (-info.bytes, info.name))
        left = sorted(self.left, key=lambda one: (one.reason != "excluded", -one.bytes, one.name))
        seconds, rate = self.expected_seconds, self.bytes_per_second
        return {
            "counts": self._counts(),
            "collections": [
                {"name": info.name, "kind": info.kind, "documents": info.documents, "bytes": info.bytes}
                for info in sorted(moving[:collections], key=lambda info: info.name)
            ],
            "not_moving": [
                {"name": one.name, "reason": one.reason, "documents": one.documents, "bytes": one.bytes}
                for one in left[:collections]
            ],
            "files_not_moving": self._files_not_moving(),
            "excluded_paths": list(self.setup.excluded_paths),
            "bytes_per_second": None if rate is None else round(rate),
            "expected_seconds": None if seconds is None else round(seconds, 1),
            "checked_at": self.checked_at,
            **({} if self.conflicts is None else {"merge_conflicts": dict(self.conflicts)}),
        }

    def _counts(self) -> dict[str, int]:
        found = self.attachments
        return {
            "collections": len(self.moving),
            "documents": self.documents,
            "document_bytes": self.document_bytes,
            "index_bytes": sum(info.index_bytes for info in self.moving),
            "attachments": found.documents,
            "attachments_moving": found.moving.count,
            "attachment_bytes": found.moving.bytes,
            "attachments_missing": found.missing.count + found.illegal.count,
            "attachments_excluded": found.excluded.count,
            "attachments_excluded_bytes": found.excluded.bytes,
        }

    def _files_not_moving(self) -> list[Mapping[str, Any]]:
        found = self.attachments
        reasons = (
            ("excluded", found.excluded),
            ("attachment_file_missing", found.missing),
            ("name_illegal", found.illegal),
            ("file_without_attachment", found.orphans),
        )
        return [
            {"reason": reason, "files": tally.count, "bytes": tally.bytes, "first": list(tally.names)}
            for reason, tally in reasons
            if tally.count
        ]
