"""A destination whose answers are not what they should be: the transfer says so, and believes none of them."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId
from tests.pair.instances import Pair

from growi_transfer.protocol.machine import State
from growi_transfer.pusher.peer import Peer

ID = str(ObjectId())
GOOD = {"ok": True, "index_seconds": 0.1, "verify_seconds": 0.1}


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("put_volume", {"seconds": "soon"}),
        ("plan", {"missing": [1], "same_size": []}),
        ("put_bundle", {"results": [{"ok": True}]}),
        ("verify", {}),
        ("verify", {"held": {"verify": {"ok": True}}}),
        ("verify", {"held": {"verify": {**GOOD, "ok": False, "differences": [{"what": "documents"}]}}}),
    ],
)
async def test_an_answer_that_cannot_be_used_fails_the_transfer(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, method: str, answer: dict[str, Any]
) -> None:
    pair.source.database["pages"].insert_one({"path": "/"})
    pair.source.add_attachment(b"content")

    async def answered(*_: Any, **__: Any) -> dict[str, Any]:
        return answer

    monkeypatch.setattr(Peer, method, answered)
    row = await pair.push()
    assert row.position.state is State.FAILED
    assert row.facts["error"]["code"] == "peer_answer_invalid"


async def test_a_file_of_which_nothing_is_told_has_failed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.source.add_attachment(b"content")

    async def answered(*_: Any, **__: Any) -> dict[str, Any]:
        return {"results": [{"id": ID, "ok": True, "new": "of a later version"}]}

    monkeypatch.setattr(Peer, "put_bundle", answered)
    row = await pair.push()
    assert (row.position.state, row.facts["error"]["code"]) == (State.FAILED, "attachments_incomplete")


@pytest.mark.parametrize("answer", [{"transfer": {"state": "completed"}}, {"held": {"told": []}}])
async def test_what_became_of_a_commit_is_asked_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    pair.source.database["pages"].insert_one({"path": "/"})

    async def answered(*_: Any, **__: Any) -> dict[str, Any]:
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Peer, "commit", answered)
        row = await pair.push()
    assert row.position.state is State.COMMITTING, "nobody knows whether it was made"
    assert row.facts["error"]["code"] == "peer_answer_invalid"
    assert pair.from_source.pusher is not None
    await pair.from_source.pusher.resume(row.id, None)
    assert (await pair.wait(row.id)).position.state is State.COMPLETED
