"""What a comparison finds."""

from __future__ import annotations

from dataclasses import dataclass, field

SHOWN = 20


@dataclass(slots=True)
class Comparison:
    """Counts of what was compared at the source, and every difference."""

    collections: int = 0
    indexes: int = 0
    documents: int = 0
    document_bytes: int = 0
    attachments: int = 0
    attachment_bytes: int = 0
    rewritten: int = 0
    """Differences that the transfer told, each found to be exactly as told."""
    mismatch_count: int = 0
    mismatches: list[str] = field(default_factory=list)
    """The first 20, for people."""

    @property
    def identical(self) -> bool:
        return self.mismatch_count == 0

    def differs(self, text: str) -> None:
        self.mismatch_count += 1
        if len(self.mismatches) < SHOWN:
            self.mismatches.append(text)
