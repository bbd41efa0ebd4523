"""Files looked at: what is found, what a second look reads again, and whose fault an error is."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest

from growi_transfer.ledger.base import FileRow, ItemState, Role
from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.protocol.errors import StorageUnavailable, TransferError
from growi_transfer.receiver.file_proof import FileProof
from growi_transfer.storage.memory import MemoryStorage

TRANSFER = "1" * 32
LARGE = (4 << 20) + 1


class Counting(MemoryStorage):
    """Counts the files that are read, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []
        self.fails_after = 1 << 30

    async def read_many(self, paths: Sequence[str], limit: int) -> list[bytes | TransferError]:
        found = await super().read_many(paths, limit)
        self.read += paths
        return [StorageUnavailable() if len(self.read) > self.fails_after else one for one in found]


async def world(count: int = 600) -> tuple[Counting, MemoryLedger, FileProof]:
    storage, ledger = Counting(), MemoryLedger()
    rows = []
    for number in range(count):
        path, content = f"attachment/{number:05d}.bin", b"%d" % number
        storage.files[path] = content
        rows.append(row(number, path, content))
    await ledger.put_files(rows)
    return storage, ledger, FileProof(storage, ledger)


def row(number: int, path: str, content: bytes, state: ItemState = ItemState.STORED, **facts: str) -> FileRow:
    digest = sha256(content).digest()
    return FileRow(Role.RECEIVER, TRANSFER, f"{number:024x}", path, len(content), state, digest, facts)


async def test_missing_cut_and_rotten_files_are_marked_to_be_sent_again() -> None:
    storage, ledger, proof = await world()
    large = b"x" * LARGE
    storage.files["attachment/large.bin"] = b"y" + large[1:]
    storage.files["aside"] = b"waits"
    await ledger.put_files(
        [
            row(900, "attachment/large.bin", large),
            row(901, "attachment/taken.bin", b"waits", aside="aside"),
            row(902, "attachment/failed.bin", b"f", ItemState.FAILED),
        ]
    )
    del storage.files["attachment/00001.bin"]
    storage.files["attachment/00002.bin"] = b""
    storage.files["attachment/00003.bin"] = b"4"
    seen = await proof.look(TRANSFER)
    assert (seen.total, seen.stored) == (2, 600)
    assert storage.read == []
    seen = await proof.look(TRANSFER, deep="first")
    assert (seen.total, seen.stored) == (2, 598)
    failed = {one.path: one.reason async for one in ledger.files(Role.RECEIVER, TRANSFER, ItemState.FAILED)}
    assert failed == {
        "attachment/00001.bin": "file_not_found",
        "attachment/00002.bin": "size_mismatch",
        "attachment/00003.bin": "digest_mismatch",
        "attachment/large.bin": "digest_mismatch",
        "attachment/failed.bin": "",
    }


async def test_a_deep_look_goes_on_where_it_was_stopped() -> None:
    storage, _, proof = await world(2500)
    storage.fails_after = 1500
    with pytest.raises(StorageUnavailable):
        await proof.look(TRANSFER, deep="one")
    storage.fails_after = 1 << 30
    storage.read.clear()
    assert (await proof.look(TRANSFER, deep="one")).stored == 2500
    assert len(storage.read) == 1500, "the first page of 1,000 is not read again"
    storage.read.clear()
    assert (await proof.look(TRANSFER, deep="one")).stored == 2500
    assert storage.read == []
    assert (await proof.look(TRANSFER, deep="two")).stored == 2500
    assert len(storage.read) == 2500
