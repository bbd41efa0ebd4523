"""The proxy of the fault tests does what it is planned to do, and nothing else."""

from __future__ import annotations

import asyncio

import pytest
from tests.fakes.fault_proxy import Answer, Cut, Duplicate, Fault, FaultProxy, Slow, Stall, Truncate
from tests.fakes.peers import Answer as Said
from tests.fakes.peers import Recorder, peer_at, serving

from growi_transfer.protocol.errors import PeerRefused, PeerUnavailable
from growi_transfer.pusher.timeouts import PeerTimeouts

TRANSFER = "0123456789abcdef" * 2
VOLUMES = r"PUT .*/volumes/"


async def test_what_is_not_planned_passes() -> None:
    body = [bytes([number]) * 700_000 for number in range(4)]
    async with serving(Recorder()) as app, FaultProxy(app.port) as proxy, await peer_at(proxy.port) as peer:
        planned = proxy.plan(Answer(502), on=VOLUMES, nth=2)
        over = proxy.plan(Answer(413), on=VOLUMES, over=10_000_000)
        assert await peer.put_volume(TRANSFER, "pages", 0, body) == {}
        await peer.keep_alive(TRANSFER)
        with pytest.raises(PeerRefused) as refused:
            await peer.put_volume(TRANSFER, "pages", 1, body)
        assert await peer.put_volume(TRANSFER, "pages", 2, body) == {}
    assert refused.value.status == 502
    assert (planned.hits, over.hits, proxy.count(VOLUMES)) == (1, 0, 3)
    assert [one.body for one in app.seen if one.method == "PUT"] == [b"".join(body)] * 2


@pytest.mark.parametrize(
    ("fault", "arrived"),
    [
        (Cut(after=100_000), 1),
        (Truncate(after=100_000), 1),
        (Stall(after=100_000), 1),
        (Cut(of="response"), 1),
        (Truncate(after=1, of="response"), 1),
        (Stall(of="response"), 1),
        (Answer(504, early=True), 0),
    ],
)
async def test_a_fault(fault: Fault, arrived: int) -> None:
    quick = PeerTimeouts(idle=0.2, answer=0.2)
    async with serving(Recorder()) as app, FaultProxy(app.port) as proxy:
        planned = proxy.plan(fault, on="POST .*/attachments")
        async with await peer_at(proxy.port, timeouts=quick) as peer:
            with pytest.raises((PeerRefused, PeerUnavailable)):
                await peer.put_bundle(TRANSFER, [bytes(1 << 20)] * 3)
            proxy.release()
        assert planned.hits == 1
        async with await peer_at(proxy.port) as peer:
            assert await peer.put_bundle(TRANSFER, [b"again"]) == {}
    assert len(app.seen) == arrived + 1


async def test_a_request_that_arrives_twice() -> None:
    async with serving(Recorder()) as app, FaultProxy(app.port) as proxy, await peer_at(proxy.port) as peer:
        proxy.plan(Duplicate(), on=VOLUMES)
        assert await peer.put_volume(TRANSFER, "pages", 0, [b"once"]) == {}
    assert [one.body for one in app.seen] == [b"once"] * 2


async def test_a_slow_line() -> None:
    async with serving(Recorder()) as app, FaultProxy(app.port) as proxy, await peer_at(proxy.port) as peer:
        proxy.plan(Slow(1 << 20), on=VOLUMES)
        began = asyncio.get_running_loop().time()
        await peer.put_volume(TRANSFER, "pages", 0, [bytes(100_000)])
        assert asyncio.get_running_loop().time() - began > 0.09


async def test_a_server_that_goes_away_and_comes_back() -> None:
    app = Recorder()
    app.answers["GET", f"/_api/v3/g2g-transfer/transfers/{TRANSFER}"] = Said(body={"held": {}})
    async with serving(app), FaultProxy(app.port) as proxy, await peer_at(proxy.port) as peer:
        port = proxy.port
        await peer.transfer(TRANSFER)
        await proxy.down()
        with pytest.raises(PeerUnavailable):
            await peer.transfer(TRANSFER)
        await proxy.up()
        assert proxy.port == port
        assert await peer.transfer(TRANSFER) == {"held": {}}
