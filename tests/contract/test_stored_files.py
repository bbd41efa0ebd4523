"""A storage held against the documents of a real database: what is found, what is told, what is deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from tests.fakes.storages import Bench, Benches, content, listed, put, small

from growi_transfer.jobs.stored_files import Finding, Outcome, StoredFiles
from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.mongo.client import Database, open_database
from growi_transfer.mongo.inspection import attachments_by_path
from growi_transfer.protocol.errors import DestinationBusy, NameIllegal, StateConflict, StorageFull
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.places import layout_of, naming_of, storage_paths
from growi_transfer.storage.base import SmallFile
from growi_transfer.storage.check import CHECK_FOLDER, StorageCheck
from growi_transfer.storage.matching import Match, matches
from growi_transfer.storage.memory import MemoryStorage

NOW = datetime(2026, 11, 22, tzinfo=UTC)
WEEK = timedelta(days=7)


def md5(number: int) -> str:
    return f"{number:032x}.png"


PAGE_ID = "5bbf1d2f8f1b2c0015a3c111"
DOCUMENTS: list[dict[str, Any]] = [
    {"fileName": md5(1), "page": 1, "fileSize": 1},
    {"fileName": md5(2), "page": None, "fileSize": 2},
    {"fileName": md5(3), "attachmentType": "PAGE_BULK_EXPORT", "fileSize": 3},
    {"fileName": md5(4), "page": 1, "filePath": f"attachment/{PAGE_ID}/{md5(104)}", "fileSize": 4},
    {"fileName": md5(5), "page": 1, "filePath": f"user/{md5(105)}", "fileSize": 5},
    {"fileName": md5(6), "page": 1, "filePath": "backup/out", "fileSize": 6},
    {"fileName": "日本.png", "page": 1, "fileSize": 7},
    {"fileName": md5(8), "page": None, "attachmentType": "AUDIT_LOG_BULK_EXPORT", "fileSize": 8},
    {"fileName": "a/b", "page": 1},
    {"fileName": 7},
    {},
]


@pytest.fixture
async def mongo(mongo_uri: str, mongo_database_name: str) -> AsyncIterator[Database]:
    database = await open_database(mongo_uri, database=mongo_database_name)
    yield database
    await database.close()


async def insert(database: Database, collection: str, *documents: dict[str, Any]) -> None:
    await database.command({"insert": collection, "documents": list(documents)})


def stored(database: Database, bench: Any, ledger: Any = None, now: datetime = NOW) -> StoredFiles:
    return StoredFiles(database=database, storage=bench, ledger=ledger or MemoryLedger(), clock=lambda: now)


async def all_findings(files: StoredFiles, older_than: timedelta = WEEK) -> tuple[list[Finding], Outcome]:
    outcome = files.outcome()
    return [one async for one in files.findings(outcome, older_than=older_than)], outcome


async def delete(files: StoredFiles, older_than: timedelta = WEEK) -> list[str]:
    return [one.path async for page in files.delete_orphans(files.outcome(), older_than=older_than) for one in page]


def _as_listed(path: str) -> str:
    """By a storage without folders."""
    return f"attachment/{path.removeprefix('user/')}" if path.startswith("user/") else path


@pytest.mark.parametrize("kind", ["aws", "gcs", "azure", "local", "gridfs"])
async def test_the_server_orders_by_the_places_that_the_names_tell(mongo: Database, kind: str) -> None:
    await insert(mongo, "attachments", *({"_id": n, **one} for n, one in enumerate(DOCUMENTS)))
    rows = [one async for page in attachments_by_path(mongo, layout_of(kind)) for one in page]
    paths = [one["path"] for one in rows if "path" in one]
    assert paths == sorted(paths, key=str.encode)
    found: dict[int, list[str]] = {}
    for row in sorted(rows, key=lambda one: one.get("rank") or 0):
        found.setdefault(row["_id"], []).append(row.get("path", ""))
    for number, document in enumerate(DOCUMENTS):
        try:
            expected = list(storage_paths(naming_of(document), kind))
        except NameIllegal:
            continue
        if kind == "gridfs":  # it lists everything in one folder
            expected = [_as_listed(path) for path in expected]
        assert [path for path in found[number] if "backup/" not in path] == expected, document


@pytest.mark.parametrize("kind", ["aws", "gridfs"])
async def test_the_order_holds_across_pages(mongo: Database, kind: str) -> None:
    """One in seven has a legacy path, one in eleven is an export, and some have no name at all."""
    documents = [
        {
            "_id": n,
            "fileName": md5(n * 7919 % 5003) if n % 1000 else n,
            "page": 1 if n % 3 else None,
            **({"filePath": f"attachment/{md5(n * 31 % 5003)}"} if n % 7 == 0 else {}),
            **({"attachmentType": "PAGE_BULK_EXPORT"} if n % 11 == 0 else {}),
        }
        for n in range(5000)
    ]
    await insert(mongo, "attachments", *documents)
    rows = [one async for page in attachments_by_path(mongo, layout_of(kind)) for one in page]
    paths = [one["path"] for one in rows if "path" in one]
    assert paths == sorted(paths)
    assert sorted(one["_id"] for one in rows if not one.get("rank")) == list(range(5000))


@pytest.mark.parametrize("kind", ["aws", "local", "gridfs"])
async def test_every_document_once_and_every_file_of_nobody(mongo: Database, kind: str) -> None:
    """Each file lies where today's GROWI looks, or, with odd numbers, where an older one did."""
    storage = MemoryStorage(kind=kind)
    await insert(mongo, "attachments", *({"_id": n, **one} for n, one in enumerate(DOCUMENTS)))
    expected: dict[int, str] = {}
    for number, document in enumerate(DOCUMENTS[:8]):
        paths = storage_paths(naming_of(document), kind)
        path = paths[number % len(paths)]
        expected[number] = _as_listed(path) if kind == "gridfs" else path
        await put(storage, expected[number], b"x" * (number + 1))
    orphans = {f"attachment/{md5(90)}", "attachment/zz", f"attachment/{PAGE_ID}/{md5(91)}"}
    orphans |= {"user/z", "page-bulk-export/a", "audit-log-bulk-export/a"} if kind != "gridfs" else set()
    await storage.write_many(small([*orphans, "backup/of/somebody"]))
    documents = attachments_by_path(mongo, layout_of(kind))
    found: list[Match] = [one async for one in matches(storage, documents)]
    files = {one.document["_id"]: one.file.path for one in found if one.document is not None and one.file is not None}
    assert files == expected
    assert sorted(one.document["_id"] for one in found if one.document is not None) == list(range(len(DOCUMENTS)))
    assert {one.document["_id"] for one in found if not one.is_legal and one.document is not None} == {8, 9, 10}
    assert {one.file.path for one in found if one.document is None and one.file is not None} == orphans


