"""Bodies on a real connection: refusals that arrive, limits, cut lines."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from tests.fakes.http import RawClient
from tests.fakes.web import ATTACHMENT, OTHER, TRANSFER, World

from growi_transfer.protocol.errors import DestinationBusy
from growi_transfer.protocol.wire import BUNDLE_LIMIT

API = "/_api/v3/g2g-transfer"
VOLUME = f"{API}/transfers/{TRANSFER}/volumes/pages/0"
UPLOAD = f"{API}/transfers/{TRANSFER}/attachments/{ATTACHMENT}"
BUNDLE = f"{API}/transfers/{TRANSFER}/attachments"
MIB = 1 << 20


async def keyed(world: World, claimed_by: str | None = TRANSFER) -> dict[str, str]:
    return {"x-growi-transfer-key": await world.key(claimed_by=claimed_by), "x-growi-transfer-epoch": "1"}


def code(body: bytes) -> str:
    return str(json.loads(body)["errors"][0]["code"])


async def test_large_bodies_arrive_whole(world: World, http: aiohttp.ClientSession) -> None:
    data = os.urandom(9 * MIB + 17)
    async with http.put(VOLUME, data=io.BytesIO(data), headers=await keyed(world)) as answer:
        assert answer.status == 200
    assert world.receiver.calls[-1][1]["body"] == data
    headers = {**await keyed(world), "upload-offset": "0", "upload-complete": "?1"}
    async with http.patch(UPLOAD, data=io.BytesIO(data), headers=headers) as answer:
        assert (answer.status, answer.headers["upload-offset"]) == (204, str(len(data)))
    assert b"".join(world.receiver.received) == data
    assert all(len(chunk) == MIB for chunk in world.receiver.received[:-1])


async def test_a_chunked_body_arrives_whole(world: World, http: aiohttp.ClientSession) -> None:
    data = os.urandom(3 * MIB)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100_001):
            yield data[start : start + 100_001]

    async with http.put(VOLUME, data=pieces(), headers=await keyed(world)) as answer:
        assert answer.status == 200
    assert world.receiver.calls[-1][1]["body"] == data


async def test_a_conflict_arrives_while_the_body_is_still_being_sent(world: World, address: str) -> None:
    """20 MiB, more than all buffers on the way hold: the reason can be read in the middle of it, and a client that
    reads only after its last byte gets it too."""
    world.receiver.fails = DestinationBusy()
    headers = {**await keyed(world), "upload-offset": "0", "upload-complete": "?1"}
    for read_in_the_middle in (True, False):
        async with RawClient(address) as client, asyncio.timeout(20):
            await client.head("PATCH", UPLOAD, {**headers, "content-length": str(20 * MIB)})
            await client.write(bytes(2 * MIB))
            answer = await client.answer() if read_in_the_middle else None
            for _ in range(18):
                await client.write(bytes(MIB))
            answer = answer or await client.answer()
            assert (answer.status, code(answer.body)) == (409, "destination_busy")
            assert answer.headers["connection"] == "close"
            assert await client.at_end()


async def test_a_key_of_another_transfer_is_told_before_the_body(world: World, address: str) -> None:
    headers = {**await keyed(world, OTHER), "content-length": str(20 * MIB)}
    async with RawClient(address) as client, asyncio.timeout(20):
        await client.head("PUT", f"{API}/transfers/{TRANSFER}", headers)
        answer = await client.answer()
        assert (answer.status, code(answer.body)) == (409, "key_claimed")
        for _ in range(20):
            await client.write(bytes(MIB))
        assert await client.at_end()


async def test_an_announced_body_over_the_limit_is_refused_and_arrives(world: World, address: str) -> None:
    size = BUNDLE_LIMIT + 1
    async with RawClient(address) as client, asyncio.timeout(20):
        await client.head("POST", BUNDLE, {**await keyed(world), "content-length": str(size)})
        answer = await client.answer()
        assert (answer.status, code(answer.body)) == (413, "body_too_large")
        assert json.loads(answer.body)["errors"][0]["details"] == {"limit": BUNDLE_LIMIT, "announced": size}
    assert world.receiver.calls == []


async def test_a_chunked_body_over_the_limit_is_refused_and_arrives(world: World, address: str) -> None:
    async with RawClient(address) as client, asyncio.timeout(20):
        await client.head("POST", BUNDLE, {**await keyed(world), "transfer-encoding": "chunked"})
        for _ in range(BUNDLE_LIMIT // MIB + 8):
            await client.write_chunk(bytes(MIB))
        await client.write(b"0\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, code(answer.body)) == (413, "body_too_large")
    assert world.receiver.calls == []


async def test_no_more_of_a_refused_body_is_read_than_the_limit(world: World, address: str) -> None:
    """A sender that never ends is cut off."""
    world.receiver.fails = DestinationBusy()
    headers = {**await keyed(world), "transfer-encoding": "chunked", "upload-offset": "0", "upload-complete": "?1"}
    sent = 0
    async with RawClient(address) as client, asyncio.timeout(20):
        await client.head("PATCH", UPLOAD, headers)
        assert (await client.answer()).status == 409
        with contextlib.suppress(ConnectionError):
            while sent < 1000:
                await client.write_chunk(bytes(MIB))
                sent += 1
    assert 64 <= sent < 200


async def test_a_strangers_body_is_not_read_but_answered(world: World, address: str) -> None:
    async with RawClient(address) as client, asyncio.timeout(20):
        await client.head("PUT", VOLUME, {"x-growi-transfer-key": "wrong", "content-length": str(1000 * MIB)})
        answer = await client.answer()
        assert (answer.status, code(answer.body)) == (403, "invalid_transfer_key")
        assert answer.headers["connection"] == "close"
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 1000:
                await client.write(bytes(MIB))
                sent += 1
        assert sent < 100


async def test_a_stranger_has_a_moment_to_read_the_answer(world: World, address: str) -> None:
    """Bytes that nobody has read turn the end of a connection into a reset, which takes the answer with it."""
    async with RawClient(address) as client, asyncio.timeout(20):
        await client.head("PUT", VOLUME, {"x-growi-transfer-key": "wrong", "content-length": str(20 * MIB)})
        await client.write(bytes(MIB))
        assert (await client.answer()).status == 403
        answered = time.monotonic()
        assert await client.at_end()
        assert time.monotonic() - answered > world.services.limits.linger_seconds / 2


async def test_a_client_that_asks_first_is_refused_without_sending(world: World, address: str) -> None:
    world.receiver.fails = DestinationBusy()
    headers = {**await keyed(world), "upload-offset": "0", "upload-complete": "?1", "expect": "100-continue"}
    async with RawClient(address) as client, asyncio.timeout(1):
        await client.head("PATCH", UPLOAD, {**headers, "content-length": str(20 * MIB)})
        assert (await client.answer()).status == 409
        assert await client.at_end()


async def test_a_refusal_of_a_request_that_was_read_keeps_the_connection(world: World, address: str) -> None:
    headers = await keyed(world)
    async with RawClient(address) as client, asyncio.timeout(20):
        for _ in range(3):
            await client.head("PUT", f"{API}/transfers/{TRANSFER}", {**headers, "content-length": "2"})
            await client.write(b"[]")
            answer = await client.answer()
            assert (answer.status, "connection" in answer.headers) == (400, False)


@pytest.mark.parametrize("path", ["PUT " + VOLUME, "POST " + BUNDLE, f"PUT {API}/transfers/{TRANSFER}"])
async def test_a_cut_body_reaches_no_service(world: World, address: str, path: str) -> None:
    method, _, where = path.partition(" ")
    async with RawClient(address) as client:
        await client.head(method, where, {**await keyed(world), "content-length": str(MIB)})
        await client.write(bytes(MIB // 2))
        client.abort()
    async with RawClient(address) as client:
        await client.head("GET", "/healthz", {})
        assert (await client.answer()).status == 200
    assert world.receiver.calls == []


async def test_a_cut_upload_hands_over_what_came(world: World, address: str) -> None:
    headers = {**await keyed(world), "upload-offset": "0", "upload-complete": "?1"}
    async with RawClient(address) as client:
        await client.head("PATCH", UPLOAD, {**headers, "content-length": str(10 * MIB)})
        await client.write(bytes(3 * MIB))
    async with asyncio.timeout(10):
        while world.receiver.stream_error is None:
            await asyncio.sleep(0.01)
    assert getattr(world.receiver.stream_error, "code", None) == "body_cut"
    assert world.receiver.durable == 3 * MIB


async def test_a_cut_archive_leaves_no_file(world: World, address: str) -> None:
    spool = world.services.data_dir / "spool"
    async with RawClient(address) as client, asyncio.timeout(10):
        await client.head("POST", f"{API}/mongo", {**await keyed(world, None), "content-length": str(100 * MIB)})
        await client.write(bytes(9 * MIB))
        while not any(file.stat().st_size for file in spool.glob("*")):
            await asyncio.sleep(0.01)
        client.abort()
        while any(spool.glob("*")):
            await asyncio.sleep(0.01)
    assert world.receiver.spooled is None


async def test_an_archive_is_imported_from_its_file(world: World, http: aiohttp.ClientSession) -> None:
    data = os.urandom(11 * MIB + 1)
    async with http.post(f"{API}/mongo", data=io.BytesIO(data), headers=await keyed(world, None)) as answer:
        assert (answer.status, await answer.json()) == (200, {"did": "import_archive"})
    assert world.receiver.spooled == data
    assert list((world.services.data_dir / "spool").iterdir()) == []


async def test_an_endless_body_for_socket_io_is_cut_off(address: str, http: aiohttp.ClientSession) -> None:
    path = "/socket.io/?EIO=4&transport=polling"
    async with http.get(path) as answer:
        session = json.loads((await answer.text())[1:])["sid"]
    for sid in (session, "unknown"):
        sent = 0
        async with RawClient(address) as client, asyncio.timeout(20):
            await client.head("POST", f"{path}&sid={sid}", {"transfer-encoding": "chunked"})
            with contextlib.suppress(ConnectionError):
                while sent < 200:
                    await client.write_chunk(bytes(MIB))
                    sent += 1
        assert sent < 100
