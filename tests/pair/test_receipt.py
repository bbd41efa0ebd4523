"""The receipt of a transfer between two instances: its versions, both marks, and the check of it later."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from tests.pair.commits import fill, receiver_of
from tests.pair.instances import Pair

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.errors import PeerRefused, ReceiptInvalid, ReceiptNotFound
from growi_transfer.protocol.machine import State
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.pusher import Pusher


def pusher_of(pair: Pair) -> Pusher:
    assert pair.from_source.pusher is not None
    return pair.from_source.pusher


async def test_both_sides_keep_one_receipt_and_each_can_check_it(pair: Pair) -> None:
    fill(pair)
    pair.source.database.create_collection("log", capped=True, size=100_000)
    pair.source.database["log"].insert_many([{"n": number} for number in range(20)])
    pair.source.database["configs"].insert_one({"key": "aws:secret", "value": '"never in a receipt"'})
    missing = pair.source.add_attachment(b"gone", name="gone.bin")
    (pair.source.uploads / "attachment" / missing["fileName"]).unlink()
    row = await pair.push(commit=False)
    assert row.position.state is State.READY, row.facts.get("error")
    ready = await pusher_of(pair).receipt(row.id)
    assert ready == await receiver_of(pair).receipt(row.id)
    told = ready["receipt"]
    assert (told["state"], told["version"], told["final"]) == ("ready", 1, False)
    assert [mark["role"] for mark in ready["signatures"]] == ["receiver", "pusher"]
    by_name = {one["name"]: one for one in told["collections"]}
    assert by_name["pages"]["documents"] == 50
    assert by_name["pages"]["indexes"] == ["at_1"]
    assert by_name["log"]["volumes"] == [20]
    assert told["attachments"]["files"] == 1
    assert told["skipped"] == [{"item": "attachment/gone.bin", "reason": "attachment_file_missing", "bytes": 0}]
    assert "attachment_file_missing" in [one["code"] for one in told["accepted_warnings"]]
    assert told["source"]["instance_id"] != told["destination"]["instance_id"]

    # While it is ready, staging is what is read; the source reads its own.
    here, there = pair.from_source.recheck, pair.to_destination.recheck
    for side in (here, there):
        verdict = await side.check(orjson.dumps(ready), data=True)
        assert verdict["ok"], verdict
        assert verdict["data"]["attachments"] == 1
    assert (await here.check(orjson.dumps(ready)))["signatures"] == {"receiver": "not_ours", "pusher": "good"}

    await receiver_of(pair).commit(row.id, epoch=None)
    final = await receiver_of(pair).receipt(row.id)
    assert (final["receipt"]["state"], final["receipt"]["version"], final["receipt"]["final"]) == ("completed", 2, True)
    assert final["receipt"]["rewritten"]
    assert final["receipt"]["times"]["committed_at"]
    assert "never in a receipt" not in json.dumps(final)
    verdict = await there.check(orjson.dumps(final), data=True)
    assert verdict["ok"], "GROWI's rules are part of what the receipt says"
    # The destination's admin committed; the source has it from there, and signs that version too.
    await pusher_of(pair).commit(row.id)
    await pair.wait(row.id)
    assert await pusher_of(pair).receipt(row.id) == await receiver_of(pair).receipt(row.id)

    pair.destination.database["pages"].insert_one({"_id": "new page"})
    pair.destination.database["users"].create_index("late")
    (pair.destination.uploads / "attachment" / "same.bin").write_bytes(b"ThEiRs")
    verdict = await there.check(orjson.dumps(final), data=True)
    assert not verdict["ok"]
    assert verdict["signatures"]["receiver"] == "good", "changed data are no fault of the signature"
    assert verdict["data"]["collections_changed"] == [
        {"collection": "pages", "what": "documents", "documents": 50, "documents_now": 51},
        {"collection": "users", "what": "definition"},
    ]
    assert verdict["data"]["attachments_changed"] == ["attachment/same.bin"]

    pair.destination.database["users"].drop_index("late_1")
    await pusher_of(pair).rollback(row.id)
    back = await pusher_of(pair).receipt(row.id)
    assert (back["receipt"]["state"], back["receipt"]["version"]) == ("rolled_back", 3)
    assert back["receipt"]["times"]["rolled_back_at"]
    verdict = await there.check(orjson.dumps(final))
    assert verdict["ok"]
    assert verdict["newest_version"] == 3
    with pytest.raises(ReceiptInvalid, match="rolled back now"):
        await there.check(orjson.dumps(back), data=True)
    # What is kept for a rollback may go; the receipt stays.
    await receiver_of(pair).purge(row.id)
    await pusher_of(pair).purge(row.id)
    assert await receiver_of(pair).receipt(row.id) == back
    assert await pusher_of(pair).receipt(row.id) == back


async def test_a_receipt_that_was_changed_or_is_of_others_is_refused(pair: Pair) -> None:
    pair.source.database["pages"].insert_one({"_id": 1})
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    document = await receiver_of(pair).receipt(row.id)
    check = pair.to_destination.recheck.check
    assert (await check(orjson.dumps(document)))["ok"]
    changes: list[Any] = [
        lambda told: told["receipt"].update(skipped_files=1),
        lambda told: told["receipt"]["collections"][0].update(documents=2),
        lambda told: told["signatures"][0].update(value="0" * 64),
        # The mark of one side shown as that of the other.
        lambda told: told.update(signatures=[{**told["signatures"][0], "role": "pusher"}]),
    ]
    for change in changes:
        forged = orjson.loads(orjson.dumps(document))
        change(forged)
        with pytest.raises(ReceiptInvalid, match="changed after"):
            await check(orjson.dumps(forged))
    twice = {**document, "signatures": document["signatures"][:1] * 2}
    for body in (
        orjson.dumps(twice),
        b"",
        b"{}",
        b"[1]",
        orjson.dumps({**document, "more": 1}),
        orjson.dumps(document["receipt"]),
    ):
        with pytest.raises(ReceiptInvalid, match="not a receipt"):
            await check(body)
    foreign = orjson.loads(orjson.dumps(document))
    for mark in foreign["signatures"]:
        mark["instance_id"] = "f" * 32
    with pytest.raises(ReceiptInvalid, match="did not sign"):
        await check(orjson.dumps(foreign))


async def test_there_is_no_receipt_before_ready_and_a_lost_answer_does_not_undo_a_commit(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.source.database["pages"].insert_one({"_id": 1})
    row = await pair.push(commit=False)
    ledger = pair.to_destination.ledger
    await receiver_of(pair)._admit_data(row.id, (await pair.received(row.id)).epoch)
    with pytest.raises(ReceiptNotFound):
        await receiver_of(pair).receipt(row.id)
    assert await ledger.last_receipt(Role.RECEIVER, row.id) is not None, "an older version is kept, and not shown"
    await pusher_of(pair).verify(row.id)
    assert (await pair.wait(row.id)).position.state is State.READY
    assert (await pusher_of(pair).receipt(row.id))["receipt"]["version"] == 2

    async def lost(self: Peer, transfer_id: str) -> dict[str, Any]:
        raise PeerRefused("lost", code="internal_error", status=500)

    with monkeypatch.context() as patch:
        patch.setattr(Peer, "receipt", lost)
        await pusher_of(pair).commit(row.id)
        row = await pair.wait(row.id)
        assert row.position.state is State.COMPLETED, row.facts.get("error")
        assert (await pusher_of(pair).receipt(row.id))["receipt"]["state"] == "ready", "what is kept here"
    assert (await pusher_of(pair).receipt(row.id))["receipt"]["state"] == "completed"


async def test_a_receipt_that_says_other_than_what_was_sent_is_not_signed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.source.database["pages"].insert_one({"_id": 1})
    original = Peer.receipt

    async def lying(self: Peer, transfer_id: str) -> dict[str, Any]:
        answer = await original(self, transfer_id)
        answer["receipt"]["collections"][0]["documents"] = 7
        return answer

    monkeypatch.setattr(Peer, "receipt", lying)
    row = await pair.push()
    assert row.position.state is not State.COMPLETED
    assert row.facts["error"]["code"] == "verification_failed"
    assert await pair.from_source.ledger.last_receipt(Role.PUSHER, row.id) is None
