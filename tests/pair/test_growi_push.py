"""A push to an unmodified GROWI. Ours stands in for it, without the block by which our own instances are known."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.pair.instances import Pair, open_pair

from growi_transfer.ledger.base import ItemState, Role
from growi_transfer.protocol.errors import (
    Blocked,
    GrowiImportFailed,
    Incompatible,
    RateLimited,
    StorageNotWritable,
    UploadFailed,
)
from growi_transfer.protocol.machine import State
from growi_transfer.pusher.adapt import GROWI_MOST, MOST, Tuner
from growi_transfer.pusher.options import PushOptions
from growi_transfer.wiring import pushing


@pytest.fixture
async def pair(
    tmp_path: Path,
    mongo_uri: str,
    mongo_database_name: str,
    mongo_uri_destination: str,
    mongo_database_name_destination: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Pair]:
    async with open_pair(
        tmp_path, (mongo_uri, mongo_database_name), (mongo_uri_destination, mongo_database_name_destination)
    ) as opened:
        receiver = opened.to_destination.receiver
        assert receiver is not None
        original = receiver._info

        async def info() -> dict[str, Any]:
            return {name: value for name, value in (await original()).items() if name != "transfer"}

        monkeypatch.setattr(receiver, "_info", info)
        opened.source.database["users"].insert_one({"username": "admin", "admin": True, "status": 2, "password": "x"})
        opened.source.database["tags"].insert_many([{"name": f"tag {number}"} for number in range(700)])
        yield opened


def side(pair: Pair) -> Any:
    return pair.to_destination.growi


def same(pair: Pair, *names: str) -> None:
    for name in names:
        assert pair.destination.documents(name) == pair.source.documents(name), name


async def test_a_wiki_arrives_in_a_growi(pair: Pair) -> None:
    for number in range(30):
        pair.source.add_attachment(bytes([number]) * (number * 1000), page=number % 3 != 0)
    pair.source.add_attachment(b"x" * (5 << 20))
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert row.setup["dialect"] == "growi"
    same(pair, "tags", "attachments")
    assert pair.destination.files() == pair.source.files()
    shape = row.facts["progress"]
    assert (shape["dialect"], shape["mongo"], shape["attachments"]) == ("growi", "COMPLETED", "COMPLETED")
    assert shape["files"] == {"done": 31, "total": 31, "failed": 0, "skipped": 0}
    assert shape["documents"]["done"] == 732
    assert "documents_not_confirmed" in [warning["code"] for warning in shape["warnings"]]
    assert list((pair.source.settings.data_dir / "spool").glob("*")) == []


async def test_what_it_has_is_not_sent_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [pair.source.add_attachment(bytes([number]) * 100) for number in range(5)]
    there = pair.destination.uploads / "attachment" / documents[0]["fileName"]
    there.parent.mkdir(parents=True)
    there.write_bytes(bytes(100))
    sent: list[str] = []
    original = side(pair).put_attachment

    async def put(key_id: str, fields: Any, content: Any, size: int) -> None:
        sent.append(fields["attachmentMetadata"])
        await original(key_id, fields, content, size)

    monkeypatch.setattr(side(pair), "put_attachment", put)
    row = await pair.push()
    assert row.position.state is State.COMPLETED
    assert len(sent) == 4


async def test_files_go_several_at_a_time(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        pair.source.add_attachment(bytes([number]) * 100)
    original = side(pair).put_attachment
    in_flight = most = 0
    all_here = asyncio.Event()

    async def put(*arguments: Any) -> None:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        if in_flight == 4:
            all_here.set()
        async with asyncio.timeout(30):
            await all_here.wait()
        await original(*arguments)
        in_flight -= 1

    monkeypatch.setattr(side(pair), "put_attachment", put)
    row = await pair.push(attachments=4)
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert most == 4


async def test_the_number_in_flight_adapts_and_few_are_asked_of_a_growi(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        pair.source.add_attachment(bytes([number]) * 100)
    pair.source.add_attachment(b"x" * (2 << 20))
    told: Counter[str] = Counter()
    most: set[int] = set()

    class Told(Tuner):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            most.add(self._most)

        def succeeded(self, moved: int) -> None:
            told["succeeded"] += 1
            super().succeeded(moved)

        def failed(self) -> None:
            told["failed"] += 1
            super().failed()

    refusals = iter([RateLimited("Too Many Requests", retry_after=0)] * 3)
    original = side(pair).put_attachment

    async def put(*arguments: Any) -> None:
        refusal = next(refusals, None)
        if refusal is not None:
            raise refusal
        await original(*arguments)

    monkeypatch.setattr(pushing, "Tuner", Told)
    monkeypatch.setattr(side(pair), "put_attachment", put)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert told == {"succeeded": 13, "failed": 3}
    assert most == {MOST, GROWI_MOST}
    assert pair.destination.files() == pair.source.files()


async def test_a_file_that_fails_is_told_and_can_be_tried_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [pair.source.add_attachment(bytes([number]) * 100) for number in range(5)]
    imports = 0
    original_import, original = side(pair).import_archive, side(pair).put_attachment

    async def import_archive(*arguments: Any) -> Any:
        nonlocal imports
        imports += 1
        return await original_import(*arguments)

    async def put(key_id: str, fields: Any, content: Any, size: int) -> None:
        if documents[2]["fileName"] in fields["attachmentMetadata"]:
            raise UploadFailed()
        await original(key_id, fields, content, size)

    monkeypatch.setattr(side(pair), "import_archive", import_archive)
    monkeypatch.setattr(side(pair), "put_attachment", put)
    row = await pair.push()
    assert row.position.state is State.FAILED
    assert row.facts["error"]["code"] == "attachments_incomplete"
    [failure] = row.facts["progress"]["failures"]
    assert (failure["item"], failure["code"]) == (f"attachment/{documents[2]['fileName']}", "upload_failed")
    assert len(pair.destination.files()) == 4
    monkeypatch.setattr(side(pair), "put_attachment", original)
    assert pair.from_source.pusher is not None
    await pair.from_source.pusher.retry(row.id)
    row = await pair.wait(row.id)
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert pair.destination.files() == pair.source.files()
    assert imports == 1, "the archive is not sent twice"


async def test_a_file_that_it_loses_is_found_out(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    document = pair.source.add_attachment(b"content")

    async def put(key_id: str, fields: Any, content: Any, size: int) -> None:
        """As a GROWI whose storage is broken: it answers well."""

    monkeypatch.setattr(side(pair), "put_attachment", put)
    row = await pair.push()
    assert row.position.state is State.FAILED
    assert row.facts["error"]["code"] == "attachments_incomplete"
    assert document["fileName"] not in str(pair.destination.files())


async def test_a_missing_file_of_the_source_is_a_warning(pair: Pair) -> None:
    document = pair.source.add_attachment(b"gone")
    (pair.source.uploads / "attachment" / document["fileName"]).unlink()
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    totals = await pair.from_source.ledger.file_totals(Role.PUSHER, row.id)
    assert totals[ItemState.SKIPPED].rows == 1


@pytest.mark.parametrize("error", [GrowiImportFailed(), StorageNotWritable()])
async def test_an_import_that_fails_fails_the_transfer(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def import_archive(*_: Any) -> Any:
        raise error

    pair.source.add_attachment(b"content")
    monkeypatch.setattr(side(pair), "import_archive", import_archive)
    row = await pair.push()
    assert row.position.state is State.FAILED
    assert row.facts["error"]["code"] == error.code  # type: ignore[attr-defined]
    assert pair.destination.files() == {}
    monkeypatch.undo()


async def test_an_8_that_gave_up_is_believed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    async def import_archive(*_: Any) -> Any:
        return {"failedCollections": ["pages"], "importAborted": False}

    monkeypatch.setattr(side(pair), "import_archive", import_archive)
    row = await pair.push()
    assert row.position.state is State.FAILED
    assert "pages" in row.facts["error"]["message"]


async def test_it_has_to_be_agreed_to(pair: Pair) -> None:
    assert pair.from_source.pusher is not None
    with pytest.raises(Blocked) as raised:
        await pair.from_source.pusher.start(await pair.key(), PushOptions())
    assert "destination_is_growi" in [warning["code"] for warning in raised.value.details["warnings"]]


@pytest.mark.parametrize("option", [{"commit": False}, {"follow": True}, {"freeze": True}, {"deep": True}])
async def test_what_a_growi_cannot_do_is_refused(pair: Pair, option: dict[str, Any]) -> None:
    assert pair.from_source.pusher is not None
    with pytest.raises(Incompatible):
        await pair.from_source.pusher.start(await pair.key(), PushOptions(accept_all=True, **option))
