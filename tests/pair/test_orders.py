"""Two processes of one wiki: whichever is asked, the one that has the transfer does it. They share the ledger only."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.pair.instances import Pair
from tests.pair.test_steering import until

from growi_transfer import wiring
from growi_transfer.jobs import orders
from growi_transfer.ledger.base import Role
from growi_transfer.ledger.log import LEVELS
from growi_transfer.protocol.errors import KeyNotKept, OwnerSilent, PeerRefused, SetupDiffers, StateConflict
from growi_transfer.protocol.machine import State
from growi_transfer.protocol.wire import Claim, SetUp
from growi_transfer.pusher.options import PushOptions
from growi_transfer.pusher.pusher import Pusher
from growi_transfer.settings import Settings
from growi_transfer.wiring import opening, pushing

SLOW = 200_000
Open = Callable[..., contextlib.AbstractAsyncContextManager[wiring.Services]]


@pytest.fixture
def beside(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens services of the source's wiki as another process has them. `serving`: it is the server."""
    names = iter(["second", "third"])

    @contextlib.asynccontextmanager
    async def opened(*, serving: bool = False, settings: Settings | None = None) -> AsyncIterator[wiring.Services]:
        name = next(names)
        for part in (opening, pushing):
            monkeypatch.setattr(part, "process_name", lambda: name)
        async with wiring.open_services(
            settings or pair.source.settings, role="pusher", loopback_allowed=True, serving=serving
        ) as services:
            yield services

    return opened


def pusher_of(services: wiring.Services) -> Pusher:
    assert services.pusher is not None
    return services.pusher


async def begun(pair: Pair, **options: object) -> str:
    """A transfer that is slow enough to be met on its way."""
    for _ in range(4):
        pair.source.add_attachment(b"y" * 3_000_000)
    pair.source.database["pages"].insert_many([{"_id": number} for number in range(100)])
    chosen = PushOptions(**{"accept_all": True, "bandwidth": SLOW, **options})  # type: ignore[arg-type]
    transfer_id = await pusher_of(pair.from_source).start(await pair.key(), chosen)

    def in_the_middle() -> bool:
        snapshot = pair.from_source.board.snapshot(Role.PUSHER, transfer_id)
        return snapshot is not None and snapshot.documents_done > 0

    await until(in_the_middle)
    return transfer_id


async def lines(services: wiring.Services, transfer_id: str, role: Role = Role.PUSHER) -> list[str]:
    await services.board.flush()
    return [
        f"{row.event}: {row.message}" for row in await services.ledger.log(role, transfer_id, levels=LEVELS, limit=500)
    ]


async def test_another_process_pauses_tunes_and_goes_on(pair: Pair, beside: Open) -> None:
    transfer_id = await begun(pair)
    owner = pusher_of(pair.from_source).runner
    async with beside() as other:
        answer = await pusher_of(other).pause(transfer_id)
        assert answer["transfer"]["state"] == "paused"
        assert owner.job(transfer_id) is None, "it has stopped where it ran"
        again = await pusher_of(other).pause(transfer_id)
        assert again["transfer"]["state"] == "paused", "twice has one effect"
        await pusher_of(pair.from_source).proceed(transfer_id)
        await until(lambda: owner.job(transfer_id) is not None)
        await pusher_of(other).proceed(transfer_id)
        await pusher_of(other).tune(transfer_id, volumes=7, bandwidth=None)
        assert pusher_of(other).runner.job(transfer_id) is None, "it goes on where it runs"
        row = await pair.wait(transfer_id)
        assert row.position.state is State.COMPLETED, row.facts.get("error")
        assert row.facts["options"]["volumes"] == 7
        told = await lines(other, transfer_id)
    assert [line for line in told if line.startswith("asked: pause, by the command line (process ")] != []
    assert [line for line in told if line.startswith("asked: tune: volumes 7, bandwidth none, by ")] != []
    assert "state: paused" in told
    assert "state: completed" in told
    assert [line for line in told if line.startswith("pass_ended: The pass has ended: ")] != []
    there = await lines(pair.to_destination, transfer_id, Role.RECEIVER)
    assert [line for line in there if line.startswith("verified: ")] != []
    assert [line for line in there if line.startswith("commit_step: ") and line.endswith("swap pages")] != []