async def test_two_documents_of_one_file_and_no_file(mongo: Database) -> None:
    storage = MemoryStorage()
    await put(storage, f"attachment/{md5(1)}", b"x")
    await insert(mongo, "attachments", DOCUMENTS[0], DOCUMENTS[0], {"fileName": md5(9), "page": 1})
    found = [one async for one in matches(storage, attachments_by_path(mongo, layout_of("memory")))]
    assert [(one.file is not None, one.is_repeated) for one in found] == [(True, False), (True, True), (False, False)]


@pytest.mark.parametrize("kind", ["memory", "local", "gridfs"])
async def test_what_is_told_and_what_is_deleted(benches: Benches, mongo: Database, kind: str) -> None:
    bench: Bench = await benches.make(kind)
    storage = bench.storage if kind != "memory" else MemoryStorage(clock=lambda: NOW.timestamp())
    await insert(mongo, "attachments", {"fileName": md5(1), "page": 1, "fileSize": 5}, {"fileName": md5(2), "page": 1})
    await insert(mongo, "users", {"image": f"/uploads/user/{md5(8)}?v=1"}, {"image": None})
    await storage.write_many(
        [
            SmallFile(f"attachment/{md5(1)}", b"four"),
            SmallFile(f"attachment/{md5(3)}", b"nobody's"),
            SmallFile("attachment/photo.png", b"an admin's"),
            SmallFile(f"user/{md5(8)}", b"face"),
        ]
    )
    later = stored(mongo, storage, now=datetime.now(UTC) + timedelta(days=400))
    found, outcome = await all_findings(later)
    assert {(one.what, one.path.rpartition("/")[2], one.kept) for one in found} == {
        ("size_differs", md5(1), ""),
        ("document_without_file", md5(2), ""),
        ("file_without_document", md5(3), ""),
        ("file_without_document", "photo.png", "name_not_growi"),
        ("file_without_document", md5(8), "user_image"),
    }
    assert (outcome.deletable.files, outcome.deletable.bytes) == (1, 8)
    assert outcome.found["file_without_document"].files == 3
    young, _ = await all_findings(stored(mongo, storage, now=datetime.now(UTC)), timedelta(days=36500))
    assert {one.kept for one in young if one.path.endswith(md5(3))} == {"young"}
    assert await delete(later) == [f"attachment/{md5(3)}"]
    assert len(await listed(storage)) == 3
    usage = await later.usage()
    assert sum(one.files for one in usage.values()) == 3


