"""The first half of the state machine over the protocol: requests, kills and restarts."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Coroutine
from hashlib import sha256
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)
from tests.fakes.nth_call import NthCall
from tests.faults.destination import (
    BOUNDS,
    FILES,
    IDS,
    LARGE,
    SMALL,
    Destination,
    Range,
    announced,
    content,
    pieces,
    setup_of,
    volume,
)

from growi_transfer.archive.bundle import write_frames
from growi_transfer.protocol.errors import (
    BodyCut,
    DatabaseUnavailable,
    DigestMismatch,
    OffsetMismatch,
    StateConflict,
    Superseded,
    TransferError,
    TransferNotFound,
)
from growi_transfer.protocol.wire import (
    PlanPage,
)

BEFORE_COMMIT = ("checked", "copying", "reconciling", "indexing", "verifying", "ready")


class Killed(DatabaseUnavailable):
    """What follows when the database dies under the receiver."""


class Sending(RuleBasedStateMachine):
    """What a source sends, in any order, and what the destination must answer."""

    uri = ""
    """Of the destination's server; set by the test."""
    seen: Counter[str]
    """How transfers ended, and kills; set by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.destination = Destination(self.uri)

    @property
    def calls(self) -> NthCall:
        return self.destination.calls

    @initialize(announced=st.sampled_from((True, True, True, False)))
    def begin(self, announced: bool) -> None:
        """A new transfer into the destination as it is."""
        self.id = uuid.uuid4().hex
        self.state = "unknown"
        self.epoch = 1
        self.uuids = {name: uuid.uuid4().hex for name in BOUNDS}
        self.declared: set[str] = set()
        self.source: dict[Range, int] = {
            (name, number): 0 for name, bounds in BOUNDS.items() for number in range(len(bounds) - 1)
        }
        self.acknowledged: dict[Range, int] = {}
        self.files: set[str] = set()
        self.former = self.destination.shown()
        self.proved: dict[str, list[bytes]] = {}
        self.ordered: set[str] = set()
        """Ends that somebody has asked for: no other may come about."""
        if announced:
            self.put_transfer.__wrapped__(self, True, False, 0)

    # what is there

    def model(self) -> dict[str, list[bytes]]:
        """The documents of the source, by collection."""
        found: dict[str, list[bytes]] = {name: [] for name in self.declared}
        for (name, number), version in sorted(self.source.items()):
            if name in self.declared:
                found[name] += content(name, number, version)
        return found

    # requests

    def ask(self, work: Coroutine[Any, Any, Any], *, ends: str = "") -> Any:
        """The answer, or the error. When the receiver was killed on the way it is started again, and the model learns
        what it could not know; None."""
        if ends:
            self.ordered.add(ends)
        try:
            answer: Any = self.destination.run(work)
        except TransferError as error:
            answer = error
        if not self.calls.failed:
            return answer
        self.seen["killed"] += 1
        self.restart()
        return None

    @rule()
    def restart(self) -> None:
        """The process is gone, and comes again."""
        self.calls.disarm()
        self.destination.reopen()
        self.learn()

    def learn(self) -> None:
        """What a source asks a destination when it goes on."""
        try:
            answer = self.destination.run(self.destination.receiver.transfer(self.id))
        except TransferNotFound:
            assert self.state == "unknown"
            return
        self.state, self.epoch = answer["transfer"]["state"], max(self.epoch, answer["held"]["epoch"])
        assert self.state in (*BEFORE_COMMIT, *self.ordered), self.state

    def admitted(self, answer: Any, epoch: int) -> bool:
        """Whether a request passed the door; an older epoch never does."""
        if epoch < self.epoch:
            assert isinstance(answer, Superseded), answer
            return False
        assert not isinstance(answer, Superseded)
        self.epoch = epoch
        return True

    @rule(number=st.integers(1, 90), after=st.booleans(), sure=st.sampled_from((False, False, True)))
    def kill_soon(self, number: int, after: bool, sure: bool) -> None:
        """The database dies at one of the next commands."""
        if sure:
            self.calls.arm(number, Killed, after=after, for_ever=True)

    @rule(
        tags=st.sampled_from((True, True, True, False)),
        anew=st.sampled_from((False, False, False, True)),
        ahead=st.sampled_from((-1, 0, 0, 1)),
    )
    def put_transfer(self, tags: bool, anew: bool, ahead: int) -> None:
        names = ["pages", "tags"] if tags else ["pages"]
        before = self.uuids["tags"], dict(self.acknowledged)
        if anew:
            self.uuids["tags"] = uuid.uuid4().hex
            self.acknowledged.pop(("tags", 0), None)
        body = setup_of(names, self.uuids)
        epoch = max(1, self.epoch + ahead)
        if "tags" not in names:
            self.acknowledged.pop(("tags", 0), None)
        answer = self.ask(self.destination.receiver.put_transfer(self.id, body, key_id=None, epoch=epoch))
        if answer is None:
            self.declared = set()  # unknown: nothing can be proved until it is declared again
        elif self.state == "unknown":
            assert answer["transfer"]["state"] == "copying", answer
            self.state, self.epoch, self.declared = "copying", epoch, set(names)
        elif self.admitted(answer, epoch):
            if self.state in BEFORE_COMMIT:
                assert answer["transfer"]["state"] == "copying", answer
                self.state, self.declared = "copying", set(names)
            else:
                assert isinstance(answer, StateConflict), answer
        else:
            self.uuids["tags"], self.acknowledged = before

    @precondition(lambda self: self.state != "unknown")
    @rule(
        which=st.sampled_from([(name, number) for name, bounds in BOUNDS.items() for number in range(len(bounds) - 1)]),
        changed=st.booleans(),
        ahead=st.sampled_from((-1, 0, 0, 0, 1)),
    )
    def send_volume(self, which: Range, changed: bool, ahead: int) -> None:
        """Something new, or the same once more."""
        name, number = which
        assume(name in self.declared)
        epoch = self.epoch + ahead
        version = self.source[which] + changed
        documents = content(name, number, version)
        body = volume(which, self.uuids[name], documents, deflate=changed)
        answer = self.ask(self.destination.receiver.put_volume(self.id, name, number, body, epoch=epoch))
        if answer is None:
            self.source[which] = version
            self.acknowledged.pop(which, None)
        elif self.admitted(answer, epoch):
            if self.state in BEFORE_COMMIT:
                assert answer["documents"] == len(documents), answer
                self.source[which] = self.acknowledged[which] = version
                self.state = "copying"
            else:
                assert isinstance(answer, StateConflict), answer

    @precondition(lambda self: self.state != "unknown")
    @rule(digests=st.booleans())
    def plan(self, digests: bool) -> None:
        page = PlanPage(files=tuple(announced(name, digest=digests) for name in FILES))
        answer = self.ask(self.destination.receiver.plan_attachments(self.id, page, epoch=self.epoch))
        if answer is None or self.state not in BEFORE_COMMIT:
            assert answer is None or isinstance(answer, StateConflict)
            return
        wanted = {name for name in FILES if IDS[name] in answer["missing"]}
        assert not wanted & self.files, "what is acknowledged is not asked for again"
        if digests:
            assert answer["same_size"] == []
            self.files |= set(FILES) - wanted

    @precondition(lambda self: self.state != "unknown")
    @rule(names=st.sets(st.sampled_from(sorted(SMALL)), min_size=1), ahead=st.sampled_from((-1, 0, 0, 1)))
    def bundle(self, names: set[str], ahead: int) -> None:
        epoch = self.epoch + ahead
        body = b"".join(write_frames([(announced(name), SMALL[name]) for name in sorted(names)]))
        answer = self.ask(self.destination.receiver.put_bundle(self.id, body, epoch=epoch))
        if answer is None:
            self.files -= names  # being written anew
        elif self.admitted(answer, epoch):
            if self.state in BEFORE_COMMIT:
                assert all(one["ok"] for one in answer["results"]), answer
                self.files |= names
                self.state = "copying"
            else:
                assert isinstance(answer, StateConflict), answer

    @precondition(lambda self: self.state in BEFORE_COMMIT)
    @rule(step=st.integers(0, len(LARGE)), wrong=st.sampled_from((0, 0, 0, 7)), cut=st.booleans(), end=st.booleans())
    def patch(self, step: int, wrong: int, cut: bool, end: bool) -> None:
        """A piece of the large file: at the right offset or a wrong one, cut or whole, with the end or not."""
        held = self.ask(self.destination.receiver.upload_state(self.id, IDS["large.bin"]))
        if held is None:
            return
        offset = 0 if isinstance(held, TransferError) else held.offset
        was_complete = not isinstance(held, TransferError) and held.complete
        piece = LARGE[offset : offset + step]
        complete = end and not cut and offset + len(piece) == len(LARGE)
        answer = self.ask(
            self.destination.receiver.patch_upload(
                self.id,
                IDS["large.bin"],
                file=announced("large.bin", digest=False),
                offset=offset + wrong,
                complete=complete,
                sha256=sha256(LARGE + b"?" * (wrong == 7)).hexdigest(),
                chunks=pieces(piece, cut=cut),
                epoch=self.epoch,
            )
        )
        if answer is None:
            return
        self.state = "copying"
        if was_complete:
            assert isinstance(answer, OffsetMismatch) if wrong else answer.complete
        elif wrong:
            assert isinstance(answer, OffsetMismatch), answer
            assert answer.details["offset"] == offset
        elif cut:
            assert isinstance(answer, BodyCut), answer
        else:
            assert (answer.offset, answer.complete) == (offset + len(piece), complete), answer
            if complete:
                self.files.add("large.bin")

    @precondition(lambda self: self.state in BEFORE_COMMIT and "large.bin" not in self.files)
    @rule()
    def end_of_another_file(self) -> None:
        """All bytes are there and their digest is another: the file must not become visible."""
        whole = self.destination.receiver.patch_upload(
            self.id,
            IDS["large.bin"],
            file=announced("large.bin", digest=False),
            offset=0,
            complete=True,
            sha256="0" * 64,
            chunks=pieces(LARGE, cut=False),
            epoch=self.epoch,
        )
        answer = self.ask(whole)
        if answer is not None:
            self.state = "copying"
            if not isinstance(answer, OffsetMismatch):
                assert isinstance(answer, DigestMismatch), answer
