"""One reading of the source: the moment at which it is made, and what it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bson.timestamp import Timestamp

from growi_transfer.ledger.base import CollectionRow
from growi_transfer.mongo.client import Snapshot
from growi_transfer.protocol.progress import Noted


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading that is about to be made."""

    marker: str
    rows: Sequence[CollectionRow]
    """The collections, declared to the destination."""
    snapshot: Snapshot | None
    """The moment; None where the source has no snapshots."""
    is_catalogue_known: bool
    """Whether `rows` are what the source had at the moment; otherwise they were changing around it."""

    @property
    def moment(self) -> Timestamp | None:
        """The moment, in the source's own time."""
        return self.snapshot.at_cluster_time if self.snapshot is not None else None


@dataclass(slots=True)
class Pass:
    """What one pass found."""

    reading: Reading
    one_moment: bool = True
    """Every ordinary collection was read as it was at the reading's moment."""
    sent: int = 0
    """Ranges sent."""
    documents: int = 0
    bytes: int = 0
    """What stands in the ranges sent."""
    newer: bool = False
    """Collections were made, dropped, renamed, re-created or altered after the moment."""
    capped_sent: int = 0
    """Volumes of capped collections sent. These cannot be read at a snapshot: another pass has to find them equal."""
    restarted: set[int] = field(default_factory=set)
    settled: int = 0
    """Ranges looked at."""

    @property
    def is_one_moment(self) -> bool:
        """The destination equals one moment of the source; capped collections, the time at which they were read."""
        return self.one_moment and not self.restarted

    @property
    def is_quiet(self) -> bool:
        """Nothing had to be sent: together with the pass before it proves equality without a snapshot."""
        return self.sent == 0 and not self.newer and not self.restarted

    def told(self) -> Noted:
        """What the pass found, for the transfer's log."""
        details = {
            "sent": self.sent,
            "restarted": len(self.restarted),
            "catalogue_changed": self.newer,
            "one_moment": self.one_moment,
        }
        moment = "at one moment" if self.one_moment else "not at one moment"
        text = f"The pass has ended: {self.sent} ranges sent, read {moment}."
        if self.restarted:
            text += f" {len(self.restarted)} collections begin again."
        if self.newer:
            text += " The source's list of collections has changed meanwhile."
        return Noted("pass_ended", text, details)