async def test_what_cannot_be_proved_old_stays(mongo: Database) -> None:
    storage = MemoryStorage()
    await insert(mongo, "attachments", {"fileName": md5(9), "page": 1})
    await put(storage, f"attachment/{md5(3)}", b"x")
    found, _ = await all_findings(stored(mongo, storage))
    assert [one.kept for one in found] == ["age_unknown", ""]
    assert await delete(stored(mongo, storage)) == []


async def test_a_folder_that_growi_has_named_and_not_used_is_told_and_stays(mongo: Database) -> None:
    storage = MemoryStorage(clock=lambda: 0)
    await insert(mongo, "attachments", {"fileName": md5(9), "attachmentType": "AUDIT_LOG_BULK_EXPORT"})
    await storage.write_many(small([f"audit-log-bulk-export/{md5(n)}" for n in (3, 9)]))
    files = stored(mongo, storage)
    found, outcome = await all_findings(files)
    assert [(one.path, one.kept) for one in found] == [(f"audit-log-bulk-export/{md5(3)}", "audit_log")]
    assert (outcome.deletable.files, await delete(files)) == (0, [])
    assert {name: one.files for name, one in (await files.usage()).items()} == {"audit-log-bulk-export": 2}


async def test_a_document_that_comes_in_between_saves_its_file(mongo: Database) -> None:
    storage = MemoryStorage(clock=lambda: 0)
    await insert(mongo, "attachments", {"fileName": md5(9), "page": 1})
    await storage.write_many(small([f"attachment/{md5(n)}" for n in range(3)]))
    files = stored(mongo, storage)
    outcome = files.outcome()
    pages = files.delete_orphans(outcome, older_than=WEEK)
    original = files.check_deletable

    async def meanwhile() -> None:
        await insert(mongo, "attachments", {"fileName": md5(1), "page": 1})
        await original()

    files.check_deletable = meanwhile  # type: ignore[method-assign]
    assert [one.path async for page in pages for one in page] == [f"attachment/{md5(0)}", f"attachment/{md5(2)}"]
    assert [file.path for file in await listed(storage)] == [f"attachment/{md5(1)}"]
    assert (outcome.deleted.files, outcome.deletable.files) == (2, 3)


async def test_a_database_without_attachments_proves_nothing(mongo: Database) -> None:
    """That of another wiki, or the private one that is started where no MONGO_URI is set."""
    storage = MemoryStorage(clock=lambda: 0)
    await put(storage, f"attachment/{md5(3)}", b"x")
    files = stored(mongo, storage)
    with pytest.raises(StateConflict, match="MONGO_URI"):
        await files.check_deletable()
    with pytest.raises(StateConflict, match="MONGO_URI"):
        await delete(files)
    assert len(await listed(storage)) == 1


@pytest.mark.parametrize(
    ("state", "facts", "refusal"),
    [
        (State.COPYING, {}, DestinationBusy),
        (State.READY, {}, DestinationBusy),
        (State.PAUSED, {}, DestinationBusy),
        (State.COMPLETED, {}, StateConflict),
        (State.COMPLETED, {"purged_at": NOW.isoformat()}, None),
        (State.CANCELLED, {}, None),
    ],
)
async def test_no_file_goes_that_a_transfer_may_need(
    mongo: Database, state: State, facts: dict[str, Any], refusal: type[Exception] | None
) -> None:
    ledger, storage = MemoryLedger(), MemoryStorage(clock=lambda: 0)
    came_from = State.COPYING if state is State.PAUSED else None
    await insert(mongo, "attachments", {"fileName": md5(9), "page": 1})
    await put(storage, f"attachment/{md5(3)}", b"x")
    await ledger.create_transfer(
        TransferRow(Role.RECEIVER, "0" * 32, Position(state, came_from), {}, NOW, NOW, facts=facts)
    )
    files = stored(mongo, storage, ledger)
    if refusal is None:
        assert await delete(files) == [f"attachment/{md5(3)}"]
        return
    with pytest.raises(refusal):
        await delete(files)
    assert len(await listed(storage)) == 1


