"""One call of the database, the ledger, the storage or the other side fails, whichever it is: the transfer ends all
the same, by itself or when it is asked to go on, and nothing is missing and nothing is left lying about."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from typing import Any

import bson
import pytest
from tests.fakes.nth_call import NthCall
from tests.pair.instances import Instance, Pair
from tests.rounds import Rounds

from growi_transfer import wiring
from growi_transfer.demo.compare import Side, compare
from growi_transfer.ledger.base import Ledger
from growi_transfer.protocol.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    PeerRefused,
    PeerUnavailable,
    StorageFull,
    StorageUnavailable,
    TransferError,
)
from growi_transfer.protocol.machine import State
from growi_transfer.pusher import attachments
from growi_transfer.pusher.peer import Peer

RANGE, LARGE, CHUNK = 4_000, 20_000, 9_000
GOES_ON = 3
"""Times that an operator goes on with a transfer before he loses patience."""

Errors = tuple[Callable[[], Exception], Callable[[], Exception]]
DATABASE: Errors = (DatabaseUnavailable, lambda: DatabaseRefused("MongoDB refuses.", code=13, code_name=""))
STORAGE: Errors = (StorageUnavailable, StorageFull)
PEER: Errors = (PeerUnavailable, lambda: PeerRefused("It broke.", code="internal_error", status=500))

COMMANDS = ("command", "admin", "find", "list_collections", "raw_batches")
LEDGER = tuple(name for name in vars(Ledger) if not name.startswith("_") and name != "prepare")
FILES = ("open", "stat_many", "list_files", "delete", "read_many", "write_many", "partial", "move", "probe")
REQUESTS = ("growi_info", "put_transfer", "transfer", "put_volume", "plan", "put_bundle", "upload_state")
REQUESTS += ("patch_upload", "verify", "commit")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny wiki has several ranges and a file of several pieces."""
    monkeypatch.setattr(wiring, "RANGE_BYTES", RANGE)
    monkeypatch.setattr(attachments, "LARGE_FILE_BYTES", LARGE)
    monkeypatch.setattr(attachments, "CHUNK_BYTES", CHUNK)


@pytest.fixture
def calls(request: pytest.FixtureRequest, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> NthCall:
    """Watches what the parameter names."""
    found = NthCall()
    side, what = request.param
    services = pair.from_source if side == "source" else pair.to_destination
    if what == "peer":
        for name in REQUESTS:
            monkeypatch.setattr(Peer, name, getattr(Peer, name))  # put back at the end
        found.watch(Peer, REQUESTS)
    elif what == "storage":
        found.watch(services.storage, FILES)
    elif what == "ledger":
        found.watch(services.ledger, LEDGER)
    else:
        found.watch(services.database, COMMANDS)
    return found


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


@pytest.mark.parametrize(
    ("calls", "errors", "usual"),
    [
        pytest.param(("source", "peer"), PEER, 8, id="peer"),
        pytest.param(("source", "database"), DATABASE, 6, id="source database"),
        pytest.param(("source", "ledger"), DATABASE, 5, id="source ledger"),
        pytest.param(("source", "storage"), STORAGE, 4, id="source storage"),
        pytest.param(("destination", "database"), DATABASE, 7, id="destination database"),
        pytest.param(("destination", "ledger"), DATABASE, 6, id="destination ledger"),
        pytest.param(("destination", "storage"), STORAGE, 6, id="destination storage"),
    ],
    indirect=["calls"],
)
async def test_a_call_fails(
    pair: Pair, calls: NthCall, errors: Errors, usual: int, rounds: Rounds, request: pytest.FixtureRequest
) -> None:
    fill(pair)
    begin_anew(pair.destination)
    calls.arm(0, errors[0], after=False)
    assert await ends_well(pair, await pair.key(), "undisturbed") == 0
    every = [(number, kind) for number in range(1, calls.count + 1) for kind in (0, 1)]
    random = rounds.random(request.node.name)
    chosen = sorted(random.sample(every, min(rounds.at_most(usual), len(every))))
    failed = 0
    for number, kind in chosen:
        after = random.random() < 0.5
        begin_anew(pair.destination)
        key = await pair.key()
        calls.arm(number, errors[kind], after=after)
        await ends_well(pair, key, (number, errors[kind](), "after" if after else "before"))
        failed += bool(calls.failed)
    rounds.told.append(f"{request.node.name}: {failed} faults of {len(every)} possible ones")
    # A call that comes at times of its own, as those of the progress board, may not come at all.
    assert failed > len(chosen) / 2
