"""What is counted of transfers: only growing numbers, and never one for a single transfer."""

from __future__ import annotations

from growi_transfer.ledger.base import Role
from growi_transfer.ledger.tally import OTHER, Tally
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import (
    Activity,
    ActivityMeasured,
    DocumentsStored,
    Failure,
    FileBytesStored,
    FilesStored,
    ItemFailed,
    Moved,
)

ONE, TWO = "1" * 32, "2" * 32
PUSHER, RECEIVER = Role.PUSHER, Role.RECEIVER


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_taken_back_does_not_make_a_number_smaller() -> None:
    tally = Tally()
    tally.observe(PUSHER, ONE, DocumentsStored(10, 1000, 500))
    tally.observe(PUSHER, ONE, DocumentsStored(-10, -1000, 0))
    tally.observe(RECEIVER, TWO, FilesStored(2, 30, 40))
    tally.observe(RECEIVER, TWO, FileBytesStored(5, 6))
    assert (tally.documents[PUSHER], tally.bytes[PUSHER], tally.wire[PUSHER]) == (10, 1000, 500)
    assert (tally.files[RECEIVER], tally.bytes[RECEIVER], tally.wire[RECEIVER]) == (2, 35, 46)


def test_codes_of_a_peer_are_one() -> None:
    tally = Tally()
    for number in range(50):
        tally.observe(PUSHER, ONE, ItemFailed(Failure("a", "file", f"made_up_{number}", "", 1, False)))
        tally.observe(PUSHER, ONE, ActivityMeasured(Activity(retries={f"made_up_{number}": 1})))
    tally.observe(PUSHER, ONE, ItemFailed(Failure("a", "file", "file_not_found", "", 1, False)))
    assert dict(tally.failures) == {(PUSHER, "file", OTHER): 50, (PUSHER, "file", "file_not_found"): 1}
    assert dict(tally.retries) == {OTHER: 50}


def test_retries_of_each_run_are_added() -> None:
    tally = Tally()
    for number in (1, 1, 3, 2):  # the last one is that of a new run
        tally.observe(PUSHER, ONE, ActivityMeasured(Activity(retries={"peer_unavailable": number})))
    tally.observe(PUSHER, TWO, ActivityMeasured(Activity(retries={"peer_unavailable": 4})))
    assert dict(tally.retries) == {"peer_unavailable": 3 + 2 + 4}


def test_seconds_in_each_state_but_those_at_rest() -> None:
    clock = Clock()
    tally = Tally(clock)
    for state, seconds in ((State.COPYING, 5), (State.VERIFYING, 2), (State.READY, 50), (State.COMMITTING, 1)):
        tally.observe(PUSHER, ONE, Moved(Position(state)))
        clock.now += seconds
    tally.observe(PUSHER, ONE, Moved(Position(State.COMPLETED)))
    tally.observe(PUSHER, TWO, Moved(Position(State.COPYING)))
    clock.now += 3
    assert tally.seconds() == {
        (PUSHER, State.COPYING): 8,
        (PUSHER, State.VERIFYING): 2,
        (PUSHER, State.COMMITTING): 1,
    }
