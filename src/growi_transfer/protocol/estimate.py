"""How long a transfer will take, before it has begun: an estimate to plan a night with, no promise."""

from __future__ import annotations

DATABASE_BYTES = 70 << 20
"""Raw BSON per second through reading, sending, inserting and indexing, on two processors and a fast line."""
DOCUMENTS = 60_000
"""Documents per second, where they are so small that their number counts and not their size."""
VERIFY_BYTES = 250 << 20
"""Raw BSON per second when staging is read back."""
FILES = 2_500
"""Small files per second, verified and durable."""
FILE_BYTES = 150 << 20
DEFLATED = 0.4
"""What is left of documents when they are deflated, which is done on slow lines."""
DEFLATE_BELOW = 50 << 20
"""Bytes per second."""
_SETTLING = 1.0
"""Seconds of a transfer of nothing."""


def expected_seconds(
    *, documents: int, document_bytes: int, files: int, file_bytes: int, bytes_per_second: float | None
) -> float | None:
    """Seconds from the first volume to the end of the commit; None when the line was not measured.

    The constants are of a small machine (two processors), so that a larger one is faster than it was told.
    """
    if bytes_per_second is None or bytes_per_second <= 0:
        return None
    database = max(document_bytes / DATABASE_BYTES, documents / DOCUMENTS)
    attachments = max(file_bytes / FILE_BYTES, files / FILES)
    packed = document_bytes * (DEFLATED if bytes_per_second < DEFLATE_BELOW else 1.0)
    line = (packed + file_bytes) / bytes_per_second
    # Documents and files share both processors and the line; whichever is scarce sets the pace.
    return _SETTLING + max(database + attachments, line) + document_bytes / VERIFY_BYTES
