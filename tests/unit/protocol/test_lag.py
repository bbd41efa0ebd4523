"""How far behind a destination is: the shape, and whether a commit can be ordered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from growi_transfer.protocol.lag import Lag, from_json, obstacle, to_json
from growi_transfer.protocol.machine import RUNNING, Position, State

LAG = Lag("2026-01-01T00:00:00+00:00", 3, 2, 100)


@pytest.mark.parametrize("state", list(State))
def test_only_a_verified_transfer_can_be_committed_at_once(state: State) -> None:
    assert (obstacle(LAG, Position(state)) is None) is (state is State.READY)


@pytest.mark.parametrize("state", list(State))
def test_one_that_follows_takes_the_order_in_every_round(state: State) -> None:
    following = replace(LAG, following=True)
    assert (obstacle(following, Position(state)) is None) is (state is State.READY or state in RUNNING)


def test_the_shape_is_the_public_one() -> None:
    assert to_json(LAG, Position(State.COPYING)) == {
        "as_of": "2026-01-01T00:00:00+00:00",
        "seconds": 3,
        "documents": 2,
        "bytes": 100,
        "following": False,
        "commit_possible": False,
        "reason": "not_verified",
    }
    assert to_json(None, Position()) is None


def test_what_was_told_is_read_back() -> None:
    assert from_json(to_json(LAG, Position(State.READY))) == LAG
    assert from_json(None) is None
