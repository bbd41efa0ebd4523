"""Answers of a peer as shapes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.answers import BundleResults, Commit, Planned, Proof
from growi_transfer.protocol.errors import PeerRefused
from growi_transfer.protocol.wire import Shape
from growi_transfer.pusher.answers import checked

ID = "0" * 24
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@pytest.mark.parametrize(
    ("shape", "answer"),
    [
        (Planned, {"missing": []}),
        (Planned, {"missing": ["../x"], "same_size": []}),
        (Planned, {"missing": [ID] * 2001, "same_size": []}),
        (BundleResults, {}),
        (BundleResults, {"results": [{"ok": True}]}),
        (BundleResults, {"results": [{"id": ID, "ok": 1}]}),
        (Proof, {}),
        (Proof, {"held": {"error": {"code": "x"}}}),
        (Proof, {"held": {"verify": {"ok": True, "index_seconds": -1, "verify_seconds": 0}}}),
        (Proof, {"held": {"verify": {"ok": True, "index_seconds": 1, "verify_seconds": "0"}}}),
        (Commit, {"transfer": {"state": "completed"}}),
        (Commit, {"held": {"told": []}}),
    ],
)
def test_what_cannot_be_used_is_refused(shape: type[Shape], answer: dict[str, Any]) -> None:
    with pytest.raises(PeerRefused) as raised:
        checked(shape, answer, "https://there")
    assert raised.value.peer_code == "peer_answer_invalid"


def test_what_a_later_version_tells_is_passed_over() -> None:
    answer = {"held": {"verify": {"ok": True, "index_seconds": 1, "verify_seconds": 2.5, "x": 1}, "y": 2}, "z": 3}
    outcome = checked(Proof, answer, "https://there").held.verify
    assert outcome is not None
    assert (outcome.ok, outcome.index_seconds, outcome.verify_seconds) == (True, 1.0, 2.5)


@given(st.dictionaries(st.sampled_from(["held", "transfer", "results", "missing", "same_size"]), JSON))
def test_nothing_else_comes_of_any_answer(answer: dict[str, Any]) -> None:
    for shape in (Planned, BundleResults, Proof, Commit):
        try:
            checked(shape, answer, "https://there")
        except PeerRefused:
            continue