async def test_chunks_without_a_file(gridfs: Bench) -> None:
    """As a GROWI that was killed leaves them; those of an upload that can go on, and young ones, are none."""
    mongo, storage = gridfs.mongo, gridfs.storage
    await put(storage, f"attachment/{md5(1)}", content(600_000))
    upload = await storage.partial(f"attachment/{md5(2)}", "id")
    await upload.write(content(300_000))
    await upload.sync()
    old = datetime.now(UTC) - timedelta(days=30)
    killed, running, odd = ObjectId.from_datetime(old), ObjectId(), ObjectId.from_datetime(old - timedelta(days=1))
    chunks = [
        {"_id": ObjectId.from_datetime(old + timedelta(seconds=n)), "files_id": killed, "n": n, "data": bytes(1000)}
        for n in range(1500)
    ]
    await insert(mongo, "attachmentFiles.chunks", *chunks)
    await insert(mongo, "attachmentFiles.chunks", {"_id": ObjectId(), "files_id": running, "n": 0, "data": b"new"})
    await insert(mongo, "attachmentFiles.chunks", {"_id": "odd", "files_id": odd, "n": 0, "data": b"?"})
    await insert(mongo, "attachments", {"fileName": md5(1), "page": 1})
    # The upload began long ago, as far as its chunks tell.
    before = await gridfs.rows("attachmentFiles.chunks")
    found, outcome = await all_findings(stored(mongo, storage))
    assert [(one.what, one.path, one.size) for one in found] == [("leftover", str(killed), 1_500_000)]
    assert outcome.deletable.bytes == 1_500_000
    assert (await all_findings(stored(mongo, storage), timedelta(days=31)))[0] == []
    assert await delete(stored(mongo, storage)) == [str(killed)]
    assert await gridfs.rows("attachmentFiles.chunks") == before - 1500
    everything, _ = await all_findings(stored(mongo, storage), timedelta(days=-1))
    assert [one.path for one in everything] == [str(running)]
    await upload.finish()
    assert len(await listed(storage)) == 2


async def test_files_that_gridfs_has_twice(gridfs: Bench) -> None:
    old = {"length": 3, "chunkSize": 255 * 1024, "filename": md5(1), "uploadDate": NOW - timedelta(days=9)}
    await put(gridfs.storage, f"attachment/{md5(1)}", b"newest")
    await insert(gridfs.mongo, "attachmentFiles.files", old, {**old, "length": 4})
    await insert(gridfs.mongo, "attachments", {"fileName": md5(1), "page": 1})
    found, outcome = await all_findings(stored(gridfs.mongo, gridfs.storage))
    assert [(one.what, one.size) for one in found] == [("stored_twice", 6)]
    assert outcome.deletable.files == 0


async def test_a_check_tells_every_step_and_leaves_nothing(bench: Bench) -> None:
    steps = await StorageCheck(bench.storage, size=3_000_000, tries=2).run()
    assert [(step.name, step.error, len(step.seconds)) for step in steps] == [
        ("layout", None, 1),
        ("write", None, 2),
        ("read", None, 2),
        ("list", None, 2),
        ("delete", None, 3),
    ]
    rates = {step.name for step in steps if step.bytes_per_second}
    assert rates == {"write", "read"}
    assert all(step.median is not None and step.worst is not None for step in steps)
    assert await listed(bench.storage, CHECK_FOLDER) == await listed(bench.storage) == []


async def test_a_check_that_fails_leaves_nothing() -> None:
    storage = MemoryStorage(capacity=5000)
    steps = {step.name: step for step in await StorageCheck(storage, size=100_000, tries=3).run()}
    assert isinstance(steps["write"].error, StorageFull)
    assert steps["read"].seconds == []
    assert storage.files == {}


async def test_a_check_that_is_stopped_leaves_nothing(bench: Bench) -> None:
    """In the middle of each of its steps."""
    for stop_at in ("write_many", "write", "read_many", "delete"):
        reached = asyncio.Event()
        original = getattr(bench.storage, stop_at)

        async def stopped(*given: Any, call: Any = original, flag: asyncio.Event = reached) -> Any:
            answer = await call(*given)
            if not flag.is_set():
                flag.set()
                await asyncio.sleep(0.05)  # it is cancelled here; a small request is carried out
            return answer

        setattr(bench.storage, stop_at, stopped)
        running = asyncio.create_task(StorageCheck(bench.storage, size=100_000, tries=2).run())
        await reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        setattr(bench.storage, stop_at, original)
        assert await listed(bench.storage, CHECK_FOLDER) == [], stop_at
    assert bench.kind != "gridfs" or await bench.rows("attachmentFiles.chunks") == 0


async def test_a_write_that_is_stopped_leaves_no_chunks(gridfs: Bench) -> None:
    async def endless(begun: asyncio.Event) -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)
            begun.set()

    for _ in range(3):
        begun = asyncio.Event()
        running = asyncio.create_task(gridfs.storage.write("attachment/a", endless(begun), 1 << 40))
        await begun.wait()
        while not await gridfs.rows("attachmentFiles.chunks"):
            await asyncio.sleep(0.005)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await gridfs.rows("attachmentFiles.chunks") == 0
    assert await gridfs.rows("growi_transfer_uploads") == 0


async def test_a_check_clears_away_what_a_killed_one_left() -> None:
    storage = MemoryStorage(clock=lambda: 0)
    await storage.write_many(small([f"{CHECK_FOLDER}dead/0", f"{CHECK_FOLDER}dead/large"]))
    await StorageCheck(storage, size=0, tries=1).run()
    assert storage.files == {}