async def test_an_order_that_is_refused_is_marked_in_the_log(pair: Pair, beside: Open) -> None:
    transfer_id = await begun(pair)
    async with beside() as other:
        with pytest.raises(StateConflict):
            await pusher_of(other).commit(transfer_id)
    told = await lines(pair.from_source, transfer_id)
    rows = await pair.from_source.ledger.log(Role.PUSHER, transfer_id, levels=("warning",), limit=10)
    assert [line for line in told if line.startswith("asked: commit, by ")] != []
    [row] = [row for row in rows if row.event == "refused"]
    assert row.message.startswith("commit was refused: ")
    await pusher_of(pair.from_source).cancel(transfer_id)


async def test_another_process_cancels(pair: Pair, beside: Open) -> None:
    transfer_id = await begun(pair)
    async with beside() as other:
        answer = await pusher_of(other).cancel(transfer_id)
        assert answer["transfer"]["state"] == "cancelled"
    assert (await pair.received(transfer_id)).position.state is State.CANCELLED
    assert not pair.destination.own_collections()
    assert pair.destination.files() == {}


async def test_what_the_owner_refuses_is_told_as_it_said(pair: Pair, beside: Open) -> None:
    transfer_id = await begun(pair)
    async with beside() as other:
        with pytest.raises(StateConflict, match="is copying; this needs completed"):
            await pusher_of(other).rollback(transfer_id)
    assert await pusher_of(pair.from_source).pause(transfer_id)


async def test_an_owner_that_is_silent_is_not_waited_for(
    pair: Pair, beside: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "TAKE_SECONDS", 0.2)
    transfer_id = await begun(pair)
    monkeypatch.setattr(orders, "LOOK_SECONDS", 1000.0)
    async with beside() as other:
        await asyncio.sleep(orders.ANSWER_SECONDS)  # the owner's last look is over
        pair.from_source.orders._is_for_us = lambda order: False  # type: ignore[method-assign]
        with pytest.raises(OwnerSilent):
            await pusher_of(other).pause(transfer_id)
        assert await other.ledger.open_orders() == [], "it is withdrawn, and never carried out late"
    assert (await pusher_of(pair.from_source).pause(transfer_id))["transfer"]["state"] == "paused"


async def test_the_server_takes_up_what_nobody_has_and_follows_the_others(pair: Pair, beside: Open) -> None:
    async with beside(serving=True) as server:
        transfer_id = await begun(pair)

        def shown() -> State | None:
            snapshot = server.board.snapshot(Role.PUSHER, transfer_id)
            return snapshot.position.state if snapshot else None

        await until(lambda: shown() is State.COPYING)
        assert (await pusher_of(server).pause(transfer_id))["transfer"]["state"] == "paused"
        await until(lambda: shown() is State.PAUSED)
        await pusher_of(pair.from_source).tune(transfer_id, bandwidth=None)
        answer = await pair.from_source.orders.to_server(Role.PUSHER, transfer_id, "proceed", {})
        assert answer is not None
        assert pusher_of(server).runner.job(transfer_id) is not None
        await pusher_of(server).runner.wait(transfer_id)  # type: ignore[attr-defined]
        row = await pair.from_source.ledger.get_transfer(Role.PUSHER, transfer_id)
        assert row is not None
        assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert pair.destination.files() == pair.source.files()


async def test_going_on_needs_the_kept_key_and_the_same_destination(pair: Pair, beside: Open, tmp_path: Path) -> None:
    transfer_id = await begun(pair)
    pusher = pusher_of(pair.from_source)
    await pusher.pause(transfer_id)
    elsewhere = (await pair.key()).replace(pair.url, "http://127.0.0.1:9")
    with pytest.raises(SetupDiffers) as refused:
        await pusher.resume(transfer_id, elsewhere)
    assert refused.value.details == {"different": ["destination"]}
    away = pair.source.settings.model_copy(update={"data_dir": tmp_path / "another"})
    async with beside(settings=away) as other:
        with pytest.raises(KeyNotKept):
            await pusher_of(other).resume(transfer_id, None)
    newer = pair.source.settings.model_copy(update={"growi_version": "7.4.0"})
    async with beside(settings=newer) as other:
        with pytest.raises(SetupDiffers, match="another version") as refused:
            await pusher_of(other).resume(transfer_id, None)
    assert refused.value.details == {"different": ["source.version"]}
    row = await pair.from_source.ledger.get_transfer(Role.PUSHER, transfer_id)
    assert row is not None
    assert row.position.state is State.PAUSED, "nothing has changed"


