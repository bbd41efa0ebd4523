"""Any order of requests, cuts, kills and restarts, against a model of what the destination must show.

What was acknowledged is never lost and never doubled; nothing is proved, and so nothing completed, with a hole; before
a commit the destination shows its former data, after it exactly what was proved, after a rollback or a cancel exactly
the former again.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.faults.destination import (
    FILES,
    FORMER_FILES,
    LARGE,
    SMALL,
    content,
    proof,
)
from tests.faults.sending import BEFORE_COMMIT, Sending
from tests.rounds import Rounds

from growi_transfer.protocol.digest import set_digest
from growi_transfer.protocol.errors import (
    StateConflict,
    TransferError,
    VerificationFailed,
)


class Machine(Sending):
    def teardown(self) -> None:
        self.seen[self.state] += 1
        try:
            if sys.exc_info()[0] is None:
                self.there_is_always_a_way()
        finally:
            self.calls.disarm()
            self.destination.close()

    def there_is_always_a_way(self) -> None:
        """Wherever a transfer was left, it can be completed and rolled back."""
        self.calls.disarm()
        if self.state in BEFORE_COMMIT or self.state == "unknown":
            self.put_transfer.__wrapped__(self, True, False, 0)
            self.send_all_that_is_missing.__wrapped__(self, "commit")
            assert self.state == "completed"
        if self.state == "completed":
            self.the_wiki_is_whole()
            self.rollback.__wrapped__(self)
            assert self.state == "rolled_back"
        self.the_wiki_is_whole()

    @precondition(lambda self: self.state == "copying" and self.declared)
    @rule(then=st.sampled_from(("nothing", "verify", "commit", "commit")))
    def send_all_that_is_missing(self, then: str) -> None:
        """What a source does when nothing disturbs it: without this few orders would come to a commit."""
        for which, version in sorted(self.source.items()):
            if which[0] in self.declared and self.acknowledged.get(which) != version and self.state == "copying":
                self.send_volume.__wrapped__(self, which, False, 0)
        if self.state == "copying" and not set(SMALL) <= self.files:
            self.bundle.__wrapped__(self, set(SMALL), 0)
        if self.state == "copying" and "large.bin" not in self.files:
            self.patch.__wrapped__(self, len(LARGE), 0, False, True)
        if self.state == "copying" and self.declared and then != "nothing":
            self.verify.__wrapped__(self, True)
        if self.state == "ready" and then == "commit":
            self.commit.__wrapped__(self)

    # proof and ends

    @precondition(lambda self: self.state != "unknown" and self.declared)
    @rule(right=st.sampled_from((True, True, True, False)))
    def verify(self, right: bool) -> None:
        wanted = self.model()
        body = proof(wanted, right=right)
        was_ready = self.state == "ready"
        answer = self.ask(self.destination.receiver.verify(self.id, body, epoch=self.epoch))
        if answer is None:
            self.proved = wanted if right else self.proved
            self.check_proof()
            return
        if self.state not in BEFORE_COMMIT:
            assert isinstance(answer, StateConflict), answer
            return
        self.state = answer["transfer"]["state"]
        assert answer["held"]["error"] is None, answer
        if was_ready:
            return
        complete = all(
            self.acknowledged.get(one) == version for one, version in self.source.items() if one[0] in wanted
        )
        assert self.state == ("ready" if right and complete and self.files == set(FILES) else "copying"), answer
        self.proved = wanted
        self.check_proof()

    def check_proof(self) -> None:
        """What is called proved is there, byte for byte."""
        if self.state != "ready":
            return
        assert self.destination.staged(self.id) == self.proved
        own = self.destination.there.uploads / ".growi-transfer" / "aside" / self.id
        for name, data in FILES.items():
            aside = own / "attachment" / name
            path = aside if aside.exists() else self.destination.there.uploads / "attachment" / name
            assert path.read_bytes() == data, name

    @precondition(lambda self: self.state != "unknown")
    @rule()
    def commit(self) -> None:
        answer = self.ask(self.destination.receiver.commit(self.id, epoch=None), ends="completed")
        if answer is None:
            return
        if self.state in ("ready", "completed"):
            assert answer["transfer"]["state"] == "completed", answer
            self.state = "completed"
        else:
            assert isinstance(answer, StateConflict | VerificationFailed), answer
            self.ordered.discard("completed")

    @precondition(lambda self: self.state in ("completed", "rolled_back", "copying"))
    @rule()
    def rollback(self) -> None:
        self.end(self.destination.receiver.rollback(self.id, epoch=None), "rolled_back", ("completed", "rolled_back"))

    @precondition(lambda self: self.state != "unknown")
    @rule(sure=st.sampled_from((False, False, False, True)))
    def cancel(self, sure: bool) -> None:
        if sure:
            self.end(self.destination.receiver.cancel(self.id, epoch=None), "cancelled", (*BEFORE_COMMIT, "cancelled"))

    def end(self, work: Coroutine[Any, Any, Any], state: str, possible: tuple[str, ...]) -> None:
        answer = self.ask(work, ends=state)
        if answer is None:
            return
        if self.state in possible:
            assert answer["transfer"]["state"] == state, answer
            self.state = state
        else:
            assert isinstance(answer, StateConflict), answer
            self.ordered.discard(state)

    @precondition(lambda self: self.state in ("completed", "rolled_back", "cancelled"))
    @rule(purge=st.booleans(), announced=st.booleans())
    def next_transfer(self, purge: bool, announced: bool) -> None:
        """The wiki is free for another one. Files of the former one are put back, for the model's sake."""
        self.seen[self.state] += 1
        if purge:
            assert not isinstance(self.ask(self.destination.receiver.purge(self.id)), TransferError)
        for path in (self.destination.there.uploads / "attachment").iterdir():
            path.unlink()
        for path, data in FORMER_FILES.items():
            (self.destination.there.uploads / path).write_bytes(data)
        self.begin.__wrapped__(self, announced)

    # what must always hold

    @invariant()
    def the_wiki_is_whole(self) -> None:
        if self.calls.failed:
            return
        seen, files = self.destination.shown(), self.destination.there.files()
        if self.state == "completed":
            assert seen == self.proved
            assert files == {f"attachment/{name}": data for name, data in FILES.items()}
        else:
            assert seen == self.former
            made = (
                {} if self.state in ("cancelled", "rolled_back") else {f"attachment/{one}": FILES[one] for one in FILES}
            )
            for path, data in files.items():
                assert data == FORMER_FILES.get(path, made.get(path)), path
            assert FORMER_FILES.keys() <= files.keys()
        if self.state in ("cancelled", "completed"):
            own = self.destination.there.own_collections()
            assert [name for name in own if self.id[:8] in name] == []

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        if self.calls.failed or self.state not in BEFORE_COMMIT:
            return
        armed, self.calls.count = self.calls.count, -1_000_000
        try:
            for name in self.declared:
                held = {
                    one["number"]: one for one in self.destination.run(self.destination.receiver.volumes(self.id, name))
                }
                for (owner, number), version in self.acknowledged.items():
                    if owner == name:
                        assert held[number]["digest"] == set_digest(content(name, number, version)).hex()
        finally:
            self.calls.count = armed


def test_any_order_of_requests(mongo_uri_destination: str, rounds: Rounds) -> None:
    seen: Counter[str] = Counter()
    machine: Callable[[], Machine] = type("Against", (Machine,), {"uri": mongo_uri_destination, "seen": seen})
    usual = settings(
        max_examples=rounds.at_most(15),
        stateful_step_count=25 if rounds.runs is None else 50,
        derandomize=rounds.runs is None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if rounds.runs is not None else (Phase.generate,),
        database=None,
    )
    run_state_machine_as_test(machine, settings=usual)
    rounds.told.append("any order of requests: " + ", ".join(f"{count} {what}" for what, count in seen.most_common()))
