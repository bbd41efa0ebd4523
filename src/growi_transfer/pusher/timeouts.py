"""How long a destination may be silent before a request is given up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeerTimeouts:
    """Seconds. There is none for a whole request: a large body takes as long as it takes."""

    connect: float = 10.0
    idle: float = 120.0
    """Without the other side taking one more piece of a body."""
    answer: float = 120.0
    """From the end of a request to the answer, and between two pieces of one."""
    commit: float = 900.0
    """The same for commit, rollback and cancel, which may have to wait for work on the database."""
    growi_import: float = 4 * 3600.0
    """The same for the archive that a GROWI takes: it answers when all of it is imported."""
