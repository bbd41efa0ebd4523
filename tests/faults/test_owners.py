"""A key that ends in the middle, and two pushers of one transfer: exactly one goes on, and nothing is lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.faults.small_wiki import begin_anew, fill, leftovers, side_of, small_pieces
from tests.pair.instances import Pair

from growi_transfer import wiring
from growi_transfer.demo.compare import compare
from growi_transfer.ledger.base import Role
from growi_transfer.protocol.errors import PeerRefused, Superseded, TransferOwned, code_of
from growi_transfer.protocol.machine import State
from growi_transfer.pusher.options import PushOptions
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.pusher import Pusher
from growi_transfer.receiver.keys import IDLE


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch)


class Volumes:
    """What is sent under which epoch. The volume of this number, counted from 1, waits before it is sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, waits: int) -> None:
        self.sent: list[tuple[str, int]] = []
        self.refused: list[str] = []
        self.there, self.go = asyncio.Event(), asyncio.Event()
        original = Peer.put_volume

        async def put(peer: Peer, transfer_id: str, collection: str, number: int, parts: Any) -> dict[str, Any]:
            self.sent.append((collection, number))
            if len(self.sent) == waits:
                self.there.set()
                await self.go.wait()
            try:
                return await original(peer, transfer_id, collection, number, parts)
            except PeerRefused as error:
                self.refused.append(code_of(error))
                raise

        monkeypatch.setattr(Peer, "put_volume", put)


def pusher_of(services: wiring.Services) -> Pusher:
    assert services.pusher is not None
    return services.pusher


def identical(pair: Pair) -> None:
    found = compare(side_of(pair.source), side_of(pair.destination))
    assert found.identical, found.mismatches
    assert leftovers(pair.destination) == []


async def test_a_key_that_ends_in_the_middle(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was acknowledged under the old key is not sent again under a new one."""
    fill(pair)
    begin_anew(pair.destination)
    volumes = Volumes(monkeypatch, waits=3)
    keys = pair.to_destination.keys
    transfer_id = await pusher_of(pair.from_source).start(await pair.key(), PushOptions(accept_all=True, volumes=1))
    await volumes.there.wait()
    monkeypatch.setattr(keys, "_clock", lambda: datetime.now(UTC) + IDLE + timedelta(minutes=1))
    volumes.go.set()
    row = await pair.wait(transfer_id)
    assert row.position.state is State.FAILED
    assert row.facts["error"]["code"] == "invalid_transfer_key"
    assert (await pair.received(transfer_id)).position.state is State.COPYING
    acknowledged = volumes.sent[:2]

    await pusher_of(pair.from_source).resume(transfer_id, None)
    assert (await pair.wait(transfer_id)).position.state is State.FAILED, "the old key stays ended"

    await pusher_of(pair.from_source).resume(transfer_id, await pair.key())
    row = await pair.wait(transfer_id)
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert not set(acknowledged) & set(volumes.sent[2:][1:]), volumes.sent
    identical(pair)


async def test_a_process_that_was_stopped_and_wakes_up_later(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease has run out and another process has the transfer: its late requests change nothing, and it does not
    call the transfer failed."""
    fill(pair)
    begin_anew(pair.destination)
    volumes = Volumes(monkeypatch, waits=2)
    first = pusher_of(pair.from_source)
    key = await pair.key()
    # The volume that waits is the only late request: any other would be refused before it, and end the run.
    options = PushOptions(accept_all=True, volumes=1, attachments_first=True)
    transfer_id = await first.start(key, options)
    await volumes.there.wait()
    async with wiring.open_services(pair.source.settings, role="pusher", loopback_allowed=True) as services:
        second = pusher_of(services)
        monkeypatch.setattr(second.runner, "_owner", "another process")
        with pytest.raises(TransferOwned):
            await second.start(key, PushOptions(accept_all=True))
        monkeypatch.setattr(second.runner, "_is_gone", lambda owner: True)
        await second.start(key, PushOptions(accept_all=True))
        await second.runner.wait(transfer_id)  # type: ignore[attr-defined]
        row = await services.ledger.get_transfer(Role.PUSHER, transfer_id)
        assert row is not None
        assert row.position.state is State.COMPLETED, row.facts.get("error")
    volumes.go.set()
    row = await pair.wait(transfer_id)
    assert row.position.state is State.COMPLETED
    assert volumes.refused == [Superseded.code]
    identical(pair)


async def test_two_processes_that_start_at_once(pair: Pair) -> None:
    fill(pair)
    begin_anew(pair.destination)
    key = await pair.key()
    async with wiring.open_services(pair.source.settings, role="pusher", loopback_allowed=True) as services:
        second = pusher_of(services)
        second.runner._owner = "another process"  # type: ignore[attr-defined]
        started = await asyncio.gather(
            pusher_of(pair.from_source).start(key, PushOptions(accept_all=True)),
            second.start(key, PushOptions(accept_all=True)),
            return_exceptions=True,
        )
        assert sum(isinstance(one, str) for one in started) >= 1, started
        assert all(isinstance(one, str | TransferOwned) for one in started), started
        transfer_id = next(one for one in started if isinstance(one, str))
        await second.runner.wait(transfer_id)  # type: ignore[attr-defined]
        row = await pair.wait(transfer_id)
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    identical(pair)
