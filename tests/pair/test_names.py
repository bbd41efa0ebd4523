"""Attachments whose names are one file to the destination's storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.pair.instances import Pair, open_pair

from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.mongo.client import open_database
from growi_transfer.protocol.errors import UploadFailed
from growi_transfer.protocol.machine import State
from growi_transfer.pusher.options import PushOptions
from growi_transfer.receiver.file_names import FileNames
from growi_transfer.receiver.growi.files import Arrival, GrowiFiles
from growi_transfer.receiver.growi.placing import Metadata
from growi_transfer.settings import Settings
from growi_transfer.storage.base import Storage
from growi_transfer.storage.local import LocalStorage
from growi_transfer.storage.memory import MemoryStorage
from growi_transfer.wiring import parts


async def test_names_that_the_storage_takes_for_one_file_are_a_fault_of_the_second(
    tmp_path: Path,
    mongo_uri: str,
    mongo_database_name: str,
    mongo_uri_destination: str,
    mongo_database_name_destination: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = MemoryStorage(folds_names=True)
    original = parts._storage

    def of(kind: str, settings: Settings, database: Any) -> Storage:
        return storage if "destination" in settings.data_dir.parts else original(kind, settings, database)

    monkeypatch.setattr(parts, "_storage", of)
    source, destination = (mongo_uri, mongo_database_name), (mongo_uri_destination, mongo_database_name_destination)
    large = (4 << 20) + 1
    async with open_pair(tmp_path, source, destination) as pair:
        pair.source.add_attachment(b"one", name="report.PDF")
        pair.source.add_attachment(b"two!", name="Report.pdf")
        pair.source.add_attachment(b"same", name="logo.png")
        pair.source.add_attachment(b"same", name="LOGO.png")
        pair.source.add_attachment(b"1" * large, name="film.mp4")
        pair.source.add_attachment(b"2" * large, name="FILM.mp4")
        row = await pair.push(accept_all=False, accept_warnings=await warnings_of(pair))
        assert row.position.state is State.FAILED
        assert row.facts["error"]["code"] == "attachments_incomplete"
        failures = row.facts["progress"]["failures"]
        assert {one["code"] for one in failures} == {"name_collision"}
        assert len(failures) == 2
        kept = {path: content for path, content in storage.files.items() if not path.startswith(".")}
        assert len(kept) == 3
        for path, content in kept.items():
            assert (pair.source.uploads / path).read_bytes() == content, "nothing was written over"
        # Accepted by name, they are left behind, and the receipt says so.
        key = await pair.key()
        assert pair.to_destination.receiver is not None
        await pair.to_destination.receiver.cancel(row.id, epoch=None)
        row = await pair.push(key, commit=False, accept_warnings=("name_collision",))
        assert row.position.state is State.READY, row.facts.get("error")
        told = (await pair.to_destination.receiver.receipt(row.id))["receipt"]
        assert [one["reason"] for one in told["skipped"]] == ["name_collision"] * 2


async def test_a_file_of_a_growi_is_not_written_over_another_one(mongo_uri: str, mongo_database_name: str) -> None:
    database = await open_database(mongo_uri, database=mongo_database_name)
    names = ("report.PDF", "Report.pdf", "other.png")
    documents = [{"fileName": name, "fileSize": len(name), "page": 1} for name in names]
    await database.command({"insert": "attachments", "documents": documents})
    storage, ledger = MemoryStorage(folds_names=True), MemoryLedger()
    arrivals = [Arrival(Metadata(name, len(name)), name.encode(), len(name)) for name in names]
    for transfer_id in (None, "0" * 32):
        storage.files.clear()
        files = GrowiFiles(database, storage, ledger, FileNames(storage, ledger), max_file_size=None)
        first, second, third = await files.put(transfer_id, arrivals)
        assert (first, third) == (None, None)
        assert isinstance(second, UploadFailed)
        assert "attachment/Report.pdf is the name of another attachment" in second.details["reason"]
        assert await files.put(transfer_id, arrivals[:1]) == [None], "it may come again"
        visible = {path: content for path, content in storage.files.items() if not path.startswith(".")}
        assert visible == {"attachment/report.PDF": b"report.PDF", "attachment/other.png": b"other.png"}
    await database.close()


async def warnings_of(pair: Pair) -> tuple[str, ...]:
    assert pair.from_source.pusher is not None
    report = await pair.from_source.pusher.preflight(await pair.key(), PushOptions())
    return tuple(finding["code"] for finding in report["warnings"])


async def test_a_local_disk_tells_whether_it_folds_names(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    storage = LocalStorage(folder)
    try:
        assert storage.features.folds_names is False, "not there yet"
        folder.mkdir()
        (folder / "a").touch()
        assert storage.features.folds_names is (folder / "A").exists()
        assert [path.name for path in folder.iterdir()] == ["a"]
    finally:
        await storage.close()
