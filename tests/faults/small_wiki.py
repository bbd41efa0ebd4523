"""A tiny wiki with several ranges and a file of several pieces, to be moved again and again; and what must be so at
the end of each transfer."""

from __future__ import annotations

import contextlib
import shutil
from typing import Any

import bson
import pytest
from tests.pair.instances import Instance, Pair

from growi_transfer.demo.compare import Side, compare
from growi_transfer.protocol.errors import TransferError
from growi_transfer.protocol.machine import State
from growi_transfer.pusher import file_sender, retry, sizes

RANGE, LARGE, CHUNK = 4_000, 20_000, 9_000
GOES_ON = 3
"""Times that an operator goes on with a transfer before he loses patience."""


def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits so low that the wiki has several of everything, and no long waits."""
    monkeypatch.setattr(sizes, "RANGE_BYTES", RANGE)
    monkeypatch.setattr(sizes, "CHUNK_BYTES", CHUNK)
    monkeypatch.setattr(file_sender, "LARGE_FILE_BYTES", LARGE)
    # A destination without its database asks for some seconds of peace; here the database is back at once.
    monkeypatch.setattr(retry, "_LONGEST_ASKED", 0.2)


def fill(pair: Pair) -> None:
    pair.source.insert_raw("pages", [bson.encode({"_id": number, "s": "z" * 400}) for number in range(30)])
    pair.source.database["pages"].create_index("s")
    pair.source.database["logs"].insert_many([{"at": number} for number in range(5)])
    pair.source.database["logs"].create_index("at", expireAfterSeconds=1_000_000)
    for size in (0, 3_000, 3_000, LARGE + 3 * CHUNK // 2):
        pair.source.add_attachment(bytes([size % 251]) * size)
    pair.source.add_attachment(b"new", name="taken.bin")


def begin_anew(destination: Instance) -> None:
    """The destination as it was: a former collection, and a former file under a name that the source has too."""
    for name in destination.database.list_collection_names():
        if not name.startswith("growi_transfer_") or name.startswith(("growi_transfer_s_", "growi_transfer_f_")):
            destination.database.drop_collection(name)
    destination.database["pages"].insert_one({"_id": "former"})
    for folder in ("attachment", ".growi-transfer/former"):
        shutil.rmtree(destination.uploads / folder, ignore_errors=True)
    (destination.uploads / "attachment").mkdir()
    (destination.uploads / "attachment" / "taken.bin").write_bytes(b"former")


def side_of(instance: Instance) -> Side:
    host = instance.database.client.address
    assert host is not None
    return Side(f"mongodb://{host[0]}:{host[1]}/?directConnection=true", instance.database.name, instance.uploads)


def leftovers(instance: Instance) -> list[str]:
    """What only a transfer under way may have: staging collections, files that wait, parts of large files."""
    own = instance.uploads / ".growi-transfer"
    files = [path.relative_to(own).as_posix() for path in own.rglob("*") if path.is_file() and path.stat().st_size]
    return instance.own_collections() + [name for name in files if not name.startswith("former/")]


async def ends_well(pair: Pair, key: str, what: Any) -> int:
    """Push, and go on as often as an operator would; how often that was."""
    for again in range(GOES_ON + 1):
        row = None
        with contextlib.suppress(TransferError):
            row = await pair.push(key)
        if row is not None and row.position.state is State.COMPLETED:
            found = compare(side_of(pair.source), side_of(pair.destination))
            assert found.identical, (what, found.mismatches)
            assert leftovers(pair.destination) == [], what
            return again
    raise AssertionError((what, row and (row.position, row.facts.get("error"))))
