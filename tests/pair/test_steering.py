"""Parallelism and bandwidth while a transfer runs, pause and resume, and unlike storages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import bson
import pytest
from tests.pair.instances import Pair, open_pair

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.machine import State
from growi_transfer.protocol.progress import Sending
from growi_transfer.pusher.options import PushOptions
from growi_transfer.pusher.pusher import Pusher
from growi_transfer.receiver.receiver import Receiver


def pusher_of(pair: Pair) -> Pusher:
    assert pair.from_source.pusher is not None
    return pair.from_source.pusher


class Counted:
    """Requests in flight at the destination, each of which waits until it is let go."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.gate = asyncio.Event()

    def wrap(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        original = getattr(Receiver, method)

        async def counted(receiver: Receiver, *arguments: Any, **options: Any) -> Any:
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await self.gate.wait()
                return await original(receiver, *arguments, **options)
            finally:
                self.now -= 1

        monkeypatch.setattr(Receiver, method, counted)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def sending_of(pair: Pair, transfer_id: str) -> tuple[Sending, ...]:
    snapshot = pair.from_source.board.snapshot(Role.PUSHER, transfer_id)
    return snapshot.activity.sending if snapshot is not None and snapshot.activity is not None else ()


@pytest.mark.parametrize(("method", "option"), [("put_volume", "volumes"), ("put_bundle", "attachments")])
async def test_requests_in_flight_follow_the_number_that_is_set_while_it_runs(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, method: str, option: str
) -> None:
    if option == "volumes":
        for name in "abcdefgh":
            pair.source.insert_raw(name, [bson.encode({"_id": number, "s": "z" * 900_000}) for number in range(10)])
    else:
        for _ in range(24):
            pair.source.add_attachment(b"x" * 3_900_000)
    counted = Counted()
    counted.wrap(monkeypatch, method)
    key = await pair.key()
    transfer_id = await pusher_of(pair).start(key, PushOptions(accept_all=True, **{option: 2}))
    await until(lambda: counted.now == 2)
    await asyncio.sleep(0.05)
    assert counted.most == 2
    await pusher_of(pair).tune(transfer_id, **{option: 5})
    await until(lambda: counted.now == 5)
    await asyncio.sleep(0.05)
    assert counted.most == 5
    await until(lambda: len(sending_of(pair, transfer_id)) == 5)
    kinds = {(one.kind, len(one.item) > 11, one.count > 0, one.bytes > 0) for one in sending_of(pair, transfer_id)}
    assert kinds == {("volume", False, True, True) if option == "volumes" else ("bundle", True, True, True)}
    counted.gate.set()
    row = await pair.wait(transfer_id)
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert counted.most == 5
    assert row.facts["options"][option] == 5
    assert sending_of(pair, transfer_id) == ()


async def test_a_bandwidth_that_is_lifted_while_it_runs(pair: Pair) -> None:
    for _ in range(6):
        pair.source.add_attachment(b"y" * 3_000_000)
    transfer_id = await pusher_of(pair).start(await pair.key(), PushOptions(accept_all=True, bandwidth=100_000))
    board = pair.from_source.board
    await until(lambda: (board.snapshot(Role.PUSHER, transfer_id) or board).position.state is State.COPYING)  # type: ignore[union-attr]
    await pusher_of(pair).tune(transfer_id, bandwidth=None)
    began = time.monotonic()
    row = await pair.wait(transfer_id)
    assert row.position.state is State.COMPLETED
    assert time.monotonic() - began < 60, "at the first bandwidth it would take three minutes"


async def test_pause_and_resume(pair: Pair) -> None:
    for _ in range(8):
        pair.source.add_attachment(b"y" * 3_000_000)
    pair.source.database["pages"].insert_many([{"_id": number} for number in range(100)])
    transfer_id = await pusher_of(pair).start(await pair.key(), PushOptions(accept_all=True, bandwidth=2_000_000))
    board = pair.from_source.board

    def begun() -> bool:
        snapshot = board.snapshot(Role.PUSHER, transfer_id)
        return snapshot is not None and snapshot.documents_done > 0

    await until(begun)
    answer = await pusher_of(pair).pause(transfer_id)
    assert answer["transfer"]["state"] == "paused"
    await pusher_of(pair).tune(transfer_id, bandwidth=None)
    await pusher_of(pair).resume(transfer_id, None)
    row = await pair.wait(transfer_id)
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert pair.destination.files() == pair.source.files()


@pytest.fixture
def to_gridfs(
    tmp_path: Path,
    mongo_uri: str,
    mongo_database_name: str,
    mongo_uri_destination: str,
    mongo_database_name_destination: str,
) -> Callable[[str, str], Any]:
    def opened(source: str, destination: str) -> Any:
        return open_pair(
            tmp_path / f"{source}-{destination}",
            (mongo_uri, mongo_database_name),
            (mongo_uri_destination, mongo_database_name_destination),
            of_source={"FILE_UPLOAD": source},
            of_destination={"FILE_UPLOAD": destination},
        )

    return opened


async def test_files_move_between_unlike_storages_and_back(
    to_gridfs: Callable[[str, str], Any], mongo_uri: str, mongo_database_name: str
) -> None:
    async with to_gridfs("local", "mongodb") as pair:
        contents = {}
        for number, size in enumerate((0, 1, 261_120, 261_121, 1_000_000, 9_000_000)):
            document = pair.source.add_attachment(bytes([number]) * size, page=bool(number % 2))
            contents[document["fileName"]] = bytes([number]) * size
        row = await pair.push()
        assert row.position.state is State.COMPLETED, row.facts.get("error")
        files = list(pair.destination.database["attachmentFiles.files"].find())
        assert {one["filename"]: one["length"] for one in files} == {
            name: len(content) for name, content in contents.items()
        }
        storage = pair.to_destination.storage
        for name, content in contents.items():
            found = b"".join([chunk async for chunk in storage.open(f"attachment/{name}")])
            assert found == content
        receiver = pair.to_destination.receiver
        assert receiver is not None
        await receiver.rollback(row.id, epoch=None)
        assert pair.destination.database["attachmentFiles.files"].count_documents({}) == 0
        assert pair.destination.database["attachmentFiles.chunks"].count_documents({}) == 0


async def test_files_come_out_of_gridfs(to_gridfs: Callable[[str, str], Any]) -> None:
    async with to_gridfs("mongodb", "local") as pair:
        storage = pair.from_source.storage
        wanted = {}
        for number, size in enumerate((0, 5, 300_000, 6_000_000)):
            content = bytes([number + 1]) * size
            document = pair.source.add_attachment(content)
            (pair.source.uploads / "attachment" / document["fileName"]).unlink()
            path = f"attachment/{document['fileName']}"
            await storage.write(path, _chunks(content), size)
            wanted[path] = content
        row = await pair.push()
        assert row.position.state is State.COMPLETED, row.facts.get("error")
        assert pair.destination.files() == wanted
        assert "attachmentFiles.files" not in pair.destination.database.list_collection_names()


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 1 << 20):
        yield content[start : start + (1 << 20)]
