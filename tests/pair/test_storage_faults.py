"""Whole transfers while an object store does what object stores do."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable

import pytest
from tests.fakes.fault_proxy import Answer, FaultProxy, Stall
from tests.fakes.object_servers import ObjectServer
from tests.pair.stores import Opens, Wikis, wikis

from growi_transfer.protocol.machine import State
from growi_transfer.pusher.options import PushOptions
from growi_transfer.storage.object_store.storage import ObjectStorage
from growi_transfer.storage.retry import Fault

__all__ = ["wikis"]
SIDES = ("source", "destination")
BUSY = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'
FILES = "(GET|PUT) /[^/]+/attachment/"


@pytest.fixture
async def proxy(aws_server: ObjectServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(aws_server.port) as proxy:
        yield proxy


def through(proxy: FaultProxy, side: str) -> tuple[str | None, str | None]:
    return (proxy.url, None) if side == "source" else (None, proxy.url)


def storage_of(both: Wikis, side: str) -> ObjectStorage:
    storage = (both.pair.from_source if side == "source" else both.pair.to_destination).storage
    assert isinstance(storage, ObjectStorage)
    return storage


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def started(both: Wikis) -> str:
    pusher = both.pair.from_source.pusher
    assert pusher is not None
    return await pusher.start(await both.pair.key(), PushOptions(accept_all=True))


@pytest.mark.parametrize("side", SIDES)
async def test_a_store_that_is_away_for_a_while(side: str, wikis: Opens, proxy: FaultProxy) -> None:
    async with wikis("aws", "aws", through=through(proxy, side)) as both:
        wanted = both.fill()
        stalled = proxy.plan(Stall(), on=FILES, nth=3)
        transfer_id = await started(both)
        await until(lambda: stalled.hits)
        await proxy.down()
        retry = storage_of(both, side)._bucket.retry
        retry.first = 0.05
        before = retry.tried_again.get(Fault.NETWORK, 0)
        # Longer away than one request is tried.
        await until(lambda: retry.tried_again.get(Fault.NETWORK, 0) >= before + 10)
        await proxy.up()
        row = await both.pair.wait(transfer_id)
        assert row.position.state is State.COMPLETED, row.facts.get("error")
        assert both.destination.digests() == wanted


@pytest.mark.parametrize("side", SIDES)
async def test_a_store_that_asks_for_less(side: str, wikis: Opens, proxy: FaultProxy) -> None:
    async with wikis("aws", "aws", through=through(proxy, side)) as both:
        wanted = both.fill()
        busy = proxy.plan(Answer(503, body=BUSY), on=FILES, nth=2, times=6)
        row = await both.pair.push()
        assert row.position.state is State.COMPLETED, row.facts.get("error")
        assert busy.hits == 6
        assert storage_of(both, side)._bucket.retry.tried_again[Fault.THROTTLED] >= 6
        assert both.destination.digests() == wanted


async def test_an_object_that_is_replaced_while_it_is_read(wikis: Opens, proxy: FaultProxy) -> None:
    old, new = b"a" * (40 << 20), b"b" * (40 << 20)
    async with wikis("aws", "local", through=through(proxy, "source")) as both:
        path = both.add("large.bin", old)
        # The last of its ranges does not come before the object is another one.
        stalled = proxy.plan(Stall(1000, of="response"), on=FILES, nth=5)
        transfer_id = await started(both)
        await until(lambda: stalled.hits)
        both.source.put(path, new)
        ended = asyncio.ensure_future(both.pair.wait(transfer_id))
        while not ended.done():
            proxy.release()  # again and again, because the request may not have come to its stop yet
            await asyncio.sleep(0.02)
        row = ended.result()
        assert row.position.state is State.COMPLETED, row.facts.get("error")
        assert both.destination.digests() == {path: digest(new)}


async def test_a_document_that_tells_another_size_than_the_object_has(wikis: Opens) -> None:
    async with wikis("aws", "azure") as both:
        path = both.add("file.bin", b"x" * 1000)
        both.pair.source.database["attachments"].update_one({}, {"$set": {"fileSize": 999}})
        row = await both.pair.push()
        assert row.position.state is State.COMPLETED, row.facts.get("error")
        [told] = [one for one in row.facts["warnings"] if one["code"] == "attachment_size_differs"]
        assert told["details"] == {"count": 1, "files": ["file.bin"]}
        assert both.destination.digests() == {path: digest(b"x" * 1000)}
        assert both.pair.destination.database["attachments"].find_one({}, {"fileSize": 1})["fileSize"] == 999
