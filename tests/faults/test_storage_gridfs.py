"""The GridFS storage when things go wrong: a database that refuses, one that stops at any command, damaged files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from tests.fakes.storage_faults import FaultyCommands
from tests.fakes.storages import (
    NEW,
    OLD,
    WAYS,
    Bench,
    Way,
    assert_old_or_new,
    content,
    get,
    listed,
    pieces,
    put,
    write_bundle,
    write_one,
    write_parts,
)

from growi_transfer.protocol.errors import (
    DatabaseFull,
    DatabaseRefused,
    DatabaseUnavailable,
    SizeMismatch,
    StorageFull,
    StorageNotWritable,
    StorageUnavailable,
    TransferError,
)
from growi_transfer.storage.base import READ_CHUNK, SmallFile, StoredFile
from growi_transfer.storage.gridfs import GridFsStorage


@pytest.mark.parametrize(
    ("cause", "effect"),
    [
        (DatabaseFull(), StorageFull),
        (DatabaseRefused("no", code=13, code_name="Unauthorized"), StorageNotWritable),
        (DatabaseUnavailable(), StorageUnavailable),
    ],
)
@pytest.mark.parametrize("way", [*WAYS, lambda storage: storage.probe(), lambda storage: storage.delete("user/a")])
async def test_a_database_that_refuses(gridfs: Bench, way: Way, cause: TransferError, effect: Any) -> None:
    await gridfs.storage.write("attachment/a", pieces(OLD), len(OLD))
    faulty = FaultyCommands(gridfs.mongo, writes_fail=cause)
    with pytest.raises(effect):
        await way(GridFsStorage(faulty))
    assert await get(gridfs.again(), "attachment/a") == OLD


@pytest.mark.parametrize(("code", "effect"), [(14031, StorageFull), (8000, StorageFull), (121, StorageNotWritable)])
@pytest.mark.parametrize("way", WAYS)
async def test_a_write_error_in_the_answer(gridfs: Bench, way: Way, code: int, effect: Any) -> None:
    await gridfs.storage.write("attachment/a", pieces(OLD), len(OLD))
    faulty = FaultyCommands(gridfs.mongo, write_error=code)
    with pytest.raises(effect):
        await way(GridFsStorage(faulty))
    assert await get(gridfs.again(), "attachment/a") == OLD
    assert await gridfs.rows("attachmentFiles.files") <= 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lost_answer", [False, True])
async def test_a_process_that_dies_at_any_command(gridfs: Bench, way: Way, lost_answer: bool) -> None:
    mongo = gridfs.mongo
    for stop_after in range(100):
        storage = gridfs.again()
        for path in ("attachment/a", "attachment/b", ".growi-transfer/aside/1/a"):
            await storage.delete(path)
        await storage.write("attachment/a", pieces(OLD), len(OLD))
        faulty = FaultyCommands(mongo, stop_after=stop_after, lost_answer=lost_answer)
        stopped = False
        try:
            await way(GridFsStorage(faulty))
        except StorageUnavailable:
            stopped = True
        await assert_old_or_new(gridfs.again())
        await way(gridfs.again())
        assert await get(gridfs.again(), "attachment/a") == NEW
        if not stopped:
            assert stop_after > 5
            break
    else:
        pytest.fail("there are more commands than expected")
    await assert_orphans_go(gridfs)


@pytest.mark.parametrize("way", [write_one, write_bundle])
async def test_a_refused_file_takes_its_chunks_with_it(gridfs: Bench, way: Way) -> None:
    faulty = FaultyCommands(gridfs.mongo, write_error=14031, only=["attachmentFiles.files"])
    with pytest.raises(StorageFull):
        await way(GridFsStorage(faulty))
    assert await gridfs.rows("attachmentFiles.chunks") == 0
    assert await gridfs.rows("growi_transfer_uploads") == 0


async def test_an_upload_that_stopped_after_its_last_step_does_no_harm(gridfs: Bench) -> None:
    """The file is there, and the state that says where its chunks are is too: the id must not lead to them again."""
    for stop_after in range(50):
        await (await gridfs.storage.partial("attachment/a", "id")).abort()
        await gridfs.storage.delete("attachment/a")
        stopping = GridFsStorage(FaultyCommands(gridfs.mongo, stop_after=stop_after))
        with contextlib.suppress(StorageUnavailable):
            await write_parts(stopping)
        if await gridfs.storage.stat_many(["attachment/a"]) != [None]:
            upload = await gridfs.again().partial("attachment/b", "id")
            assert upload.offset == 0
            await upload.write(b"another")
            await upload.abort()
            assert await get(gridfs.storage, "attachment/a") == NEW
            return
    pytest.fail("the upload never came to its end")


async def assert_orphans_go(bench: Any) -> None:
    """A day later, whoever opens the bucket for writing removes what dead processes left."""
    yesterday = datetime.now(UTC) - timedelta(days=1, minutes=1)
    updates = [{"q": {"at": {"$exists": True}}, "u": {"$set": {"at": yesterday}}, "multi": True}]
    await bench.mongo.command({"update": "growi_transfer_uploads", "updates": updates})
    await bench.again().write_many([SmallFile("attachment/z", b"z")])
    pipeline = [
        {"$lookup": {"from": "attachmentFiles.files", "localField": "files_id", "foreignField": "_id", "as": "file"}},
        {"$match": {"file": []}},
        {"$project": {"data": 0}},
    ]
    reply = await bench.mongo.command({"aggregate": "attachmentFiles.chunks", "pipeline": pipeline, "cursor": {}})
    assert reply["cursor"]["firstBatch"] == []
    assert await bench.rows("growi_transfer_uploads") == 0


async def test_a_note_of_a_living_writer_is_left_alone(gridfs: Bench) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(5 * READ_CHUNK)
        reached.set()
        await go_on.wait()
        yield b"end"

    writing = asyncio.create_task(gridfs.storage.write("attachment/slow", slow(), 5 * READ_CHUNK + 3))
    await reached.wait()
    await gridfs.again().write_many([SmallFile("attachment/other", b"other")])
    go_on.set()
    await writing
    assert len(await get(gridfs.again(), "attachment/slow")) == 5 * READ_CHUNK + 3


@pytest.mark.parametrize("damage", ["missing", "short", "twice"])
async def test_a_damaged_file_in_gridfs_is_no_file(gridfs: Bench, damage: str) -> None:
    data = content(3 * READ_CHUNK)
    for path in ("attachment/a", "attachment/b"):
        await gridfs.storage.write(path, pieces(data), len(data))
    (row,) = (await gridfs.mongo.command({"find": "attachmentFiles.files", "filter": {"filename": "a"}}))["cursor"][
        "firstBatch"
    ]
    chunk = {"files_id": row["_id"], "n": 4}
    if damage == "missing":
        command: dict[str, Any] = {"delete": "attachmentFiles.chunks", "deletes": [{"q": chunk, "limit": 1}]}
    elif damage == "short":
        change = {"q": chunk, "u": {"$set": {"data": b"short"}}}
        command = {"update": "attachmentFiles.chunks", "updates": [change]}
    else:
        await gridfs.mongo.command({"dropIndexes": "attachmentFiles.chunks", "index": "files_id_1_n_1"})
        command = {"insert": "attachmentFiles.chunks", "documents": [{**chunk, "data": b"again"}]}
    await gridfs.mongo.command(command)
    storage = gridfs.again()
    damaged, whole = await storage.read_many(["attachment/a", "attachment/b"], 1 << 30)
    assert isinstance(damaged, SizeMismatch)
    assert whole == data
    with pytest.raises(SizeMismatch):
        await get(storage, "attachment/a")
    await gridfs.storage.delete("attachment/a")
    assert await storage.stat_many(["attachment/a"]) == [None]


async def test_the_newest_of_several_files_with_one_name(gridfs: Bench) -> None:
    mongo, storage = gridfs.mongo, gridfs.storage
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for number, day in enumerate([1, 3, 2]):
        files_id = ObjectId()
        chunk = {"files_id": files_id, "n": 0, "data": bytes([number]) * 10}
        row = {"_id": files_id, "length": 10, "chunkSize": 16, "filename": "a"}
        await mongo.command({"insert": "attachmentFiles.chunks", "documents": [chunk]})
        await mongo.command(
            {"insert": "attachmentFiles.files", "documents": [{**row, "uploadDate": moment + timedelta(days=day)}]}
        )
    assert await get(storage, "attachment/a") == bytes([1]) * 10
    assert await listed(storage) == [StoredFile("attachment/a", 10)]
    await storage.move("attachment/a", "attachment/b")
    assert await get(storage, "attachment/b") == bytes([1]) * 10
    assert await storage.stat_many(["attachment/a"]) == [None]
    assert await gridfs.rows("attachmentFiles.chunks") == 1


async def test_a_move_onto_a_file_from_the_future_that_stops_halfway(gridfs: Bench) -> None:
    """The clock of whoever wrote the target was ahead. Once the source is gone, the target is what was moved."""
    future = datetime.now(UTC) + timedelta(days=400)
    row = {"length": 0, "chunkSize": 16, "filename": "a", "uploadDate": future}
    for stop_after in range(20):
        for path in ("attachment/a", "attachment/b"):
            await gridfs.storage.delete(path)
        await put(gridfs.storage, "attachment/b", NEW)
        await gridfs.mongo.command({"insert": "attachmentFiles.files", "documents": [{**row, "_id": ObjectId()}]})
        stopping = GridFsStorage(FaultyCommands(gridfs.mongo, stop_after=stop_after))
        try:
            await stopping.move("attachment/b", "attachment/a")
        except StorageUnavailable:
            await gridfs.again().move("attachment/b", "attachment/a")
        else:
            assert stop_after > 3
            return
        assert await get(gridfs.storage, "attachment/a") == NEW
    pytest.fail("there are more commands than expected")


async def test_an_index_that_is_there_under_another_name(gridfs: Bench) -> None:
    keys = {"filename": 1, "uploadDate": 1}
    index = {"key": keys, "name": "made_by_hand"}
    await gridfs.mongo.command({"createIndexes": "attachmentFiles.files", "indexes": [index]})
    await write_one(gridfs.storage)
    assert await get(gridfs.storage, "attachment/a") == NEW
