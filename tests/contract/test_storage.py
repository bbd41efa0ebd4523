"""What every attachment storage does, whatever it is made of. The words are those of `storage/base.py`."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest
from tests.fakes.storages import OLD, WAYS, Bench, Benches, Way, content, get, listed, pieces, put, small

from growi_transfer.protocol.errors import (
    FileNotFound,
    InvalidRequest,
    NameIllegal,
    SizeMismatch,
    StorageFull,
    StorageNotConfigured,
    StorageNotWritable,
    StorageUnavailable,
    TransferError,
)
from growi_transfer.storage.base import READ_CHUNK, FileMeta, PartialUpload, SmallFile, Storage, StoredFile
from growi_transfer.storage.memory import MemoryStorage
from growi_transfer.storage.object_store.bucket import Bucket
from growi_transfer.storage.registry import open_storage

GRIDFS_CHUNK = 255 * 1024
SIZES = (
    *(0, 1, 4096),
    *(GRIDFS_CHUNK - 1, GRIDFS_CHUNK, GRIDFS_CHUNK + 1),
    *(READ_CHUNK - 1, READ_CHUNK, READ_CHUNK + 1),
    *(16 * GRIDFS_CHUNK, 5 * READ_CHUNK + 77),
)
ILLEGAL = ("", "/", "/attachment/x", "attachment//x", "attachment/", "attachment/../x", "./x", "a/\x00", "a/\ud800")
RESERVED = (".growi-transfer", ".growi-transfer/", ".growi-transfer/.uploads/x")


async def size_of(storage: Storage, path: str) -> int | None:
    (found,) = await storage.stat_many([path])
    return found.size if found else None


# --- one file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_what_is_written_is_read(storage: Storage, size: int) -> None:
    data = content(size)
    await put(storage, "attachment/a.png", data)
    chunks = [chunk async for chunk in storage.open("attachment/a.png")]
    assert b"".join(chunks) == data
    assert all(len(chunk) == READ_CHUNK for chunk in chunks[:-1])
    assert all(chunks), "no empty chunk is handed out"
    assert await storage.stat_many(["attachment/a.png"]) == [StoredFile("attachment/a.png", size)]


@pytest.mark.parametrize("step", [1, 1000, GRIDFS_CHUNK, READ_CHUNK + 3, 1 << 24])
async def test_the_pieces_that_come_in_do_not_matter(storage: Storage, step: int) -> None:
    data = content(5000 if step == 1 else 5 * READ_CHUNK + 5)
    await storage.write("attachment/a", pieces(data, step), len(data))
    assert await get(storage, "attachment/a") == data


async def test_reading_from_an_offset(storage: Storage) -> None:
    data = content(3 * READ_CHUNK + 100)
    await put(storage, "attachment/a", data)
    for offset in (0, 1, GRIDFS_CHUNK - 1, GRIDFS_CHUNK, READ_CHUNK, 2 * READ_CHUNK + 5, len(data) - 1, len(data)):
        assert await get(storage, "attachment/a", offset) == data[offset:], offset
    assert await get(storage, "attachment/a", len(data) + 10) == b""


async def test_a_file_that_is_not_there(storage: Storage) -> None:
    stream = storage.open("attachment/none")
    with pytest.raises(FileNotFound):
        await anext(stream)


async def test_writing_again_replaces(bench: Bench) -> None:
    for size in (3 * READ_CHUNK, 10, 0, READ_CHUNK):
        await put(bench.storage, "attachment/a", content(size))
        assert await get(bench.again(), "attachment/a") == content(size)
    assert await listed(bench.storage) == [StoredFile("attachment/a", READ_CHUNK)]


async def test_a_reader_that_stops_early_leaves_the_storage_usable(storage: Storage) -> None:
    await put(storage, "attachment/a", content(4 * READ_CHUNK))
    for _ in range(20):
        stream = storage.open("attachment/a")
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
    assert len(await get(storage, "attachment/a")) == 4 * READ_CHUNK


@pytest.mark.parametrize("size", [0, 10, 2 * READ_CHUNK])
@pytest.mark.parametrize("lie", [-1, 1, 1000])
async def test_a_size_that_lies_leaves_nothing(bench: Bench, size: int, lie: int) -> None:
    if size + lie < 0:
        lie = 5
    with pytest.raises(SizeMismatch):
        await bench.storage.write("attachment/new", pieces(content(size)), size + lie)
    await put(bench.storage, "attachment/old", b"old")
    with pytest.raises(SizeMismatch):
        await bench.storage.write("attachment/old", pieces(content(size)), size + lie)
    assert await listed(bench.again()) == [StoredFile("attachment/old", 3)]
    assert await get(bench.again(), "attachment/old") == b"old"


async def test_a_source_that_never_ends_is_cut_off(storage: Storage) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(100_000)

    with pytest.raises(SizeMismatch):
        await storage.write("attachment/a", endless(), 1_000_000)
    assert await size_of(storage, "attachment/a") is None


async def test_a_source_that_fails_leaves_nothing(bench: Bench) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield content(2 * READ_CHUNK)
        raise ConnectionResetError("cut")

    await put(bench.storage, "attachment/old", b"old")
    for path in ("attachment/new", "attachment/old"):
        with pytest.raises(ConnectionResetError):
            await bench.storage.write(path, broken(), 3 * READ_CHUNK)
    assert await listed(bench.again()) == [StoredFile("attachment/old", 3)]


async def test_a_cancelled_write_leaves_nothing(bench: Bench) -> None:
    reached = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield content(2 * READ_CHUNK)
        reached.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(bench.storage.write("attachment/a", stuck(), 3 * READ_CHUNK))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await listed(bench.again()) == []
    await put(bench.storage, "attachment/a", b"later")
    assert await get(bench.again(), "attachment/a") == b"later"


async def test_deleting(storage: Storage) -> None:
    await put(storage, "attachment/a", b"a")
    await put(storage, "attachment/b", b"b")
    await storage.delete("attachment/a")
    await storage.delete("attachment/a")
    await storage.delete("attachment/never/was")
    assert await listed(storage) == [StoredFile("attachment/b", 1)]
    await put(storage, "attachment/c", b"c")
    await put(storage, ".growi-transfer/aside/d", b"d")
    await storage.delete_many(["attachment/b", "attachment/never", ".growi-transfer/aside/d", "attachment/b"])
    assert await listed(storage, ".growi-transfer/") == []
    assert await listed(storage) == [StoredFile("attachment/c", 1)]


@pytest.mark.parametrize("path", ILLEGAL + RESERVED)
async def test_no_path_leads_out(storage: Storage, path: str) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        return
        yield b""

    await put(storage, "attachment/good", b"good")
    with pytest.raises(NameIllegal):
        await anext(storage.open(path))
    with pytest.raises(NameIllegal):
        await storage.write(path, nothing(), 0)
    with pytest.raises(NameIllegal):
        await storage.partial(path, "id")
    with pytest.raises(NameIllegal):
        await storage.delete(path)
    with pytest.raises(NameIllegal):
        await storage.move("attachment/good", path)
    with pytest.raises(NameIllegal):
        await storage.move(path, "attachment/good")
    with pytest.raises(NameIllegal):
        await storage.stat_many([path])
    bad, good = await storage.write_many([SmallFile(path, b"bad"), SmallFile("attachment/good", b"better")])
    assert isinstance(bad, NameIllegal)
    assert good is None
    assert await get(storage, "attachment/good") == b"better"
    assert await listed(storage) == [StoredFile("attachment/good", 6)]


async def test_both_folders_of_growi_are_found(storage: Storage) -> None:
    await put(storage, "attachment/page.png", b"page")
    await put(storage, "user/face.png", b"face!")
    assert await storage.stat_many(["user/face.png", "attachment/page.png"]) == [
        StoredFile("user/face.png", 5),
        StoredFile("attachment/page.png", 4),
    ]
    assert await storage.read_many(["user/face.png"], 100) == [b"face!"]
    await storage.move("attachment/page.png", "user/page.png")
    assert await get(storage, "user/page.png") == b"page"
    assert {file.path.partition("/")[2] for file in await listed(storage)} == {"page.png", "face.png"}


# --- many files ------------------------------------------------------------------------------------------------------


async def test_stat_answers_in_order(storage: Storage) -> None:
    await storage.write_many([SmallFile("attachment/a", b"1"), SmallFile("attachment/b", b"22")])
    asked = ["attachment/b", "attachment/none", "attachment/a", "nowhere/none", "attachment/b"]
    found = await storage.stat_many(asked)
    assert [file and (file.path, file.size) for file in found] == [
        ("attachment/b", 2),
        None,
        ("attachment/a", 1),
        None,
        ("attachment/b", 2),
    ]
    assert await storage.stat_many([]) == []


async def test_many_small_files(bench: Bench) -> None:
    files = small([f"attachment/{n:03}" for n in range(300)], size=30_000)
    files += [SmallFile("attachment/empty", b""), SmallFile("attachment/view", memoryview(b"xviewx")[1:5])]
    assert await bench.storage.write_many(files) == [None] * len(files)
    paths = [file.path for file in files]
    assert await bench.again().read_many(paths, 30_000) == [bytes(file.data) for file in files]
    assert await listed(bench.storage) == [StoredFile(file.path, len(file.data)) for file in files]
    assert await bench.storage.write_many([]) == []
    assert await bench.storage.read_many([], 1) == []


async def test_reading_many_tells_what_cannot_be_read(storage: Storage) -> None:
    await storage.write_many(
        [
            SmallFile("attachment/fits", b"12345"),
            SmallFile("attachment/large", b"123456"),
            SmallFile("attachment/0", b""),
        ]
    )
    asked = ["attachment/large", "attachment/none", "attachment/fits", "attachment/0", "attachment/fits"]
    found = await storage.read_many(asked, 5)
    assert [type(item) for item in found] == [SizeMismatch, FileNotFound, bytes, bytes, bytes]
    assert found[2:] == [b"12345", b"", b"12345"]


async def test_reading_many_of_a_size_beyond_one_reply(storage: Storage) -> None:
    sizes = [20 << 20, 5 << 20, 3 << 20, 100, 7 << 20]
    files = [SmallFile(f"attachment/{n}", content(size)) for n, size in enumerate(sizes)]
    assert await storage.write_many(files) == [None] * 5
    assert await storage.read_many([file.path for file in files], 32 << 20) == [file.data for file in files]


async def test_writing_many_replaces_and_the_last_of_one_path_wins(bench: Bench) -> None:
    await put(bench.storage, "attachment/a", content(READ_CHUNK))
    files = [SmallFile("attachment/a", b"first"), SmallFile("attachment/b", b"b"), SmallFile("attachment/a", b"last")]
    assert await bench.storage.write_many(files) == [None, None, None]
    assert await listed(bench.storage) == [StoredFile("attachment/a", 4), StoredFile("attachment/b", 1)]
    assert await get(bench.again(), "attachment/a") == b"last"


async def test_four_bundles_at_once(bench: Bench) -> None:
    bundles = [small([f"attachment/{bundle}-{n:03}" for n in range(80)], size=20_000) for bundle in range(4)]
    shared = [SmallFile("attachment/shared", content(10_000 + bundle)) for bundle in range(4)]
    results = await asyncio.gather(
        *(bench.storage.write_many([*files, one]) for files, one in zip(bundles, shared, strict=True))
    )
    assert results == [[None] * 81] * 4
    for files in bundles:
        assert await bench.storage.read_many([file.path for file in files], 20_000) == [file.data for file in files]
    assert await get(bench.storage, "attachment/shared") in [file.data for file in shared]
    assert len(await listed(bench.storage)) == 321


async def test_a_reader_sees_an_old_or_a_new_file_and_never_a_mix(storage: Storage) -> None:
    versions = {content(400_000, seed) for seed in range(8)}
    await put(storage, "attachment/a", content(400_000, 0))
    done = asyncio.Event()

    async def write_all() -> None:
        for _ in range(3):
            for data in versions:
                await storage.write_many([SmallFile("attachment/a", data)])
                await asyncio.sleep(0)
        done.set()

    async def read_all() -> int:
        whole = 0
        while not done.is_set():
            (found,) = await storage.read_many(["attachment/a"], 400_000)
            if isinstance(found, TransferError):
                # GridFS: its chunks went while it was read. It says so, and says that trying again helps.
                assert isinstance(found, StorageUnavailable)
            else:
                assert found in versions
                whole += 1
            await asyncio.sleep(0)
        return whole

    _, whole = await asyncio.gather(write_all(), read_all())
    assert whole > 0


# --- listing ---------------------------------------------------------------------------------------------------------


async def test_listing_in_order_and_by_prefix(storage: Storage) -> None:
    names = ["b", "a", "B", "a.txt", "a-1", "日本", "é", "zz", "ab"]
    await storage.write_many(small([f"attachment/{name}" for name in names]))
    paths = [file.path for file in await listed(storage)]
    assert paths == sorted(f"attachment/{name}" for name in names)
    for prefix in ("attachment/a", "attachment/", "att", "attachment/日", "attachment/none", "zzz", "attachment/zz"):
        found = [file.path for file in await listed(storage, prefix)]
        assert found == [path for path in paths if path.startswith(prefix)], prefix


async def test_listing_comes_in_pages_and_tells_what_is_there_by_then(bench: Bench) -> None:
    names = [f"attachment/{n:05}" for n in range(1150)]
    for start in range(0, 1150, 500):
        await bench.storage.write_many(small(names[start : start + 500], size=3))
    pages = [page async for page in bench.storage.list_files()]
    assert [file.path for page in pages for file in page] == names
    assert len(pages) > 1
    assert max(map(len, pages)) <= 1000
    gone, seen = names[1100], list[str]()
    async for page in bench.storage.list_files():
        if not seen:
            await bench.again().delete(gone)
        seen += [file.path for file in page]
    if bench.kind == "azure":  # one answer has 5,000 names
        seen = [path for path in seen if path != gone]
    assert seen == [name for name in names if name != gone]


async def test_an_empty_storage_lists_nothing(storage: Storage) -> None:
    assert await listed(storage) == []


async def test_our_own_folder_is_never_listed(storage: Storage) -> None:
    aside = ".growi-transfer/aside/0123/attachment/a"
    await put(storage, "attachment/a", b"live")
    await put(storage, aside, b"aside")
    await storage.write_many([SmallFile(".growi-transfer/former/0123/user/b", b"former")])
    upload = await storage.partial("attachment/big", "id-1")
    await upload.write(content(READ_CHUNK))
    await upload.sync()
    assert await listed(storage) == [StoredFile("attachment/a", 4)]
    assert await listed(storage, ".") == []
    assert [file.path for file in await listed(storage, ".growi-transfer/")] == [
        aside,
        ".growi-transfer/former/0123/user/b",
    ]
    assert await listed(storage, ".growi-transfer/aside/") == [StoredFile(aside, 5)]
    assert await get(storage, aside) == b"aside"
    assert await size_of(storage, aside) == 5
    await upload.abort()


# --- moving ----------------------------------------------------------------------------------------------------------


async def test_moving_aside_and_back(bench: Bench) -> None:
    former, waiting = ".growi-transfer/former/01/attachment/a", ".growi-transfer/aside/01/attachment/a"
    storage: Storage = bench.storage
    await put(storage, "attachment/a", b"old")
    await put(storage, waiting, b"newer")
    await storage.move("attachment/a", former)
    await storage.move(waiting, "attachment/a")
    assert await get(bench.again(), "attachment/a") == b"newer"
    assert await storage.stat_many([former, waiting]) == [StoredFile(former, 3), None]
    await storage.move("attachment/a", waiting)
    await storage.move(former, "attachment/a")
    assert await get(bench.again(), "attachment/a") == b"old"
    await storage.delete(waiting)
    assert await listed(storage, ".growi-transfer/") == []
    assert await listed(storage) == [StoredFile("attachment/a", 3)]


async def test_moving_over_a_file_replaces_it(storage: Storage) -> None:
    await put(storage, "attachment/a", b"a")
    await put(storage, "attachment/b", content(READ_CHUNK))
    await storage.move("attachment/a", "attachment/b")
    await storage.move("attachment/a", "attachment/b")
    assert await listed(storage) == [StoredFile("attachment/b", 1)]
    assert await get(storage, "attachment/b") == b"a"


async def test_moving_a_file_onto_itself_keeps_it(storage: Storage) -> None:
    await put(storage, "attachment/a", b"a")
    await storage.move("attachment/a", "attachment/a")
    assert await get(storage, "attachment/a") == b"a"


async def test_moving_what_is_not_there(storage: Storage) -> None:
    with pytest.raises(FileNotFound):
        await storage.move("attachment/a", "attachment/b")


# --- large files in parts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_a_partial_upload(bench: Bench, size: int) -> None:
    data = content(size)
    upload = await bench.storage.partial("attachment/big", "id", FileMeta("image/png", "絵.png"))
    for start in range(0, size, READ_CHUNK):
        await upload.write(memoryview(data)[start : start + READ_CHUNK])
    assert upload.offset == size
    assert await upload.sync() == size
    assert await upload.sha256() == sha256(data).digest()
    assert await size_of(bench.storage, "attachment/big") is None
    await upload.finish()
    await upload.close()
    assert await get(bench.again(), "attachment/big") == data
    assert await listed(bench.storage) == [StoredFile("attachment/big", size)]


@pytest.mark.parametrize("first", [1, GRIDFS_CHUNK, GRIDFS_CHUNK + 1, READ_CHUNK])
async def test_a_partial_upload_goes_on_after_a_restart(bench: Bench, first: int) -> None:
    data = content(3 * READ_CHUNK)
    upload = await bench.storage.partial("attachment/big", "id")
    await upload.write(data[:first])
    assert await upload.sync() == first
    await upload.close()
    upload = await bench.again().partial("attachment/big", "id")
    assert upload.offset == first
    assert await upload.sync() == first
    await upload.write(data[first:])
    await assert_digest(bench, upload, data)
    await upload.finish()
    assert await get(bench.again(), "attachment/big") == data


async def test_a_process_that_died_lost_at_most_what_was_not_synced(bench: Bench) -> None:
    data = content(2 * READ_CHUNK + 10)
    upload = await bench.storage.partial("attachment/big", "id")
    await upload.write(data[:READ_CHUNK])
    durable = await upload.sync()
    await upload.write(data[READ_CHUNK:])
    again = await bench.again().partial("attachment/big", "id")
    assert durable <= again.offset <= len(data)
    await assert_digest(bench, again, data[: again.offset])
    await again.write(data[again.offset :])
    await assert_digest(bench, again, data)
    await again.finish()
    assert await get(bench.storage, "attachment/big") == data
    await upload.close()


@pytest.mark.parametrize("seed", range(6))
async def test_any_order_of_writes_syncs_and_restarts(bench: Bench, seed: int) -> None:
    rng = random.Random(seed)
    data = content(rng.choice([3 * GRIDFS_CHUNK, 2 * READ_CHUNK + rng.randrange(5000)]), seed)
    upload = await bench.storage.partial("attachment/big", "id")
    while upload.offset < len(data):
        step = rng.choice([1, 999, GRIDFS_CHUNK - 1, GRIDFS_CHUNK, 2 * GRIDFS_CHUNK, GRIDFS_CHUNK // 2])
        offset = upload.offset
        await upload.write(data[offset : offset + step])
        match rng.randrange(5):
            case 0:
                assert await upload.sync() == upload.offset
            case 1:
                await assert_digest(bench, upload, data[: upload.offset])
            case 2:
                durable = await upload.sync()
                await upload.close()
                upload = await bench.again().partial("attachment/big", "id")
                assert upload.offset == durable
    await assert_digest(bench, upload, data)
    await upload.finish()
    assert await get(bench.storage, "attachment/big") == data


async def test_writing_goes_on_during_a_sync(storage: Storage) -> None:
    data = content(8 * READ_CHUNK)
    upload = await storage.partial("attachment/big", "id")
    syncs: list[asyncio.Future[int]] = []
    for start in range(0, len(data), READ_CHUNK):
        await upload.write(data[start : start + READ_CHUNK])
        syncs.append(asyncio.ensure_future(upload.sync()))
    offsets = await asyncio.gather(*syncs)
    assert all(READ_CHUNK * n <= offset <= len(data) for n, offset in enumerate(offsets, start=1))
    assert await upload.sync() == len(data)
    assert await upload.sha256() == sha256(data).digest()
    await upload.finish()
    assert await get(storage, "attachment/big") == data


async def test_an_aborted_upload_leaves_no_trace(bench: Bench) -> None:
    await put(bench.storage, "attachment/big", b"old")
    upload = await bench.storage.partial("attachment/big", "id")
    await upload.write(content(2 * READ_CHUNK))
    await upload.sync()
    await upload.abort()
    await upload.abort()
    await upload.close()
    again = await bench.again().partial("attachment/big", "id")
    assert again.offset == 0
    await again.close()
    assert await get(bench.again(), "attachment/big") == b"old"
    await assert_no_trace(bench)


async def test_asking_for_an_upload_leaves_no_trace(bench: Bench) -> None:
    upload = await bench.storage.partial("attachment/big", "id")
    assert upload.offset == 0
    assert await upload.sync() == 0
    assert await upload.sha256() == sha256().digest()
    await upload.close()
    await assert_no_trace(bench)


async def test_two_uploads_do_not_meet(storage: Storage) -> None:
    one, two = await storage.partial("attachment/a", "1"), await storage.partial("attachment/b", "2")
    for n in range(3):
        await asyncio.gather(one.write(content(READ_CHUNK, n)), two.write(content(READ_CHUNK, n + 10)))
    await asyncio.gather(one.finish(), two.finish())
    assert await get(storage, "attachment/a") == b"".join(content(READ_CHUNK, n) for n in range(3))
    assert await get(storage, "attachment/b") == b"".join(content(READ_CHUNK, n + 10) for n in range(3))


async def test_an_upload_id_can_be_used_again_after_the_end(bench: Bench) -> None:
    for data in (b"first", content(READ_CHUNK), b""):
        upload = await bench.storage.partial("attachment/a", "same")
        assert upload.offset == 0
        await upload.write(data)
        await upload.finish()
        await upload.abort()
        with pytest.raises(StorageUnavailable):
            await upload.write(b"more")
        assert await get(bench.again(), "attachment/a") == data
    assert await listed(bench.storage) == [StoredFile("attachment/a", 0)]


@pytest.mark.parametrize("upload_id", ["", "a/b", "..", "a.b", "a" * 129, "日"])
async def test_an_upload_id_is_a_plain_word(storage: Storage, upload_id: str) -> None:
    with pytest.raises(InvalidRequest):
        await storage.partial("attachment/a", upload_id)


async def test_a_cancelled_write_to_an_upload_keeps_count(bench: Bench) -> None:
    data, step = content(20 * READ_CHUNK), 4 * READ_CHUNK
    upload = await bench.storage.partial("attachment/big", "id")
    for number, start in enumerate(range(0, len(data), step)):
        task = asyncio.create_task(upload.write(data[start : start + step]))
        await asyncio.sleep(0.002 * number)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if await upload.sync() == start:
            await upload.write(data[start : start + step])
        assert await upload.sync() == start + step
    assert await upload.sha256() == sha256(data).digest()
    await upload.finish()
    assert await get(bench.again(), "attachment/big") == data


async def assert_digest(bench: Bench, upload: PartialUpload, data: bytes) -> None:
    """The digest is right. Only S3 may not know it, after a restart."""
    digest = await upload.sha256()
    assert digest == sha256(data).digest() or (bench.kind == "aws" and digest is None)


async def assert_no_trace(bench: Bench) -> None:
    """Nothing but whole files is stored."""
    if bench.kind == "gridfs":
        assert await bench.rows("growi_transfer_uploads") == 0
        rows, chunks = await bench.rows("attachmentFiles.files"), await bench.rows("attachmentFiles.chunks")
        assert chunks == rows  # the files of these tests have one chunk each
    elif bench.kind == "local":
        await bench.storage.close()
        assert not (bench.root / ".growi-transfer").exists()
    elif bench.place is not None:
        assert [found.path async for page in Bucket(bench.place).pages(".growi-transfer/") for found in page] == []
    else:
        assert bench.storage.uploads == {}


# --- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS[:3])
async def test_a_full_memory_and_one_that_is_read_only(way: Way) -> None:
    storage = MemoryStorage()
    await storage.write("attachment/a", pieces(OLD), len(OLD))
    storage.capacity = 1 << 20
    with pytest.raises(StorageFull):
        await way(storage)
    storage.writable = False
    with pytest.raises(StorageNotWritable):
        await way(storage)
    with pytest.raises(StorageNotWritable):
        await storage.probe()
    assert storage.files["attachment/a"] == OLD


async def test_a_source_that_vanishes_between_stat_and_read(bench: Bench) -> None:
    await bench.storage.write_many([SmallFile("attachment/a", b"a"), SmallFile("attachment/b", b"b")])
    assert None not in await bench.storage.stat_many(["attachment/a", "attachment/b"])
    await bench.again().delete("attachment/a")
    gone, there = await bench.storage.read_many(["attachment/a", "attachment/b"], 10)
    assert isinstance(gone, FileNotFound)
    assert there == b"b"
    with pytest.raises(FileNotFound):
        await anext(bench.storage.open("attachment/a"))


async def test_a_source_that_grew_after_it_was_looked_at(bench: Bench) -> None:
    await bench.storage.write_many([SmallFile("attachment/a", b"12345")])
    await bench.again().write_many([SmallFile("attachment/a", b"1234567")])
    (found,) = await bench.storage.read_many(["attachment/a"], 5)
    assert isinstance(found, SizeMismatch)


# --- the rest --------------------------------------------------------------------------------------------------------


async def test_a_probe_leaves_nothing(bench: Bench) -> None:
    await bench.storage.probe()
    await put(bench.storage, "attachment/a", b"a")
    await bench.storage.probe()
    assert await listed(bench.storage) == [StoredFile("attachment/a", 1)]
    assert await listed(bench.storage, ".growi-transfer/") == []
    await assert_no_trace(bench)


async def test_free_space_is_told(storage: Storage) -> None:
    free = await storage.free_bytes()
    assert free is None or free > 0


async def test_features(bench: Bench) -> None:
    assert bench.storage.features.kind == bench.kind
    assert bench.storage.features.durable is (bench.kind != "memory")


async def test_closing_twice(bench: Bench) -> None:
    await put(bench.storage, "attachment/a", b"a")
    await bench.storage.close()
    await bench.storage.close()
    assert await get(bench.again(), "attachment/a") == b"a"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        *itertools.permutations(("memory", "local", "gridfs"), 2),
        *(("local", "aws"), ("aws", "gridfs"), ("aws", "azure"), ("azure", "local")),
    ],
)
async def test_copying_between_unlike_storages(benches: Benches, source: str, target: str) -> None:
    theirs, ours = (await benches.make(source)).storage, (await benches.make(target)).storage
    files = {f"attachment/{n:02}": content(size, n) for n, size in enumerate(SIZES)}
    for path, data in files.items():
        await put(theirs, path, data)
    for number, (path, data) in enumerate(files.items()):
        if number % 3 == 0:
            await ours.write(path, theirs.open(path), len(data))
        elif number % 3 == 1:
            (found,) = await theirs.read_many([path], len(data))
            assert isinstance(found, bytes)
            assert await ours.write_many([SmallFile(path, found)]) == [None]
        else:
            upload = await ours.partial(path, f"copy-{number}")
            async for chunk in theirs.open(path):
                await upload.write(chunk)
            assert await upload.sha256() == sha256(data).digest()
            await upload.finish()
    assert await listed(ours) == await listed(theirs)
    for path, data in files.items():
        assert await get(ours, path) == data


@pytest.mark.parametrize("kind", ["none", "ftp"])
def test_a_kind_we_cannot_do_is_refused(kind: str) -> None:
    with pytest.raises(StorageNotConfigured) as raised:
        open_storage(kind)
    if kind != "none":
        assert kind in raised.value.message
        assert "local, gridfs, aws" in raised.value.message


async def test_the_registry_opens_what_growi_names(benches: Benches) -> None:
    local, gridfs = await benches.make("local"), await benches.make("gridfs")
    opened = open_storage("local", uploads_dir=local.root)
    await put(opened, "attachment/a", b"local")
    assert await get(local.storage, "attachment/a") == b"local"
    await opened.close()
    for kind in ("gridfs", "mongodb"):
        opened = open_storage(kind, commands=gridfs.database)
        await put(opened, "attachment/a", kind.encode())
        assert await get(gridfs.storage, "attachment/a") == kind.encode()
    with pytest.raises(StorageNotConfigured, match="GROWI_TRANSFER_UPLOADS_DIR"):
        open_storage("local")
    with pytest.raises(StorageNotConfigured, match="MONGO_URI"):
        open_storage("gridfs")