async def test_a_new_key_takes_over_what_is_ready(pair: Pair) -> None:
    """The commit may be weeks away, and a key ends after half an hour without use."""
    pair.source.database["pages"].insert_one({"_id": 1})
    key = await pair.key()
    row = await pair.push(key, commit=False)
    assert row.position.state is State.READY, row.facts.get("error")
    pusher, keys = pusher_of(pair.from_source), pair.to_destination.keys
    [old] = [one for one in await keys.list() if one.claimed_by == row.id]
    await keys.revoke(old.id)
    await pusher.commit(row.id)
    assert ((await pair.wait(row.id)).facts.get("error") or {}).get("code") == "invalid_transfer_key"
    wrong = (await pair.key()).replace("__grw", "x__grw", 1)
    with pytest.raises(PeerRefused, match="Invalid transfer key"):
        await pusher.take_key(row.id, wrong)
    await pusher.take_key(row.id, await pair.key())
    if (await pair.wait(row.id)).position.state is State.READY:
        await pusher.commit(row.id)
    else:
        await pusher.proceed(row.id)
    done = await pair.wait(row.id)
    assert done.position.state is State.COMPLETED, done.facts.get("error")
    assert pair.to_destination.receiver is not None
    held = (await pair.to_destination.receiver.transfer(row.id))["held"]
    assert done.facts["rollback_until"] == held["rollback_until"] is not None


async def test_a_new_key_for_another_set_up_takes_nothing_over(pair: Pair) -> None:
    pair.source.database["pages"].insert_one({"_id": 1})
    row = await pair.push(commit=False)
    receiver = pair.to_destination.receiver
    assert receiver is not None
    issued = await pair.to_destination.keys.issue(pair.url)
    there = SetUp.model_validate_json(json.dumps((await pair.received(row.id)).setup))
    other = there.model_copy(update={"excluded_collections": ("activities",)})
    with pytest.raises(SetupDiffers) as refused:
        await receiver.claim(row.id, Claim(setup=other), key_id=issued.row.id)
    assert refused.value.details == {"different": ["excluded_collections"]}
    assert [one.claimed_by for one in await pair.to_destination.keys.list() if one.id == issued.row.id] == [None]


async def test_a_purge_leaves_no_way_back(pair: Pair) -> None:
    pair.source.database["pages"].insert_one({"_id": 1})
    pair.destination.database["pages"].insert_one({"_id": 2})
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    pusher, receiver = pusher_of(pair.from_source), pair.to_destination.receiver
    assert receiver is not None
    assert pair.destination.own_collections("growi_transfer_f_")
    assert (await receiver.transfer(row.id))["held"]["rollback_until"]
    await receiver.purge(row.id)
    assert not pair.destination.own_collections("growi_transfer_f_")
    assert (await receiver.transfer(row.id))["held"]["rollback_until"] is None
    with pytest.raises(PeerRefused) as refused:
        await pusher.rollback(row.id)
    assert refused.value.peer_code == "not_restorable"
    assert await pusher.purge_expired(timedelta(days=1)) == []
    assert await pusher.purge_expired(timedelta()) == [row.id]
    assert await pair.from_source.ledger.collections(Role.PUSHER, row.id) == []
    with pytest.raises(KeyNotKept):
        await pusher.rollback(row.id)
    assert await pusher.purge_expired(timedelta()) == []


async def test_no_secret_is_in_orders_and_logs(pair: Pair, beside: Open) -> None:
    transfer_id = await begun(pair)
    key = await pair.key()
    pusher = pusher_of(pair.from_source)
    await pusher.pause(transfer_id)
    await pusher.resume(transfer_id, key)
    async with beside() as other:
        await pusher_of(other).pause(transfer_id)
        told = "\n".join(await lines(other, transfer_id))
    assert "a new key" in told.lower()
    for name in ("growi_transfer_log", "growi_transfer_orders", "growi_transfer_transfers"):
        text = str(list(pair.source.database[name].find()))
        assert key.partition("__")[0] not in text
