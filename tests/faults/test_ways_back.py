"""The destination's database dies at any command of a commit that fails, a rollback, a cancel or a purge. After the
next start the wiki is whole: the former one or the new one, and never something between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.fakes.nth_call import NthCall
from tests.pair.commits import fill, picture, receiver_of
from tests.pair.instances import Pair
from tests.rounds import Rounds

from growi_transfer.ledger.base import JournalRow
from growi_transfer.protocol.errors import CommitFailed, DatabaseUnavailable, NotRestorable, TransferError
from growi_transfer.protocol.machine import State
from growi_transfer.receiver.commit import FILES, Committer

COMMANDS = ("command", "admin", "find", "list_collections", "raw_batches")
MOST = {"undo": 140, "rollback": 70, "cancel": 40, "purge": 40}
"""Commands among which one is chosen; more than there are."""


async def restart(pair: Pair) -> State:
    """What a server does when it starts again; the state it finds or makes."""
    async with receiver_of(pair).running(finish_commits=True):
        [row, *_] = await pair.to_destination.ledger.list_transfers()
    return row.position.state


@pytest.mark.parametrize("way", ["undo", "rollback", "cancel", "purge"])
async def test_the_database_dies_on_a_way_back(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, rounds: Rounds, way: str
) -> None:
    fill(pair)
    pair.source.add_attachment(b"new", name="new.bin")
    receiver, former = receiver_of(pair), picture(pair)
    calls, choose = NthCall(), rounds.random(way)
    calls.watch(pair.to_destination.database, COMMANDS)
    died = 0
    for _ in range(rounds.at_most(4)):
        row = await pair.push(commit=way not in ("undo", "cancel"))
        new = picture(pair)
        number = choose.randrange(1, MOST[way])
        calls.arm(number, DatabaseUnavailable, after=choose.random() < 0.5, for_ever=True)
        with monkeypatch.context() as patch:
            if way == "undo":
                patch.setattr(Committer, "_do", failing_at_the_end(Committer._do))
            died += await ends(order(pair, way, row.id))
        calls.disarm()
        state = await restart(pair)
        what = (way, number, state)
        if way == "undo":
            assert state in (State.READY, State.COMPLETED), what
            if state is State.READY:
                assert shown(picture(pair)) == shown(former), what
                await receiver.commit(row.id, epoch=None)
            await receiver.rollback(row.id, epoch=None)
            assert picture(pair) == former, what
        elif way == "rollback":
            assert state in (State.COMPLETED, State.ROLLED_BACK), what
            assert picture(pair) == (new if state is State.COMPLETED else former), what
            await receiver.rollback(row.id, epoch=None)
            assert picture(pair) == former, what
        elif way == "cancel":
            assert state in (State.READY, State.CANCELLED), what
            await receiver.cancel(row.id, epoch=None)
            assert picture(pair) == former, what
            assert pair.destination.own_collections() == [], what
        else:
            assert picture(pair) == new, what
            await receiver.purge_expired(timedelta())
            assert pair.destination.own_collections("growi_transfer_f_") == [], what
            with pytest.raises(NotRestorable):
                await receiver.rollback(row.id, epoch=None)
            former = picture(pair)
        await receiver.purge(row.id)
    rounds.told.append(f"{way}: the database died in {died} of {rounds.at_most(4)} rounds")


def order(pair: Pair, way: str, transfer_id: str) -> Callable[[], Awaitable[Any]]:
    receiver = receiver_of(pair)
    return {
        "undo": lambda: receiver.commit(transfer_id, epoch=None),
        "rollback": lambda: receiver.rollback(transfer_id, epoch=None),
        "cancel": lambda: receiver.cancel(transfer_id, epoch=None),
        "purge": lambda: receiver.purge(transfer_id),
    }[way]


async def ends(work: Callable[[], Awaitable[Any]]) -> bool:
    """Do it; whether the database died on the way."""
    try:
        await work()
    except TransferError as error:
        return isinstance(error, DatabaseUnavailable)
    return False


def failing_at_the_end(original: Any) -> Any:
    async def do(self: Committer, transfer_id: str, step: JournalRow) -> dict[str, Any]:
        result: dict[str, Any] = await original(self, transfer_id, step)
        if step.kind == FILES:
            raise CommitFailed("no")
        return result

    return do


def shown(seen: Any) -> Any:
    """Without files that are new: those are written in place before the commit."""
    files = {path: data for path, data in seen["files"].items() if not path.endswith("new.bin")}
    return {**seen, "files": files}
