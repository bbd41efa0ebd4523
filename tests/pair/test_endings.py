"""A commit, a rollback, a cancel and a purge that are interrupted, repeated, or meet somebody else's changes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import bson
import pytest
from tests.pair.commits import Crash, fill, picture, receiver_of
from tests.pair.instances import Pair
from tests.pair.test_hostile import volume

from growi_transfer.ledger.base import JournalRow, Role
from growi_transfer.mongo import swap as swap_module
from growi_transfer.protocol.errors import CommitFailed, NotRestorable, StateConflict, Superseded
from growi_transfer.protocol.machine import State
from growi_transfer.protocol.wire import PutTransfer, SetUp, SourceInfo
from growi_transfer.receiver.commit import FILES, SWAP, Committer
from growi_transfer.receiver.file_swap import FileSwap


async def restart(pair: Pair) -> None:
    """What a server does when it starts again."""
    async with receiver_of(pair).running(finish_commits=True):
        pass


async def state_of(pair: Pair, transfer_id: str) -> State:
    return (await pair.received(transfer_id)).position.state


def failing_at_the_end(patch: pytest.MonkeyPatch) -> None:
    original = Committer._do

    async def do(self: Committer, transfer_id: str, step: JournalRow) -> dict[str, Any]:
        await original(self, transfer_id, step)
        if step.kind == FILES:
            raise CommitFailed("no")
        return {}

    patch.setattr(Committer, "_do", do)


async def test_an_undo_that_was_killed_anywhere_is_finished_and_never_taken_for_a_commit(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair)
    former = picture(pair)
    receiver = receiver_of(pair)
    row = await pair.push(commit=False)
    original = Committer._step_back
    for killed_at in (0, 3, 100):
        with monkeypatch.context() as patch:
            failing_at_the_end(patch)
            calls: list[int] = []

            async def step_back(
                self: Committer, step: JournalRow, at: int = killed_at, seen: list[int] = calls
            ) -> None:
                if len(seen) == at:
                    raise Crash
                seen.append(step.number)
                await original(self, step)

            patch.setattr(Committer, "_step_back", step_back)
            if killed_at == 100:  # after the last step back, before it is noted

                async def step(*_: object) -> None:
                    raise Crash

                patch.setattr(receiver._endings._ledger, "move_transfer", _once_committing(pair, step))
            with pytest.raises(Crash):
                await receiver.commit(row.id, epoch=None)
        assert await state_of(pair, row.id) is State.COMMITTING
        await restart(pair)
        assert await state_of(pair, row.id) is State.READY
        assert picture(pair) == former
    await receiver.commit(row.id, epoch=None)
    assert await state_of(pair, row.id) is State.COMPLETED


def _once_committing(pair: Pair, crash: Any) -> Any:
    original = pair.to_destination.ledger.move_transfer

    async def move(role: Role, transfer_id: str, expected: Any, new: Any, now: Any) -> bool:
        if expected.state is State.COMMITTING:
            await crash()
        return await original(role, transfer_id, expected, new, now)

    return move


async def test_a_collection_that_somebody_replaces_during_the_commit_stays_and_the_others_come_back(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair)
    receiver = receiver_of(pair)
    row = await pair.push(commit=False)
    former = picture(pair)
    users = pair.destination.database["users"]
    original = Committer._do

    async def do(self: Committer, transfer_id: str, step: JournalRow) -> dict[str, Any]:
        if step.kind == SWAP and step.payload["live"] == "users":
            users.drop()
            users.insert_one({"_id": "restored by hand"})
        return await original(self, transfer_id, step)

    with monkeypatch.context() as patch:
        patch.setattr(Committer, "_do", do)
        with pytest.raises(CommitFailed):
            await receiver.commit(row.id, epoch=None)
    assert await state_of(pair, row.id) is State.READY
    seen = picture(pair)
    assert [one["_id"] for one in users.find()] == ["restored by hand"]
    for mapping in (former, seen):
        mapping["documents"].pop("users")
    assert seen == former


async def test_a_rollback_that_was_killed_anywhere_is_finished_by_the_next_start(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair)
    former = picture(pair)
    receiver = receiver_of(pair)
    originals = Committer._step_back, FileSwap.restore, FileSwap.discard
    for killed_in in ("restore", "steps", "discard", "state"):
        row = await pair.push()
        # What an admin may do with his new wiki before he changes his mind.
        (pair.destination.uploads / "attachment" / "same.bin").unlink()
        pair.destination.database["pages"].drop_indexes()
        pair.destination.database["configs"].delete_many({})
        with monkeypatch.context() as patch:

            async def crash(*_: object, **__: object) -> None:
                raise Crash

            async def step_back(self: Committer, step: JournalRow) -> None:
                await originals[0](self, step)
                if step.kind == SWAP and step.payload["live"] == "pages":
                    raise Crash

            done = originals[1] if killed_in == "restore" else originals[2]

            async def then_crash(self: FileSwap, transfer_id: str, done: Any = done) -> None:
                await done(self, transfer_id)
                raise Crash

            if killed_in == "steps":
                patch.setattr(Committer, "_step_back", step_back)
            elif killed_in == "state":
                patch.setattr(pair.to_destination.ledger, "move_transfer", crash)
            else:
                patch.setattr(FileSwap, killed_in, then_crash)
            with pytest.raises(Crash):
                await receiver.rollback(row.id, epoch=None)
        with pytest.raises(StateConflict):
            await receiver.purge(row.id)
        await restart(pair)
        assert await state_of(pair, row.id) is State.ROLLED_BACK
        assert picture(pair) == former, killed_in
        await receiver.purge(row.id)
        assert not list(pair.destination.uploads.rglob("*.bin"))[1:], "nothing but the former file is left"
    assert (await pair.push()).position.state is State.COMPLETED


async def test_former_files_that_are_gone_are_told_before_anything_is_rolled_back(pair: Pair) -> None:
    fill(pair)
    receiver = receiver_of(pair)
    row = await pair.push()
    seen = picture(pair)
    for path in pair.destination.uploads.rglob("former/**/*.bin"):
        path.unlink()
    with pytest.raises(NotRestorable):
        await receiver.rollback(row.id, epoch=None)
    assert picture(pair) == seen
    assert await receiver.purge_expired(timedelta()) == [row.id]


async def test_a_purge_and_a_rollback_never_both_go_on(pair: Pair) -> None:
    fill(pair)
    former = picture(pair)
    receiver, ledger = receiver_of(pair), pair.to_destination.ledger
    row = await pair.push()
    new = picture(pair)
    results = await asyncio.gather(
        receiver.rollback(row.id, epoch=None), receiver.purge(row.id), return_exceptions=True
    )
    assert sum(isinstance(result, BaseException) for result in results) <= 1
    assert picture(pair) == (former if not isinstance(results[0], BaseException) else new)

    row = await pair.push()
    # A purge of another process that has begun, or died.
    await ledger.set_facts(Role.RECEIVER, row.id, {"purging": True}, row.updated_at)
    with pytest.raises(NotRestorable):
        await receiver.rollback(row.id, epoch=None)
    await restart(pair)
    assert (await pair.received(row.id)).facts["purged_at"]
    assert not pair.destination.own_collections("growi_transfer_f_")


async def test_a_cancel_that_was_killed_is_finished_by_the_next_start(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair)
    pair.source.add_attachment(b"new", name="new.bin")
    former = picture(pair)
    receiver = receiver_of(pair)
    row = await pair.push(commit=False)
    with monkeypatch.context() as patch:

        async def crash(*_: object) -> None:
            raise Crash

        patch.setattr(FileSwap, "discard", crash)
        with pytest.raises(Crash):
            await receiver.cancel(row.id, epoch=None)
    assert picture(pair) != former
    await restart(pair)
    assert picture(pair) == former
    assert pair.destination.own_collections() == []
    assert (await pair.push()).position.state is State.COMPLETED


async def test_two_attachments_that_name_one_file_that_is_in_the_way(pair: Pair) -> None:
    fill(pair)
    document = pair.source.add_attachment(b"theirs", name="same.bin")
    assert document["fileName"] == "same.bin"
    former = picture(pair)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert pair.destination.files()["attachment/same.bin"] == b"theirs"
    await receiver_of(pair).rollback(row.id, epoch=None)
    assert picture(pair) == former


async def test_a_stray_collection_is_told_even_after_a_crash(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(pair)
    receiver = receiver_of(pair)
    row = await pair.push(commit=False)
    original = swap_module.rename
    with monkeypatch.context() as patch:

        async def rename(database: Any, source: str, target: str) -> None:
            await original(database, source, target)
            if source == "pages" and not target.endswith(".stray"):
                pair.destination.database["pages"].insert_one({"_id": "stray"})
            if target.endswith(".stray"):
                raise Crash

        patch.setattr(swap_module, "rename", rename)
        with pytest.raises(Crash):
            await receiver.commit(row.id, epoch=None)
    await restart(pair)
    [stray] = (await pair.received(row.id)).facts["told"]["strays"]
    assert pair.destination.database[stray].find_one() == {"_id": "stray"}


async def test_a_volume_that_waited_while_its_pusher_was_superseded_is_not_written(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.source.database["pages"].insert_many([{"_id": number} for number in range(3)])
    receiver, ledger = receiver_of(pair), pair.to_destination.ledger
    row = await pair.push(commit=False)
    received = await pair.received(row.id)
    [pages] = [one for one in await ledger.collections(Role.RECEIVER, row.id) if one.name == "pages"]
    old, new = (volume(bson.encode({"_id": name}), uuid=pages.source_uuid) for name in ("old", "new"))
    inside, go_on = asyncio.Event(), asyncio.Event()
    original = ledger.get_range

    async def get_range(*arguments: Any) -> Any:
        inside.set()
        await go_on.wait()
        return await original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "get_range", get_range)
        first = asyncio.ensure_future(receiver.put_volume(row.id, "pages", 0, new, epoch=received.epoch + 1))
        await inside.wait()
        # It has passed the first look at its epoch, and waits for the volume before it.
        patch.setattr(receiver._transfers, "admit", _as_before(receiver._transfers.admit, received.epoch))
        late = asyncio.ensure_future(receiver.put_volume(row.id, "pages", 0, old, epoch=received.epoch))
        while not any(turn._waiters for turn in receiver._importer._turns.values()):
            await asyncio.sleep(0.005)
        go_on.set()
        await first
        with pytest.raises(Superseded):
            await late
    staged = pair.destination.database[pages.staging]
    assert [one["_id"] for one in staged.find()] == ["new"]


def _as_before(admit: Any, old_epoch: int) -> Any:
    """`admit`, that takes the older epoch once more, as it did before the newer one came."""
    calls = 0

    async def wrapped(transfer_id: str, epoch: int | None) -> Any:
        nonlocal calls
        calls += epoch == old_epoch
        return await admit(transfer_id, None if epoch == old_epoch and calls == 1 else epoch)

    return wrapped


async def test_an_id_that_begins_like_that_of_a_kept_transfer_cannot_get_at_what_is_kept(pair: Pair) -> None:
    fill(pair)
    receiver = receiver_of(pair)
    row = await pair.push()
    kept = pair.destination.own_collections("growi_transfer_f_")
    told = (await pair.received(row.id)).facts["told"]["kept"]
    assert sorted(one["kept_as"] for one in told) == kept
    assert {one["collection"] for one in told} == {"pages", "users", "configs", "only_here"}
    hostile = row.id[:8] + "f" * 24
    body = PutTransfer(setup=SetUp(source=SourceInfo(instance_id="e" * 32)), collections=())
    with pytest.raises(StateConflict):
        await receiver.put_transfer(hostile, body, key_id=None, epoch=1)
    await receiver.purge(row.id)
    await receiver.put_transfer(hostile, body, key_id=None, epoch=1)
