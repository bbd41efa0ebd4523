"""Orders that come at an awkward moment, and what changed between a proof and the next step: there is always a way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import bson
import pytest
from tests.pair.instances import Pair

from growi_transfer.ledger.base import FileRow, JournalRow, RangeRow, Role
from growi_transfer.ledger.mongo import MongoLedger
from growi_transfer.protocol.errors import (
    PeerRefused,
    PeerUnavailable,
    StateConflict,
    StorageNotWritable,
    TransferError,
)
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.wire import PutTransfer, Verify
from growi_transfer.pusher.attachments import AttachmentSender, Look
from growi_transfer.pusher.catalogue import Catalogue
from growi_transfer.pusher.options import PushOptions
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.push import Push
from growi_transfer.pusher.pusher import Pusher
from growi_transfer.receiver import importer
from growi_transfer.receiver.commit import Committer
from growi_transfer.receiver.importer import Importer
from growi_transfer.receiver.receipts import Made, Receipts
from growi_transfer.receiver.receiver import Receiver
from growi_transfer.storage.base import SmallFile


def pusher_of(pair: Pair) -> Pusher:
    assert pair.from_source.pusher is not None
    return pair.from_source.pusher


def receiver_of(pair: Pair) -> Receiver:
    assert pair.to_destination.receiver is not None
    return pair.to_destination.receiver


def fill(pair: Pair) -> None:
    pair.source.insert_raw("pages", [bson.encode({"_id": number, "s": "z" * 900}) for number in range(100)])


class Held:
    """A commit that waits before its last step until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there = asyncio.Event()
        self.go = asyncio.Event()
        original = Committer._do

        async def do(committer: Committer, transfer_id: str, step: JournalRow) -> dict[str, Any]:
            if step.kind == "files":
                self.there.set()
                await self.go.wait()
            return await original(committer, transfer_id, step)

        monkeypatch.setattr(Committer, "_do", do)


