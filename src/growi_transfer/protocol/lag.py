"""How far the destination of a transfer is behind a source in use, and whether a commit is possible now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from growi_transfer.protocol.machine import RUNNING, Position, State

_OBSTACLES = {
    State.CREATED: "not_copied",
    State.CHECKED: "not_copied",
    State.COPYING: "not_verified",
    State.RECONCILING: "not_verified",
    State.INDEXING: "not_verified",
    State.VERIFYING: "not_verified",
}


@dataclass(frozen=True, slots=True)
class Lag:
    """What the pusher knows of it; the receiver cannot know."""

    as_of: str | None
    """The source's moment that staging equals, in ISO 8601; None where the source has no such moments."""
    seconds: float
    """How old that moment was when the source was looked at last."""
    documents: int
    bytes: int
    """What differed in the last pass over the source; after the commit: documents that were written since that moment,
    and so are not at the destination."""
    following: bool = False
    """The transfer goes on catching up until a commit is ordered."""


def obstacle(lag: Lag, position: Position) -> str | None:
    """Why a commit cannot be ordered now: `not_copied`, `not_verified`, or the state it is in; None when it can. One
    that follows its source takes the order at any time, and then finishes the round it is in."""
    if position.state is State.READY or (lag.following and position.state in RUNNING):
        return None
    return _OBSTACLES.get(position.state, position.state.value)


def to_json(lag: Lag | None, position: Position) -> dict[str, Any] | None:
    """The key `lag` of the public shape."""
    if lag is None:
        return None
    reason = obstacle(lag, position)
    return {
        "as_of": lag.as_of,
        "seconds": lag.seconds,
        "documents": lag.documents,
        "bytes": lag.bytes,
        "following": lag.following,
        "commit_possible": reason is None,
        "reason": reason,
    }


def from_json(value: Mapping[str, Any] | None) -> Lag | None:
    """What `to_json` gave."""
    if value is None:
        return None
    return Lag(value["as_of"], value["seconds"], value["documents"], value["bytes"], value["following"])
