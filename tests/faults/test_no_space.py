"""The disk is full, or read-only, or the database is, in the middle of a transfer: the error says so, what was there
stays, and the transfer goes on as soon as there is space again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.storage_faults import mounted, read_only
from tests.faults.small_wiki import leftovers, side_of
from tests.pair.instances import Pair, open_pair

from growi_transfer.demo.compare import compare
from growi_transfer.ledger.base import ItemState, Role, TransferRow
from growi_transfer.protocol.errors import DatabaseFull, StorageFull, StorageNotWritable, TransferError
from growi_transfer.protocol.machine import State
from growi_transfer.pusher.peer import Peer

FILES, SIZE = 40, 60_000
DISK = 8 << 20


@pytest.fixture
async def pair(
    tmp_path: Path,
    mongo_uri: str,
    mongo_database_name: str,
    mongo_uri_destination: str,
    mongo_database_name_destination: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Pair]:
    """A destination whose uploads have a small disk of their own, where we may mount one."""
    disk = tmp_path / "destination" / "uploads"
    disk.mkdir(parents=True)
    with mounted(disk, ["-t", "tmpfs", "-o", f"size={DISK},mode=700", "tmpfs"]) as is_real:
        if not is_real:
            monkeypatch.setattr(os, "pwrite", _limited(disk))
        async with open_pair(
            tmp_path, (mongo_uri, mongo_database_name), (mongo_uri_destination, mongo_database_name_destination)
        ) as opened:
            opened.source.database["pages"].insert_many([{"_id": number} for number in range(100)])
            for number in range(FILES):
                opened.source.add_attachment(bytes([number]) * SIZE)
            yield opened


def _limited(disk: Path) -> Any:
    real = os.pwrite

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        room = DISK - sum(path.stat().st_size for path in disk.rglob("*") if path.is_file())
        if room <= 0:
            raise OSError(28, os.strerror(28))
        return real(fd, data[:room], offset)

    return pwrite


def at_first_bundle(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Do something when the first files are about to be sent: the preflight has seen enough room."""
    original, calls = Peer.put_bundle, []

    async def put(peer: Peer, transfer_id: str, parts: Any) -> dict[str, Any]:
        if not calls:
            change()
        calls.append(1)
        return await original(peer, transfer_id, parts)

    monkeypatch.setattr(Peer, "put_bundle", put)


@contextlib.contextmanager
def fill_up(disk: Path, leave: int) -> Iterator[None]:
    """Somebody else's file takes all the room but this."""
    other = disk / "somebody-else.iso"
    used = sum(path.stat().st_size for path in disk.rglob("*") if path.is_file())
    other.write_bytes(bytes(DISK - used - leave))
    try:
        yield
    finally:
        other.unlink()


async def completes(pair: Pair, row: TransferRow) -> None:
    assert pair.from_source.pusher is not None
    await pair.from_source.pusher.resume(row.id, None)
    row = await pair.wait(row.id)
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    found = compare(side_of(pair.source), side_of(pair.destination))
    assert found.identical, found.mismatches
    assert leftovers(pair.destination) == []


def why(row: TransferRow) -> set[str]:
    """Codes of what went wrong, of the transfer and of its files."""
    told = {failure["code"] for failure in row.facts["progress"]["failures"]}
    return told | {str((row.facts.get("error") or {}).get("code"))}


async def test_the_disk_fills_up(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as full:
        at_first_bundle(monkeypatch, lambda: full.enter_context(fill_up(pair.destination.uploads, SIZE * FILES // 2)))
        row = await pair.push()
        assert row.position.state is State.FAILED
        assert StorageFull.code in why(row)
        there = pair.destination.files()
        assert all(data in pair.source.files().values() for path, data in there.items() if path.endswith(".bin"))
    stored = (await pair.from_source.ledger.file_totals(Role.PUSHER, row.id))[ItemState.STORED].rows
    await completes(pair, row)
    assert stored < FILES


async def test_the_disk_becomes_read_only(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as broken, monkeypatch.context() as patch:
        at_first_bundle(patch, lambda: broken.enter_context(read_only(pair.destination.uploads, monkeypatch)))
        row = await pair.push()
        assert row.position.state is State.FAILED
        assert StorageNotWritable.code in why(row)
    await completes(pair, row)


async def test_the_disk_is_read_only_at_the_commit(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit is undone as a whole: the destination goes on with its former data."""
    destination, receiver = pair.destination, pair.to_destination.receiver
    assert receiver is not None
    destination.database["pages"].insert_one({"_id": "former"})
    pair.source.add_attachment(b"new", name="taken.bin")
    taken = destination.uploads / "attachment" / "taken.bin"
    taken.parent.mkdir()
    taken.write_bytes(b"former")
    row = await pair.push(commit=False)
    with read_only(destination.uploads, monkeypatch), pytest.raises(StorageNotWritable):
        await receiver.commit(row.id, epoch=None)
    assert (await pair.received(row.id)).position.state is State.READY
    assert destination.database["pages"].distinct("_id") == ["former"]
    assert taken.read_bytes() == b"former"
    answer = await receiver.commit(row.id, epoch=None)
    assert answer["transfer"]["state"] == "completed"
    assert taken.read_bytes() == b"new"


@pytest.mark.parametrize("after", [0, 3, 30])
async def test_the_database_fills_up(pair: Pair, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """From some write on, and with it the destination's ledger."""
    database = pair.to_destination.database
    original, writes = database.command, []

    async def command(command: Mapping[str, Any], *, majority: bool = False) -> dict[str, Any]:
        if next(iter(command)) in ("insert", "update", "create", "createIndexes"):
            writes.append(command)
            if len(writes) > after:
                raise DatabaseFull
        return await original(command, majority=majority)

    key = await pair.key()
    row = None
    with monkeypatch.context() as patch:
        patch.setattr(database, "command", command)
        with contextlib.suppress(TransferError):
            row = await pair.push(key)
    assert len(writes) > after
    if row is not None:
        assert row.position.state in (State.FAILED, State.COMMITTING, State.COPYING), row.position
        assert DatabaseFull.code in why(row), row.facts
    row = await pair.push(key)
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    found = compare(side_of(pair.source), side_of(pair.destination))
    assert found.identical, found.mismatches
