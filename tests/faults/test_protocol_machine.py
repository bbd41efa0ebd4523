"""Any order of requests, cuts, kills and restarts, against a model of what the destination must show.

What was acknowledged is never lost and never doubled; nothing is proved, and so nothing completed, with a hole; before
a commit the destination shows its former data, after it exactly what was proved, after a rollback or a cancel exactly
the former again.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import uuid
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import bson
from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pymongo import MongoClient
from tests.fakes.nth_call import NthCall
from tests.pair.instances import Instance, settings_of, with_database
from tests.rounds import Rounds

from growi_transfer import wiring
from growi_transfer.archive.bundle import write_frames
from growi_transfer.archive.volume import pack
from growi_transfer.ledger.base import Role
from growi_transfer.protocol.digest import set_digest
from growi_transfer.protocol.errors import (
    BodyCut,
    DatabaseUnavailable,
    DigestMismatch,
    OffsetMismatch,
    StateConflict,
    Superseded,
    TransferError,
    TransferNotFound,
    VerificationFailed,
)
from growi_transfer.protocol.wire import (
    AttachmentFile,
    Collection,
    CollectionProof,
    Manifest,
    PlanPage,
    PutTransfer,
    SetUp,
    SourceInfo,
    Verify,
)
from growi_transfer.receiver.receiver import Receiver

BOUNDS = {"pages": (None, 10, 20, None), "tags": (None, None)}
"""Each collection is cut at these `_id`s."""
UNIQUE = (
    '{"options":{},"indexes":[{"v":2,"key":{"_id":1},"name":"_id_"},{"v":2,"key":{"u":1},"name":"u","unique":true}]}'
)
PLAIN = '{"options":{},"indexes":[]}'
SAME, FORMER = b"same" * 50, b"former" * 20
SMALL = {"a.bin": b"a" * 700, "same.bin": SAME, "taken.bin": b"new" * 100}
LARGE = bytes(range(256)) * 120
FILES = {**SMALL, "large.bin": LARGE}
IDS = {name: f"{number:024x}" for number, name in enumerate(FILES)}
FORMER_FILES = {"attachment/same.bin": SAME, "attachment/taken.bin": FORMER}
COMMANDS = ("command", "admin", "find", "list_collections", "raw_batches")
BEFORE_COMMIT = ("checked", "copying", "reconciling", "indexing", "verifying", "ready")

Range = tuple[str, int]


class Killed(DatabaseUnavailable):
    """What follows when the database dies under the receiver."""


def content(collection: str, number: int, version: int) -> list[bytes]:
    """Documents of one range; those of two versions overlap, and carry the unique field to other documents."""
    start = number * 10
    ids = [start + step for step in range(10) if (step * 7 + version) % 3]
    return [bson.encode({"_id": one, "u": (one + version) % 10 + start, "v": version}) for one in ids]


def announced(name: str, *, digest: bool = True) -> AttachmentFile:
    data = FILES[name]
    found = sha256(data).hexdigest() if digest else None
    return AttachmentFile(id=IDS[name], file_name=name, has_page=True, size=len(data), sha256=found)


class Machine(RuleBasedStateMachine):
    uri = ""
    """Of the destination's server; set by the test."""
    seen: Counter[str]
    """How transfers ended, and kills; set by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="growi-transfer-machine-"))
        self.client: MongoClient[dict[str, Any]] = MongoClient(self.uri)
        name = f"machine_{uuid.uuid4().hex[:12]}"
        self.settings = settings_of(self.folder, with_database(self.uri, name))
        self.there = Instance(self.settings, self.client[name], self.folder / "uploads")
        self.stack = AsyncExitStack()
        self.calls = NthCall()
        self.there.insert_raw("pages", [bson.encode({"_id": "former"})])
        self.there.insert_raw("only_here", [bson.encode({"_id": 1})])
        for path, data in FORMER_FILES.items():
            (self.there.uploads / path).parent.mkdir(exist_ok=True)
            (self.there.uploads / path).write_bytes(data)
        self.loop.run(self.open())

    async def open(self) -> None:
        services = await self.stack.enter_async_context(
            wiring.open_services(self.settings, role="receiver", serving=True)
        )
        assert services.receiver is not None
        self.receiver: Receiver = services.receiver
        self.calls.watch(services.database, COMMANDS)

    def teardown(self) -> None:
        self.seen[self.state] += 1
        try:
            if sys.exc_info()[0] is None:
                self.there_is_always_a_way()
        finally:
            self.calls.disarm()
            self.loop.run(self.stack.aclose())
            self.loop.close()
            self.client.drop_database(self.there.database.name)
            self.client.close()
            shutil.rmtree(self.folder)

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
        self.former = self.shown()
        self.proved: dict[str, list[bytes]] = {}
        self.ordered: set[str] = set()
        """Ends that somebody has asked for: no other may come about."""
        if announced:
            self.put_transfer.__wrapped__(self, True, False, 0)

    # what is there

    def shown(self) -> dict[str, list[bytes]]:
        names = [name for name in self.there.database.list_collection_names() if not name.startswith("growi_transfer_")]
        return {name: self.there.documents(name) for name in sorted(names)}

    def model(self) -> dict[str, list[bytes]]:
        """The documents of the source, by collection."""
        found: dict[str, list[bytes]] = {name: [] for name in self.declared}
        for (name, number), version in sorted(self.source.items()):
            if name in self.declared:
                found[name] += content(name, number, version)
        return found

    def staged(self) -> dict[str, list[bytes]]:
        rows = self.loop.run(self.receiver._ledger.collections(Role.RECEIVER, self.id))
        return {row.name: self.there.documents(row.staging) for row in rows}

    # requests

    def ask(self, work: Coroutine[Any, Any, Any], *, ends: str = "") -> Any:
        """The answer, or the error. When the receiver was killed on the way it is started again, and the model learns
        what it could not know; None."""
        if ends:
            self.ordered.add(ends)
        try:
            answer: Any = self.loop.run(work)
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

        async def again() -> None:
            await self.stack.aclose()
            self.stack = AsyncExitStack()
            await self.open()

        self.loop.run(again())
        self.learn()

    def learn(self) -> None:
        """What a source asks a destination when it goes on."""
        try:
            answer = self.loop.run(self.receiver.transfer(self.id))
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

    @rule(number=st.integers(1, 120), after=st.booleans(), sure=st.sampled_from((False, False, True)))
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
        if anew:
            self.uuids["tags"] = uuid.uuid4().hex
            self.acknowledged.pop(("tags", 0), None)
        body = PutTransfer(
            setup=SetUp(source=SourceInfo(instance_id="another")),
            collections=tuple(
                Collection(
                    number=number,
                    name=name,
                    kind="collection",
                    uuid=self.uuids[name],
                    metadata=UNIQUE if name == "tags" else PLAIN,
                )
                for number, name in enumerate(names)
            ),
        )
        epoch = max(1, self.epoch + ahead)
        if "tags" not in names:
            self.acknowledged.pop(("tags", 0), None)
        answer = self.ask(self.receiver.put_transfer(self.id, body, key_id=None, epoch=epoch))
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
        low, high = BOUNDS[name][number : number + 2]
        manifest = Manifest(
            collection=name,
            number=number,
            uuid=self.uuids[name],
            minimum=bound(low),
            maximum=bound(high),
            documents=len(documents),
            bytes=sum(map(len, documents)),
            digest=set_digest(documents).hex(),
        )
        body = b"".join(pack(manifest, documents, deflate=changed))
        answer = self.ask(self.receiver.put_volume(self.id, name, number, body, epoch=epoch))
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
        answer = self.ask(self.receiver.plan_attachments(self.id, page, epoch=self.epoch))
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
        answer = self.ask(self.receiver.put_bundle(self.id, body, epoch=epoch))
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
        held = self.ask(self.receiver.upload_state(self.id, IDS["large.bin"]))
        if held is None:
            return
        offset = 0 if isinstance(held, TransferError) else held.offset
        was_complete = not isinstance(held, TransferError) and held.complete
        piece = LARGE[offset : offset + step]
        complete = end and not cut and offset + len(piece) == len(LARGE)
        answer = self.ask(
            self.receiver.patch_upload(
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

    @precondition(lambda self: self.state in BEFORE_COMMIT and "large.bin" not in self.files)
    @rule()
    def end_of_another_file(self) -> None:
        """All bytes are there and their digest is another: the file must not become visible."""
        whole = self.receiver.patch_upload(
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

    # proof and ends

    @precondition(lambda self: self.state != "unknown" and self.declared)
    @rule(right=st.sampled_from((True, True, True, False)))
    def verify(self, right: bool) -> None:
        wanted = self.model()
        numbers = {name: number for number, name in enumerate(sorted(self.declared))}
        body = Verify(
            collections=tuple(
                CollectionProof(
                    number=numbers[name],
                    documents=len(documents),
                    digest=set_digest(documents if right else documents[1:]).hex(),
                )
                for name, documents in wanted.items()
            ),
            files=len(FILES),
            seconds=60,
        )
        was_ready = self.state == "ready"
        answer = self.ask(self.receiver.verify(self.id, body, epoch=self.epoch))
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
        assert self.staged() == self.proved
        own = self.there.uploads / ".growi-transfer" / "aside" / self.id
        for name, data in FILES.items():
            aside = own / "attachment" / name
            path = aside if aside.exists() else self.there.uploads / "attachment" / name
            assert path.read_bytes() == data, name

    @precondition(lambda self: self.state != "unknown")
    @rule()
    def commit(self) -> None:
        answer = self.ask(self.receiver.commit(self.id, epoch=None), ends="completed")
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
        self.end(self.receiver.rollback(self.id, epoch=None), "rolled_back", ("completed", "rolled_back"))

    @precondition(lambda self: self.state != "unknown")
    @rule(sure=st.sampled_from((False, False, False, True)))
    def cancel(self, sure: bool) -> None:
        if sure:
            self.end(self.receiver.cancel(self.id, epoch=None), "cancelled", (*BEFORE_COMMIT, "cancelled"))

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
            assert not isinstance(self.ask(self.receiver.purge(self.id)), TransferError)
        for path in (self.there.uploads / "attachment").iterdir():
            path.unlink()
        for path, data in FORMER_FILES.items():
            (self.there.uploads / path).write_bytes(data)
        self.begin.__wrapped__(self, announced)

    # what must always hold

    @invariant()
    def the_wiki_is_whole(self) -> None:
        if self.calls.failed:
            return
        seen, files = self.shown(), self.there.files()
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
            assert self.there.own_collections() == []

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        if self.calls.failed or self.state not in BEFORE_COMMIT:
            return
        armed, self.calls.count = self.calls.count, -1_000_000
        try:
            for name in self.declared:
                held = {one["number"]: one for one in self.loop.run(self.receiver.volumes(self.id, name))}
                for (owner, number), version in self.acknowledged.items():
                    if owner == name:
                        assert held[number]["digest"] == set_digest(content(name, number, version)).hex()
        finally:
            self.calls.count = armed


def bound(value: int | None) -> str | None:
    return None if value is None else b64encode(bson.encode({"_id": value})).decode()


async def pieces(data: bytes, *, cut: bool) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 5_000):
        yield data[start : start + 5_000]
    if cut:
        raise BodyCut


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