def at_first_put(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Do something once, after the preflight and before anything is read."""
    original = Peer.put_transfer
    calls: list[int] = []

    async def put(peer: Peer, transfer_id: str, body: PutTransfer) -> dict[str, Any]:
        calls.append(1)
        answer = await original(peer, transfer_id, body)
        if len(calls) == 1:
            change()
        return answer

    monkeypatch.setattr(Peer, "put_transfer", put)


async def test_a_cancel_does_not_end_a_commit_half_done(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(pair)
    held = Held(monkeypatch)
    row = await pair.push(commit=False)
    commit = asyncio.ensure_future(receiver_of(pair).commit(row.id, epoch=None))
    await held.there.wait()
    with pytest.raises(StateConflict):
        await receiver_of(pair).cancel(row.id, epoch=None)
    held.go.set()
    await commit
    assert (await pair.received(row.id)).position.state is State.COMPLETED


async def test_a_pause_does_not_disturb_a_commit(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(pair)
    held = Held(monkeypatch)
    row = await pair.push(commit=False)
    await pusher_of(pair).commit(row.id)
    await held.there.wait()
    with pytest.raises(StateConflict):
        await pusher_of(pair).pause(row.id)
    held.go.set()
    assert (await pair.wait(row.id)).position.state is State.COMPLETED


async def test_what_the_destination_has_committed_is_not_called_cancelled(pair: Pair) -> None:
    fill(pair)
    row = await pair.push(commit=False)
    await receiver_of(pair).commit(row.id, epoch=None)
    with pytest.raises(StateConflict, match="committed"):
        await pusher_of(pair).cancel(row.id)
    await pusher_of(pair).commit(row.id)
    assert (await pair.wait(row.id)).position.state is State.COMPLETED


async def test_an_index_and_a_collection_made_after_the_proof_are_proved_too(pair: Pair) -> None:
    """Also when no volume follows that would say that something is different."""
    row = await pair.push(commit=False)
    pair.source.database["pages"].create_index("s")
    pair.source.database.create_collection("empty")
    pair.source.database["empty"].create_index("t")
    await pusher_of(pair).verify(row.id)
    assert (await pair.wait(row.id)).position.state is State.READY
    await pusher_of(pair).commit(row.id)
    assert (await pair.wait(row.id)).position.state is State.COMPLETED
    for name in ("pages", "empty"):
        assert pair.destination.indexes(name) == pair.source.indexes(name), name


async def test_proving_once_more_sends_nothing_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(pair)
    pair.source.add_attachment(b"kept")
    row = await pair.push(commit=False)
    sent: list[int] = []
    original = Peer.put_volume

    async def put(peer: Peer, transfer_id: str, collection: str, number: int, parts: Any) -> dict[str, Any]:
        sent.append(number)
        return await original(peer, transfer_id, collection, number, parts)

    written: list[FileRow] = []
    put_files = MongoLedger.put_files

    async def put_rows(ledger: MongoLedger, rows: Sequence[FileRow]) -> None:
        written.extend(rows)
        await put_files(ledger, rows)

    monkeypatch.setattr(Peer, "put_volume", put)
    monkeypatch.setattr(MongoLedger, "put_files", put_rows)
    await pusher_of(pair).verify(row.id)
    assert (await pair.wait(row.id)).position.state is State.READY
    assert sent == []
    assert written == []


async def test_a_receipt_that_takes_longer_than_the_source_waits(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a million files does: the outcome is known before the destination is ready."""
    seen = asyncio.Event()
    verify, make = Peer.verify, Receipts.make

    async def ask(peer: Peer, transfer_id: str, expected: Verify) -> dict[str, Any]:
        answer = await verify(peer, transfer_id, expected.model_copy(update={"seconds": 0.02}))
        if answer["held"]["verify"]:
            seen.set()
        return answer

    async def make_late(receipts: Receipts, transfer_id: str, state: Made) -> None:
        await asyncio.wait_for(seen.wait(), 30)
        await make(receipts, transfer_id, state)

    monkeypatch.setattr(Peer, "verify", ask)
    monkeypatch.setattr(Receipts, "make", make_late)
    row = await pair.push(commit=False)
    assert row.position.state is State.READY


async def test_an_index_in_staging_that_refuses_a_document(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain indexes are made before the documents; one may be gone at the source when these are read."""
    fill(pair)
    pages = pair.source.database["pages"]
    pages.insert_one({"_id": "two lists", "x": [1, 2], "y": [1, 2]})
    pages.create_index("s")
    gone = {"v": 2, "key": {"x": 1, "y": 1}, "name": "pairs"}
    monkeypatch.setattr(importer, "early_indexes", lambda metadata, documents: [gone])
    row = await pair.push()
    assert row.position.state is State.COMPLETED
    assert pair.destination.indexes("pages") == pair.source.indexes("pages")
    assert pair.destination.database["pages"].count_documents({}) == 101


async def test_volumes_that_come_at_once_after_the_proof(pair: Pair) -> None:
    row = await pair.push(commit=False)
    received = await pair.received(row.id)
    receiver = receiver_of(pair)
    await asyncio.gather(*(receiver._admit_data(row.id, received.epoch) for _ in range(5)))
    assert (await pair.received(row.id)).position.state is State.COPYING


async def test_a_transfer_goes_on_when_an_attachment_without_file_was_removed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.source.add_attachment(b"kept")
    gone = pair.source.add_attachment(b"gone")
    at_first_put(monkeypatch, (pair.source.uploads / "attachment" / gone["fileName"]).unlink)
    row = await pair.push(accept_all=False, accept_warnings=await warnings_of(pair))
    assert row.position.state is State.FAILED
    assert row.facts["error"]["code"] == "attachments_incomplete"
    pair.source.database["attachments"].delete_one({"_id": gone["_id"]})
    await pusher_of(pair).resume(row.id, None)
    row = await pair.wait(row.id)
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert list(pair.destination.files().values()) == [b"kept"]
    assert row.facts["progress"]["files"]["failed"] == 0


async def test_consent_to_all_warnings_is_none_to_a_fault_that_comes_later(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--yes` is about what the preflight has shown: no file is left behind for another reason."""
    pair.source.add_attachment(b"kept")
    full = pair.source.add_attachment(b"does not fit")
    storage = pair.to_destination.storage
    original = storage.write_many

    async def write_many(files: Sequence[SmallFile]) -> list[TransferError | None]:
        results = await original([file for file in files if full["fileName"] not in file.path])
        return [StorageNotWritable() if full["fileName"] in file.path else results.pop(0) for file in files]

    monkeypatch.setattr(storage, "write_many", write_many)
    row = await pair.push(accept_all=True)
    assert row.position.state is State.FAILED
    assert row.facts["error"]["code"] == "attachments_incomplete"
    [failure] = row.facts["progress"]["failures"]
    assert failure["code"] == "storage_not_writable"
    monkeypatch.undo()
    await pusher_of(pair).retry(row.id)
    assert (await pair.wait(row.id)).position.state is State.COMPLETED
    assert pair.destination.files() == pair.source.files()


async def test_files_that_fail_may_stay_behind_by_the_code_of_their_fault(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.source.add_attachment(b"kept")
    gone = pair.source.add_attachment(b"gone")
    at_first_put(monkeypatch, (pair.source.uploads / "attachment" / gone["fileName"]).unlink)
    row = await pair.push(accept_all=False, accept_warnings=await warnings_of(pair))
    assert row.position.state is State.FAILED
    await pusher_of(pair).resume(row.id, None, ("storage_full",))
    assert (await pair.wait(row.id)).position.state is State.FAILED
    await pusher_of(pair).resume(row.id, None, ("attachment_file_missing",))
    row = await pair.wait(row.id)
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert list(pair.destination.files().values()) == [b"kept"]
    assert row.facts["progress"]["files"] == {"done": 1, "total": 2, "failed": 0, "skipped": 1}
    receipt = await pusher_of(pair).receipt(row.id)
    assert {"storage_full", "attachment_file_missing"} <= {
        one["code"] for one in receipt["receipt"]["accepted_warnings"]
    }
    with pytest.raises(StateConflict):
        await pusher_of(pair).resume(row.id, None, ("storage_full",))


async def warnings_of(pair: Pair) -> tuple[str, ...]:
    report = await pusher_of(pair).preflight(await pair.key(), PushOptions())
    return tuple(one["code"] for one in report["warnings"])


async def test_an_attachment_made_during_the_copy_of_a_wiki_with_a_capped_collection(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair)
    pair.source.add_attachment(b"first")
    pair.source.database.create_collection("log", capped=True, size=1 << 20)
    pair.source.database["log"].insert_one({"_id": 1})
    original = AttachmentSender.run
    passes: list[int] = []

    async def files(sender: AttachmentSender, *args: Any) -> Look:
        if not passes:
            passes.append(1)
            # The documents have been read; the files have not.
            await until_read(pair)
            pair.source.add_attachment(b"second")
        return await original(sender, *args)

    monkeypatch.setattr(AttachmentSender, "run", files)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert sorted(pair.destination.files().values()) == [b"first", b"second"]


async def until_read(pair: Pair) -> None:
    ledger = pair.from_source.ledger
    while True:
        [transfer] = await ledger.list_transfers(Role.PUSHER)
        rows = await ledger.collections(Role.PUSHER, transfer.id)
        ranges = [[one async for one in ledger.ranges(Role.PUSHER, transfer.id, row.number)] for row in rows]
        if rows and all(ranges):
            return
        await asyncio.sleep(0.02)


async def test_a_renumbering_that_was_cut_off_is_finished(pair: Pair) -> None:
    fill(pair)
    row = await pair.push(commit=False)
    ledger = pair.from_source.ledger
    catalogue = Catalogue(ledger, row.id)
    pages = next(one for one in await catalogue.rows() if one.name == "pages")
    before = await catalogue.rows()
    await catalogue.renumber(pages)
    await ledger.put_collections([pages])
    assert len(await catalogue.rows()) == len(before) + 1
    await pusher_of(pair).verify(row.id)
    row = await pair.wait(row.id)
    assert row.position.state is State.READY, row.facts.get("error")
    assert len(await catalogue.rows()) == len(before)


async def test_a_start_while_a_job_ends_is_not_lost(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(pair)
    original = Push.run
    again: list[str] = []

    async def run(push: Push) -> None:
        await original(push)
        if not again:
            # The job has seen that nothing is to be committed, and has not ended yet.
            again.append(push._id)
            await pusher_of(pair).commit(push._id)

    monkeypatch.setattr(Push, "run", run)
    row = await pair.push(commit=False)
    assert row.position.state is State.COMPLETED


async def test_an_answer_that_is_not_that_of_a_commit(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(pair)

    async def commit(peer: Peer, transfer_id: str) -> dict[str, Any]:
        return await peer.transfer(transfer_id)

    with monkeypatch.context() as patch:
        patch.setattr(Peer, "commit", commit)
        row = await pair.push(patience=1)
    assert row.position.state is State.COMMITTING
    assert row.facts["error"]["code"] == PeerUnavailable.code
    await pusher_of(pair).resume(row.id, None)
    assert (await pair.wait(row.id)).position.state is State.COMPLETED


async def test_a_cancel_waits_for_what_is_under_way(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume that is just being stored must not make its staging collection again behind the cancel."""
    fill(pair)
    entered, go_on = asyncio.Event(), asyncio.Event()
    original = Importer.put_volume

    async def slow(self: Importer, transfer_id: str, collection: str, number: int, body: bytes, **how: Any) -> RangeRow:
        entered.set()
        await go_on.wait()
        return await original(self, transfer_id, collection, number, body, **how)

    monkeypatch.setattr(Importer, "put_volume", slow)
    transfer_id = await pusher_of(pair).start(await pair.key(), PushOptions(accept_all=True))
    await entered.wait()
    cancelling = asyncio.ensure_future(receiver_of(pair).cancel(transfer_id, epoch=None))
    while (await pair.received(transfer_id)).position.state is not State.CANCELLED:
        await asyncio.sleep(0.01)
    assert not cancelling.done()
    go_on.set()
    await cancelling
    await pair.wait(transfer_id)
    assert not pair.destination.own_collections()


async def test_a_ledger_that_was_lost_has_no_older_epoch(pair: Pair) -> None:
    fill(pair)
    key = await pair.key()
    row = await pair.push(key, commit=False)
    for _ in range(2):
        await pusher_of(pair).verify(row.id)
        await pair.wait(row.id)
    assert (await pair.received(row.id)).epoch > 1
    for name in pair.source.own_collections("growi_transfer_"):
        pair.source.database[name].delete_many({"_id": {"$ne": "instance"}})
    row = await pair.push(key)
    assert row.position.state is State.COMPLETED, row.facts.get("error")


async def test_two_documents_of_one_file_both_arrive(pair: Pair) -> None:
    document = pair.source.add_attachment(b"shared")
    pair.source.database["attachments"].insert_one({**document, "_id": bson.ObjectId()})
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert pair.destination.files() == pair.source.files()
    assert pair.destination.database["attachments"].count_documents({}) == 2


async def test_a_server_that_starts_goes_on_with_all_at_the_same_time(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair)
    row = await pair.push(commit=False)
    pusher = pusher_of(pair)
    ledger = pair.from_source.ledger
    ids = [f"{number:032x}" for number in range(120)]
    for number in ids:
        await ledger.create_transfer(replace(row, id=number, position=Position(State.COPYING)))
    started: list[str] = []
    all_here = asyncio.Event()

    async def start(transfer_id: str, **_: Any) -> None:
        started.append(transfer_id)
        if len(started) == len(ids):
            all_here.set()
        await all_here.wait()  # as for the lease of a process that went silent

    monkeypatch.setattr(pusher.runner, "start", start)
    monkeypatch.setattr(pusher._keys, "key", lambda transfer_id: "key" if transfer_id in ids else None)
    async with asyncio.timeout(30):
        await pusher.go_on_with_all()
    assert sorted(started) == ids


async def test_a_server_commits_what_was_verified_and_to_be_committed_when_its_process_died(pair: Pair) -> None:
    fill(pair)
    row = await pair.push(commit=False)
    assert row.position.state is State.READY, row.facts.get("error")
    pusher = pusher_of(pair)
    await pusher.go_on_with_all()
    assert (await pair.wait(row.id)).position.state is State.READY, "nobody wanted that"
    await pusher._life.note(row.id, {"options": {**row.facts["options"], "commit": True}})
    await pusher.go_on_with_all()
    assert (await pair.wait(row.id)).position.state is State.COMPLETED


async def test_a_commit_that_another_process_has_taken_over_is_left_to_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair)

    async def superseded(self: Peer, transfer_id: str) -> dict[str, Any]:
        raise PeerRefused("Another process has taken this transfer over.", code="superseded", status=409)

    with monkeypatch.context() as patch:
        patch.setattr(Peer, "commit", superseded)
        row = await pair.push()
    assert row.position.state is State.COMMITTING
    await pusher_of(pair).proceed(row.id)
    assert (await pair.wait(row.id)).position.state is State.COMPLETED
