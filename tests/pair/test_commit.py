"""The commit through every crash point, and the ways back from it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import bson
import pytest
from tests.pair.commits import Crash, fill, picture, receiver_of
from tests.pair.instances import Pair

from growi_transfer.ledger.base import JournalRow, Role
from growi_transfer.protocol.errors import CommitFailed, DatabaseUnavailable, NotRestorable, TransferError
from growi_transfer.protocol.machine import State
from growi_transfer.receiver.commit import Committer


def crash_at(monkeypatch: pytest.MonkeyPatch, number: int, *, after: bool, error: BaseException) -> None:
    original = Committer._do

    async def do(self: Committer, transfer_id: str, step: JournalRow) -> dict[str, Any]:
        if step.number == number and not after:
            raise error
        result = await original(self, transfer_id, step)
        if step.number == number:
            raise error
        return result

    monkeypatch.setattr(Committer, "_do", do)


async def test_a_commit_that_was_killed_at_any_step_is_finished_once(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair)
    receiver = receiver_of(pair)
    former = picture(pair)
    row = await pair.push(commit=False)
    await receiver.commit(row.id, epoch=None)
    wanted = picture(pair)
    steps = await pair.to_destination.ledger.journal(row.id)
    assert {step.kind for step in steps} == {"drop_view", "swap", "create_view", "ttl", "rules", "files"}
    await receiver.rollback(row.id, epoch=None)
    assert picture(pair) == former
    await receiver.purge(row.id)

    for number in range(len(steps)):
        for after in (False, True):
            row = await pair.push(commit=False)
            with monkeypatch.context() as patch:
                crash_at(patch, number, after=after, error=Crash())
                with pytest.raises(Crash):
                    await receiver.commit(row.id, epoch=None)
            assert (await pair.received(row.id)).position.state is State.COMMITTING
            # What a server does when it starts again.
            async with receiver.running(finish_commits=True):
                pass
            assert (await pair.received(row.id)).position.state is State.COMPLETED
            again = picture(pair)
            assert _without_new_ids(again) == _without_new_ids(wanted), (steps[number], after)
            await receiver.rollback(row.id, epoch=None)
            assert picture(pair) == former, (steps[number], after)
            await receiver.purge(row.id)


def _without_new_ids(seen: Mapping[str, Any]) -> Mapping[str, Any]:
    """Rescued admins and settings get a new `_id` and times of their own in each commit."""
    documents = dict(seen["documents"])
    for name in ("users", "configs"):
        plain = [bson.decode(raw) for raw in documents[name]]
        for one in plain:
            for field in ("_id", "createdAt", "updatedAt"):
                one.pop(field, None)
        documents[name] = sorted(map(str, plain))
    return {**seen, "documents": documents}


async def test_a_commit_that_cannot_be_done_is_undone(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(pair)
    former = picture(pair)
    receiver = receiver_of(pair)
    row = await pair.push(commit=False)
    with monkeypatch.context() as patch:
        original = Committer._do

        async def do(self: Committer, transfer_id: str, step: JournalRow) -> dict[str, Any]:
            if step.kind == "files":
                raise CommitFailed("no")
            return await original(self, transfer_id, step)

        patch.setattr(Committer, "_do", do)
        with pytest.raises(CommitFailed):
            await receiver.commit(row.id, epoch=None)
    assert picture(pair) == former
    assert (await pair.received(row.id)).position.state is State.READY
    await receiver.commit(row.id, epoch=None)
    assert (await pair.received(row.id)).position.state is State.COMPLETED
    assert "expireAfterSeconds" in pair.destination.indexes("pages")[1]


async def test_a_database_that_is_away_leaves_the_commit_to_be_finished(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair)
    receiver = receiver_of(pair)
    row = await pair.push(commit=False)
    with monkeypatch.context() as patch:
        crash_at(patch, 2, after=True, error=DatabaseUnavailable())
        with pytest.raises(TransferError):
            await receiver.commit(row.id, epoch=None)
    assert (await pair.received(row.id)).position.state is State.COMMITTING
    await receiver.commit(row.id, epoch=None)
    assert (await pair.received(row.id)).position.state is State.COMPLETED


async def test_a_stray_write_between_the_two_renames_is_kept_and_told(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GROWI that still runs writes into a collection that has just gone aside."""
    fill(pair)
    receiver = receiver_of(pair)
    row = await pair.push(commit=False)
    from growi_transfer.mongo import swap as module

    original = module.rename
    done: list[str] = []

    async def rename(database: Any, source: str, target: str) -> None:
        await original(database, source, target)
        if source == "pages" and not done:
            done.append(target)
            pair.destination.database["pages"].insert_one({"_id": "stray"})

    monkeypatch.setattr(module, "rename", rename)
    answer = await receiver.commit(row.id, epoch=None)
    [stray] = answer["held"]["told"]["strays"]
    assert pair.destination.database[stray].find_one() == {"_id": "stray"}
    assert pair.destination.database["pages"].count_documents({}) == 50


async def test_what_a_later_tool_replaced_cannot_be_rolled_back(pair: Pair) -> None:
    fill(pair)
    receiver = receiver_of(pair)
    row = await pair.push()
    pair.destination.database.drop_collection("pages")
    pair.destination.database["pages"].insert_one({"_id": "restored by hand"})
    seen = picture(pair)
    with pytest.raises(NotRestorable):
        await receiver.rollback(row.id, epoch=None)
    assert picture(pair) == seen, "nothing was changed"


async def test_maintenance_mode_stays_until_it_is_released(pair: Pair) -> None:
    fill(pair)
    row = await pair.push()
    configs = pair.destination.database["configs"]
    assert configs.find_one({"key": "app:isMaintenanceMode"})["value"] == "true"  # type: ignore[index]
    await receiver_of(pair).release_maintenance(row.id)
    assert configs.find_one({"key": "app:isMaintenanceMode"})["value"] == "false"  # type: ignore[index]
    assert (await pair.to_destination.ledger.get_transfer(Role.RECEIVER, row.id)).facts["maintenance_released_at"]  # type: ignore[union-attr]


async def test_what_is_kept_for_rollback_goes_when_its_time_is_over(pair: Pair) -> None:
    fill(pair)
    receiver = receiver_of(pair)
    row = await pair.push()
    seen = picture(pair)
    assert await receiver.purge_expired(timedelta(days=1)) == []
    assert pair.destination.own_collections("growi_transfer_f_")
    assert await receiver.purge_expired(timedelta()) == [row.id]
    assert not pair.destination.own_collections("growi_transfer_f_")
    assert picture(pair) == seen
    assert await receiver.purge_expired(timedelta()) == []
    with pytest.raises(NotRestorable):
        await receiver.rollback(row.id, epoch=None)
