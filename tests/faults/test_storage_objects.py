"""Object stores that go away, ask for less, cut answers off or answer nonsense: a proxy before a real S3 server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.fakes.fault_proxy import Answer, Cut, FaultProxy, Truncate
from tests.fakes.object_servers import ObjectServer
from tests.fakes.storages import BUCKETS, NEW, OLD, WAYS, Bench, Benches, Way, content, get, listed, pieces, put, small

from growi_transfer.protocol.errors import StorageFull, StorageNotWritable, StorageRefused, StorageUnavailable
from growi_transfer.storage.base import READ_CHUNK, SmallFile
from growi_transfer.storage.object_store.storage import ObjectStorage
from growi_transfer.storage.places import place_of
from growi_transfer.storage.retry import Fault

PART = 8 << 20


def error_page(code: str) -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>'.encode()


@pytest.fixture
async def s3(benches: Benches) -> Bench:
    return await benches.make("aws")


@pytest.fixture
async def proxy(aws_server: ObjectServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(aws_server.port) as proxy:
        yield proxy


@pytest.fixture
async def storage(s3: Bench, aws_server: ObjectServer, proxy: FaultProxy) -> AsyncIterator[ObjectStorage]:
    """The storage of `s3`, through the proxy, with short pauses."""
    assert s3.place is not None
    settings = aws_server.settings(BUCKETS["aws"], **{"aws:s3CustomEndpoint": proxy.url})
    storage = ObjectStorage(replace(place_of("aws", settings), prefix=s3.place.prefix))
    storage._bucket.retry.first = 0.01
    storage._bucket.retry.longest = 0.05
    yield storage
    await storage.close()


@pytest.mark.parametrize("code", ["SlowDown", "ServiceUnavailable", "InternalError"])
async def test_a_store_that_asks_for_less(storage: ObjectStorage, proxy: FaultProxy, code: str) -> None:
    files = small([f"attachment/{n:02}" for n in range(30)])
    proxy.plan(Answer(500 if code == "InternalError" else 503, body=error_page(code)), times=3)
    assert await storage.write_many(files) == [None] * 30
    proxy.plan(Answer(503, body=error_page(code)), times=3)
    assert await storage.read_many([file.path for file in files], 1000) == [file.data for file in files]
    proxy.plan(Answer(503, body=error_page(code)), on="GET .*list-type", times=2)
    assert len(await listed(storage)) == 30
    tried = storage._bucket.retry.tried_again
    assert tried[Fault.THROTTLED if code == "SlowDown" else Fault.NETWORK] >= 8


async def test_a_store_that_never_stops_asking_is_told(storage: ObjectStorage, proxy: FaultProxy) -> None:
    planned = proxy.plan(Answer(503, body=error_page("SlowDown")), times=None)
    (error,) = await storage.write_many([SmallFile("attachment/a", b"x")])
    assert isinstance(error, StorageUnavailable)
    assert "asks for fewer requests (SlowDown)" in error.message
    assert planned.hits == 10


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("after", [0, 1000])
async def test_connections_that_break_are_mended(
    storage: ObjectStorage, proxy: FaultProxy, s3: Bench, way: Way, after: int
) -> None:
    await put(s3.storage, "attachment/a", OLD)
    for method in ("PUT", "POST", "GET", "HEAD", "DELETE"):
        proxy.plan(Cut(after), on=method)
        proxy.plan(Cut(0, of="response"), on=method, nth=2)
    await way(storage)
    assert await get(s3.storage, "attachment/a") == NEW
    assert [one.path for one in await listed(s3.storage, ".growi-transfer/")] == []


async def test_large_files_over_a_line_that_breaks(storage: ObjectStorage, proxy: FaultProxy, s3: Bench) -> None:
    data = content(3 * PART + 5)
    proxy.plan(Cut(1_000_000), on="PUT .*partNumber", nth=2, times=2)
    proxy.plan(Cut(0, of="response"), on="POST .*uploadId")
    proxy.plan(Answer(503, body=error_page("SlowDown")), on="PUT .*partNumber", times=2)
    await storage.write("attachment/a", pieces(data), len(data))
    assert await get(s3.storage, "attachment/a") == data
    upload = await storage.partial("attachment/b", "id")
    proxy.plan(Cut(1_000_000), on="PUT .*partNumber", nth=2, times=2)
    proxy.plan(Cut(0, of="response"), on="POST .*uploadId")
    await upload.write(data)
    assert await upload.sync() == len(data)
    await upload.finish()
    proxy.plan(Cut(1_000_000, of="response"), on="GET .*attachment/b", times=2)
    proxy.plan(Truncate(1_000_000, of="response"), on="GET .*attachment/b", times=2)
    assert await get(storage, "attachment/b") == data


async def test_a_store_that_goes_away_in_the_middle(storage: ObjectStorage, proxy: FaultProxy, s3: Bench) -> None:
    data = content(3 * PART)
    upload = await storage.partial("attachment/a", "id")
    await upload.write(data[: 2 * PART])
    durable = await upload.sync()
    await proxy.down()
    await upload.write(data[2 * PART :])
    with pytest.raises(StorageUnavailable, match="does not answer"):
        await upload.sync()
    (error,) = await storage.write_many([SmallFile("attachment/b", b"x")])
    assert isinstance(error, StorageUnavailable)
    with pytest.raises(StorageUnavailable):
        await anext(storage.open("attachment/a"))
    await upload.close()
    await proxy.up()
    upload = await storage.partial("attachment/a", "id")
    assert durable <= upload.offset
    await upload.write(data[upload.offset :])
    await upload.finish()
    assert await get(s3.storage, "attachment/a") == data


async def test_reading_goes_on_after_the_store_was_away(storage: ObjectStorage, proxy: FaultProxy, s3: Bench) -> None:
    data = content(5 * READ_CHUNK)
    await s3.storage.write("attachment/a", pieces(data), len(data))
    storage._bucket.retry.first = 0.2
    proxy.plan(Cut(0, of="response"), on="GET .*attachment/a", times=2)
    reading = asyncio.ensure_future(get(storage, "attachment/a"))
    await proxy.down()
    await proxy.up()
    assert await reading == data


@pytest.mark.parametrize(
    ("status", "code"), [(507, "InsufficientStorage"), (403, "QuotaExceeded"), (500, "XMinioStorageFull")]
)
async def test_a_full_store(storage: ObjectStorage, proxy: FaultProxy, status: int, code: str) -> None:
    planned = proxy.plan(Answer(status, body=error_page(code)), on="(PUT|POST)", times=None)
    (error,) = await storage.write_many([SmallFile("attachment/a", b"x")])
    assert isinstance(error, StorageFull)
    with pytest.raises(StorageFull):
        await storage.write("attachment/a", pieces(bytes(PART + 1)), PART + 1)
    with pytest.raises(StorageFull):
        await storage.probe()
    assert planned.hits == 3, "nothing is tried again"


async def test_a_server_that_is_no_store(storage: ObjectStorage, proxy: FaultProxy) -> None:
    proxy.plan(Answer(200), times=None)
    with pytest.raises(StorageUnavailable):
        await storage.probe()
    with pytest.raises(StorageUnavailable):
        await storage.write("attachment/a", pieces(bytes(PART + 1)), PART + 1)


@pytest.mark.parametrize("code", ["RequestTimeout", "IncompleteBody", "BadDigest"])
async def test_a_request_that_did_not_arrive_whole_is_made_again(
    storage: ObjectStorage, proxy: FaultProxy, code: str
) -> None:
    proxy.plan(Answer(400, body=error_page(code)), on="PUT ", times=2)
    await storage.write("attachment/a", pieces(bytes(PART + 1)), PART + 1)
    proxy.plan(Answer(400, body=error_page(code)), on="PUT ", times=2)
    await put(storage, "attachment/b", b"b")
    assert storage._bucket.retry.tried_again[Fault.NETWORK] == 4


@pytest.mark.parametrize(
    "answer",
    [
        Answer(301),
        Answer(301, body=error_page("PermanentRedirect")),
        Answer(400, body=error_page("AuthorizationHeaderMalformed")),
    ],
)
async def test_a_wrong_region_is_told(storage: ObjectStorage, proxy: FaultProxy, answer: Answer) -> None:
    proxy.plan(answer, times=None)
    with pytest.raises(StorageNotWritable, match="aws:s3Region"):
        await put(storage, "attachment/a", b"a")
    with pytest.raises(StorageRefused, match="aws:s3Region"):
        await listed(storage)


@pytest.mark.parametrize("key", ["attachment//a", "attachment/./a", "attachment/a&#10;b"])
async def test_a_key_that_is_no_path_is_named(storage: ObjectStorage, proxy: FaultProxy, key: str) -> None:
    entry = f"<Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>x</ETag><Size>1</Size>"
    page = f"<ListBucketResult><IsTruncated>false</IsTruncated><Contents>{entry}</Contents></ListBucketResult>"
    proxy.plan(Answer(200, body=page.encode()), on="GET .*list-type")
    with pytest.raises(StorageRefused, match="rename or delete") as caught:
        await listed(storage)
    assert repr(key.replace("&#10;", "\n")) in str(caught.value)


async def test_a_clock_that_is_wrong_is_told(storage: ObjectStorage, proxy: FaultProxy) -> None:
    proxy.plan(Answer(403, body=error_page("RequestTimeTooSkewed")), times=2)
    (error,) = await storage.write_many([SmallFile("attachment/a", b"x")])
    assert isinstance(error, StorageNotWritable)
    assert "its clock is wrong" in error.message
    with pytest.raises(StorageRefused, match="NTP"):
        await listed(storage)
