"""What holds for the GridFS storage alone: the documents as GROWI writes and reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId
from tests.fakes.storages import (
    NEW,
    WAYS,
    Bench,
    content,
    get,
    listed,
    pieces,
)

from growi_transfer.protocol.errors import (
    FileNotFound,
)
from growi_transfer.storage.base import FileMeta, SmallFile, StoredFile


async def test_many_files_with_one_name_across_pages(gridfs: Bench) -> None:
    rows = [
        {
            "_id": ObjectId(),
            "length": n,
            "chunkSize": 16,
            "filename": name,
            "uploadDate": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n),
        }
        for name, count in (("a", 999), ("b", 2100), ("c", 2), ("d", 1))
        for n in range(count)
    ]
    await gridfs.mongo.command({"insert": "attachmentFiles.files", "documents": rows})
    assert await listed(gridfs.storage) == [
        StoredFile("attachment/a", 998),
        StoredFile("attachment/b", 2099),
        StoredFile("attachment/c", 1),
        StoredFile("attachment/d", 0),
    ]


async def test_gridfs_as_growi_has_it(gridfs: Bench) -> None:
    mongo, storage = gridfs.mongo, gridfs.storage
    data = content(600_000)
    meta = FileMeta("image/png", "図.png")
    await storage.write("attachment/a.png", pieces(data), len(data), meta)
    await storage.write_many([SmallFile("user/b.png", data, meta)])
    upload = await storage.partial("attachment/c.png", "id", meta)
    await upload.write(data)
    await upload.finish()
    command = {"find": "attachmentFiles.files", "sort": {"filename": 1}}
    rows = (await mongo.command(command))["cursor"]["firstBatch"]
    assert [row["filename"] for row in rows] == ["a.png", "b.png", "c.png"]
    for row in rows:
        assert set(row) == {"_id", "length", "chunkSize", "uploadDate", "filename", "contentType"}
        assert isinstance(row["_id"], ObjectId)
        assert (row["length"], row["chunkSize"], row["contentType"]) == (600_000, 261_120, "image/png")
        assert abs(row["uploadDate"] - datetime.now(UTC)) < timedelta(minutes=1)
        query = {"find": "attachmentFiles.chunks", "filter": {"files_id": row["_id"]}, "sort": {"n": 1}}
        chunks = (await mongo.command(query))["cursor"]["firstBatch"]
        assert [(chunk["n"], len(chunk["data"])) for chunk in chunks] == [(0, 261_120), (1, 261_120), (2, 77_760)]
        assert b"".join(chunk["data"] for chunk in chunks) == data
        assert all(set(chunk) == {"_id", "files_id", "n", "data"} for chunk in chunks)
    for collection, keys in (("files", ["filename", "uploadDate"]), ("chunks", ["files_id", "n"])):
        reply = await mongo.command({"listIndexes": f"attachmentFiles.{collection}"})
        (index,) = [index for index in reply["cursor"]["firstBatch"] if list(index["key"]) == keys]
        assert index.get("unique", False) is (collection == "chunks")


async def test_reading_changes_nothing_in_the_database(gridfs: Bench) -> None:
    storage = gridfs.storage
    await listed(storage)
    await storage.stat_many(["attachment/a"])
    await storage.read_many(["attachment/a"], 10)
    with pytest.raises(FileNotFound):
        await get(storage, "attachment/a")
    await storage.delete("attachment/a")
    await (await storage.partial("attachment/a", "id")).close()
    reply = await gridfs.mongo.command({"listCollections": 1})
    assert reply["cursor"]["firstBatch"] == []


async def test_what_was_replaced_takes_no_room(gridfs: Bench) -> None:
    for way in WAYS:
        await way(gridfs.storage)
        await way(gridfs.again())
    await gridfs.storage.delete("attachment/b")
    assert await gridfs.rows("attachmentFiles.files") == 1
    assert await gridfs.rows("attachmentFiles.chunks") == -(-len(NEW) // 261_120)
    assert await gridfs.rows("growi_transfer_uploads") == 0
