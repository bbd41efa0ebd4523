"""A large file on its way into S3: what is written while earlier parts are made durable."""

from __future__ import annotations

import asyncio
from hashlib import sha256

import pytest
from tests.fakes.storages import Bench, Benches, get

from growi_transfer.protocol.errors import StorageUnavailable
from growi_transfer.storage.object_store.partial import ObjectPartialUpload
from growi_transfer.storage.object_store.s3_parts import S3Parts

PART = 8 << 20
_WITHIN = 60.0


@pytest.fixture
async def s3(benches: Benches) -> Bench:
    return await benches.make("aws")


class Held:
    """Parts wait until they are let through, or fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.through = asyncio.Event()
        self.fails = False
        original = S3Parts.put

        async def put(store: S3Parts, number: int, data: bytes | bytearray) -> None:
            await self.through.wait()
            if self.fails:
                raise StorageUnavailable("It is away.")
            await original(store, number, data)

        monkeypatch.setattr(S3Parts, "put", put)


async def test_more_is_written_while_parts_are_on_their_way(s3: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    content = bytes(range(256)) * (PART // 256) + b"more"
    upload = await s3.storage.partial("attachment/a", "id")
    await upload.write(content[:PART])
    syncing = asyncio.ensure_future(upload.sync())
    await asyncio.sleep(0)
    async with asyncio.timeout(_WITHIN):
        await upload.write(content[PART:])
    assert not syncing.done()
    held.through.set()
    assert await syncing == PART
    assert await upload.sync() == len(content)
    assert await upload.sha256() == sha256(content).digest()
    await upload.finish()
    assert await get(s3.storage, "attachment/a") == content


async def test_a_part_that_fails_while_more_is_written(s3: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    held.fails = True
    upload = await s3.storage.partial("attachment/a", "id")
    await upload.write(bytes(PART))
    syncing = asyncio.ensure_future(upload.sync())
    await asyncio.sleep(0)
    held.through.set()
    for step in (syncing, upload.write(b"more"), upload.sync(), upload.finish()):
        with pytest.raises(StorageUnavailable, match="away"):
            await step
    await upload.close()
    held.fails = False
    again = await s3.again().partial("attachment/a", "id")
    assert again.offset == 0
    await again.abort()


async def test_a_digest_goes_on_behind_a_tail_that_was_stored(s3: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part that a tail becomes the beginning of is not digested twice."""

    async def never(*_: object) -> None:
        raise AssertionError("nothing is read back")

    monkeypatch.setattr(S3Parts, "digest", never)
    content = bytes(range(256)) * (2 * PART // 256) + b"end"
    start = 0
    for end in (5, PART + 7, 2 * PART, len(content)):
        upload = await s3.storage.partial("attachment/a", "id")
        assert isinstance(upload, ObjectPartialUpload)
        assert upload.offset == start
        await upload.write(content[start:end])
        assert await upload.sha256() == sha256(content[:end]).digest()
        assert await upload.sync() == end
        await upload.close()
        start = end
    upload = await s3.storage.partial("attachment/a", "id")
    await upload.finish()
    assert await get(s3.storage, "attachment/a") == content
