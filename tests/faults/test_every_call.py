"""One call of the database, the ledger, the storage or the other side fails, whichever it is: the transfer ends all
the same, by itself or when it is asked to go on, and nothing is missing and nothing is left lying about."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.fakes.nth_call import NthCall
from tests.faults.small_wiki import begin_anew, ends_well, fill, small_pieces
from tests.pair.instances import Pair
from tests.rounds import Rounds

from growi_transfer.ledger.base import Ledger
from growi_transfer.protocol.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    PeerRefused,
    PeerUnavailable,
    StorageFull,
    StorageUnavailable,
)
from growi_transfer.pusher.peer import Peer

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
    small_pieces(monkeypatch)


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


@pytest.mark.parametrize(
    ("calls", "errors", "usual"),
    [
        pytest.param(("source", "peer"), PEER, 6, id="peer"),
        pytest.param(("source", "database"), DATABASE, 5, id="source database"),
        pytest.param(("source", "ledger"), DATABASE, 4, id="source ledger"),
        pytest.param(("source", "storage"), STORAGE, 3, id="source storage"),
        pytest.param(("destination", "database"), DATABASE, 5, id="destination database"),
        pytest.param(("destination", "ledger"), DATABASE, 4, id="destination ledger"),
        pytest.param(("destination", "storage"), STORAGE, 5, id="destination storage"),
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
