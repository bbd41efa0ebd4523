"""A source that is followed: rounds of catching up, until somebody orders the commit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from tests.pair.instances import Pair
from tests.pair.wikis import Wiki, faults

from growi_transfer.ledger.base import CollectionRow, RangeRow, Role, TransferRow
from growi_transfer.mongo.ranges import RawRange
from growi_transfer.protocol.errors import PeerRefused, PeerUnavailable, StateConflict
from growi_transfer.protocol.growi_rules import MAINTENANCE_KEY
from growi_transfer.protocol.machine import Event, State
from growi_transfer.protocol.shape import to_json
from growi_transfer.protocol.wire import Verify
from growi_transfer.pusher import following
from growi_transfer.pusher.options import PushOptions
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.push import Push
from growi_transfer.pusher.retry import Retry
from growi_transfer.pusher.volumes import VolumeSender

RAW = bson.CodecOptions(document_class=RawBSONDocument)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SHORTEST", 0.02)
    monkeypatch.setattr(following, "LONGEST", 0.1)
    monkeypatch.setattr(following, "ORDERS", 0.02)


async def begin(pair: Pair, **options: Any) -> str:
    assert pair.from_source.pusher is not None
    return await pair.from_source.pusher.start(
        await pair.key(), PushOptions(**{"accept_all": True, "follow": True, **options})
    )


async def row_of(pair: Pair, transfer_id: str) -> TransferRow:
    row = await pair.from_source.ledger.get_transfer(Role.PUSHER, transfer_id)
    assert row is not None
    return row


async def until(pair: Pair, transfer_id: str, condition: Callable[[TransferRow], bool]) -> TransferRow:
    """Wait until the pusher's row is so. Fails when the transfer has failed."""
    async with asyncio.timeout(60):
        while not condition(row := await row_of(pair, transfer_id)):
            assert row.position.state not in (State.FAILED, State.CANCELLED), row.facts.get("error")
            await asyncio.sleep(0.02)
    return row


def ready(row: TransferRow) -> bool:
    return row.position.state is State.READY


def lag(pair: Pair, transfer_id: str) -> dict[str, Any]:
    snapshot = pair.from_source.board.snapshot(Role.PUSHER, transfer_id)
    assert snapshot is not None
    shape = to_json(snapshot)["lag"]
    assert shape is not None
    return dict(shape)


async def caught_up(pair: Pair, transfer_id: str, name: str) -> None:
    """Wait until staging has what the source's collection has now, verified."""
    wanted = pair.source.documents(name)

    async def has() -> bool:
        rows = await pair.to_destination.ledger.collections(Role.RECEIVER, transfer_id)
        staging = next((row.staging for row in rows if row.name == name), None)
        if staging is None or pair.destination.documents(staging) != wanted:
            return False
        return ready(await row_of(pair, transfer_id))

    async with asyncio.timeout(60):
        while not await has():
            await asyncio.sleep(0.02)


async def commit(pair: Pair, transfer_id: str) -> TransferRow:
    assert pair.from_source.pusher is not None
    await pair.from_source.pusher.commit(transfer_id)
    row = await pair.wait(transfer_id)
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    return row


def count_sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    sent: list[tuple[str, int]] = []
    original = VolumeSender.__call__

    async def send(self: VolumeSender, row: CollectionRow, one: RangeRow, raw: RawRange, before: RangeRow) -> None:
        await original(self, row, one, raw, before)
        sent.append((row.name, one.number))

    monkeypatch.setattr(VolumeSender, "__call__", send)
    return sent


async def test_what_is_written_while_following_arrives_and_only_its_range_is_sent(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = pair.source.database["pages"]
    pair.source.insert_raw("pages", [bson.encode({"_id": number, "s": "z" * 9000}) for number in range(3000)])
    pair.source.insert_raw("other", [bson.encode({"_id": number}) for number in range(10)])
    gone = pair.source.add_attachment(b"gone")
    pair.source.add_attachment(b"stays")
    sent = count_sent(monkeypatch)
    transfer_id = await begin(pair)
    await until(pair, transfer_id, ready)
    assert len(sent) >= 4
    copied = len(sent)

    pages.update_one({"_id": 1500}, {"$set": {"s": "$changed"}})
    pages.delete_one({"_id": 1501})
    await caught_up(pair, transfer_id, "pages")
    assert [name for name, _ in sent[copied:]] == ["pages"], "the range that was written, and nothing else"
    told = lag(pair, transfer_id)
    assert told["commit_possible"]
    assert told["following"]
    assert told["as_of"]

    pair.source.add_attachment(b"late")
    pair.source.database["attachments"].delete_one({"_id": gone["_id"]})
    (pair.source.uploads / "attachment" / gone["fileName"]).unlink()
    pair.source.database["fresh"].insert_one({"_id": 1})
    await caught_up(pair, transfer_id, "fresh")
    await caught_up(pair, transfer_id, "attachments")
    row = await commit(pair, transfer_id)
    for name in ("pages", "other", "fresh", "attachments"):
        assert pair.destination.documents(name) == pair.source.documents(name), name
    assert pair.destination.files() == pair.source.files()
    assert not pair.destination.own_collections()
    assert row.facts["receipt"]["attachments"] == 2


async def test_what_is_merged_may_be_followed(pair: Pair) -> None:
    there, here = Wiki(pair.destination.database), Wiki(pair.source.database)
    ids = {
        wiki: wiki.user(f"user {number}", f"{number}@example.com", admin=True)
        for number, wiki in enumerate((there, here))
    }
    there.page("/theirs", ids[there])
    there.grow()
    here.page("/ours", ids[here])
    here.grow()
    transfer_id = await begin(pair, merge={})
    await until(pair, transfer_id, ready)
    here.page("/ours/late", ids[here])
    here.grow()
    await caught_up(pair, transfer_id, "pages")
    there.page("/theirs/late", ids[there])
    there.grow()
    row = await commit(pair, transfer_id)
    paths = {page["path"] for page in pair.destination.database["pages"].find()}
    assert paths >= {"/theirs", "/theirs/late", "/ours", "/ours/late"}
    assert faults(pair.destination.database) == []
    assert row.facts["told"]["merge"]["collections"]["users"]["inserted"] == 1


async def test_nothing_is_read_or_verified_again_while_nothing_is_written(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.source.insert_raw("pages", [bson.encode({"_id": 1})])
    transfer_id = await begin(pair)
    await until(pair, transfer_id, ready)
    verified: list[int] = []
    original = Peer.verify

    async def verify(self: Peer, transfer_id: str, body: Verify) -> dict[str, Any]:
        verified.append(1)
        return await original(self, transfer_id, body)

    monkeypatch.setattr(Peer, "verify", verify)
    first = (await row_of(pair, transfer_id)).facts["as_of"]
    await until(pair, transfer_id, lambda row: row.facts["as_of"] > first)
    assert not verified
    assert ready(await pair.received(transfer_id))
    await commit(pair, transfer_id)


async def test_a_line_that_breaks_for_a_while_ends_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.source.insert_raw("pages", [bson.encode({"_id": number}) for number in range(10)])
    transfer_id = await begin(pair)
    await until(pair, transfer_id, ready)
    original = Peer.put_volume
    broken: list[int] = []

    async def put(self: Peer, *args: Any) -> dict[str, Any]:
        if len(broken) < 3:
            broken.append(1)
            raise PeerUnavailable("The line is cut.")
        return await original(self, *args)

    async def once(self: Retry, call: Callable[[], Awaitable[Any]]) -> Any:
        return await call()

    monkeypatch.setattr(Retry, "__call__", once)
    monkeypatch.setattr(Peer, "put_volume", put)
    pair.source.database["pages"].insert_one({"_id": 99})
    await caught_up(pair, transfer_id, "pages")
    assert len(broken) == 3
    await commit(pair, transfer_id)
    assert pair.destination.documents("pages") == pair.source.documents("pages")


async def test_an_order_that_comes_before_all_is_copied_is_kept(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pusher = pair.from_source.pusher
    assert pusher is not None
    pair.source.insert_raw("pages", [bson.encode({"_id": number}) for number in range(10)])
    original = VolumeSender.__call__

    async def send(self: VolumeSender, row: CollectionRow, one: RangeRow, raw: RawRange, before: RangeRow) -> None:
        await pusher.commit(self._id)
        await original(self, row, one, raw, before)

    monkeypatch.setattr(VolumeSender, "__call__", send)
    row = await pair.wait(await begin(pair))
    assert row.position.state is State.COMPLETED, row.facts.get("error")


async def test_a_process_that_ends_goes_on_following_and_a_pause_holds(pair: Pair) -> None:
    pusher = pair.from_source.pusher
    assert pusher is not None
    pair.source.insert_raw("pages", [bson.encode({"_id": number}) for number in range(10)])
    transfer_id = await begin(pair)
    await until(pair, transfer_id, ready)
    await pusher.runner.stop(transfer_id)
    pair.source.database["pages"].insert_one({"_id": 99})
    await pusher.go_on_with_all()
    await caught_up(pair, transfer_id, "pages")
    await pusher.pause(transfer_id)
    assert (await row_of(pair, transfer_id)).position.state is State.PAUSED
    with pytest.raises(StateConflict):
        await pusher.commit(transfer_id)
    await pusher.resume(transfer_id, None)
    pair.source.database["pages"].insert_one({"_id": 100})
    await caught_up(pair, transfer_id, "pages")
    await pusher.cancel(transfer_id)
    assert not pair.destination.own_collections()


async def test_a_pause_holds_when_a_round_begins_at_that_moment(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pusher = pair.from_source.pusher
    assert pusher is not None
    pair.source.insert_raw("pages", [bson.encode({"_id": 1})])
    transfer_id = await begin(pair)
    await until(pair, transfer_id, ready)
    stop = pusher.runner.stop

    async def late(transfer_id: str) -> None:
        if ready(await row_of(pair, transfer_id)):
            await pusher._life.step(transfer_id, Event.DIFFERENCE_FOUND)
        await stop(transfer_id)

    monkeypatch.setattr(pusher.runner, "stop", late)
    assert (await pusher.pause(transfer_id))["transfer"]["state"] == "paused"
    await pusher.cancel(transfer_id)


def mode(pair: Pair) -> Any:
    found = pair.source.database["configs"].find_one({"key": MAINTENANCE_KEY})
    return found and found["value"]


@pytest.mark.parametrize("former", [None, "false", "true"])
async def test_a_freeze_lasts_from_the_last_pass_on_and_can_be_ended(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, former: str | None
) -> None:
    pusher = pair.from_source.pusher
    assert pusher is not None
    if former is not None:
        pair.source.database["configs"].insert_one({"_id": 1, "key": MAINTENANCE_KEY, "value": former})
    pair.source.insert_raw("pages", [bson.encode({"_id": 1})])
    transfer_id = await begin(pair, freeze=True)
    await until(pair, transfer_id, ready)
    assert mode(pair) == former
    passes: list[Any] = []
    last_pass = Push._last_pass

    async def counted(self: Push) -> State:
        passes.append(mode(pair))
        return await last_pass(self)

    monkeypatch.setattr(Push, "_last_pass", counted)
    row = await commit(pair, transfer_id)
    assert passes == [former], "the source is read once while nobody can write"
    assert mode(pair) == "true"
    assert row.facts["freeze"]["seconds"] > 0
    assert pair.destination.documents("pages") == pair.source.documents("pages")
    await pusher.release(transfer_id)
    assert mode(pair) == former
    with pytest.raises(StateConflict):
        await pusher.release(transfer_id)


@pytest.mark.parametrize("how", ["failed", "killed", "rolled back"])
async def test_a_freeze_ends_with_a_transfer_that_does_not_come_to_its_end(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    pusher = pair.from_source.pusher
    assert pusher is not None
    pair.source.insert_raw("pages", [bson.encode({"_id": 1})])
    seen: list[Any] = []
    if how != "rolled back":

        async def refuse(self: Peer, transfer_id: str) -> dict[str, Any]:
            seen.append(mode(pair))
            raise PeerRefused("Not now.", code="verification_failed", status=409)

        monkeypatch.setattr(Peer, "commit", refuse)
    if how == "killed":
        # A process that is killed puts nothing back; whoever cancels the transfer does.
        async def nothing(self: Push) -> None:
            pass

        monkeypatch.setattr(Push, "_thaw", nothing)
    row = await pair.push(freeze=True)
    if how == "rolled back":
        assert mode(pair) == "true"
        await pusher.rollback(row.id)
    elif how == "killed":
        assert seen == [mode(pair)] == ["true"]
        await pusher.cancel(row.id)
    else:
        assert seen == ["true"]
        assert row.position.state is State.FAILED
    assert mode(pair) is None


async def test_a_writer_that_never_rests_ends_at_one_moment_of_the_source(pair: Pair) -> None:
    """Seeded: every kind of change, from the first copy to the commit. Then the destination is compared with the source
    as it was at the moment that the transfer names."""
    chance = random.Random(20)
    source = pair.source.database
    pair.source.insert_raw("pages", [bson.encode({"_id": number, "n": 0}) for number in range(300)])
    attachments = [pair.source.add_attachment(b"%d" % number) for number in range(20)]
    kinds = ["update", "insert", "delete", "add", "remove", "replace", "collection", "rename", "drop"]
    writing = True
    written = 0

    def write() -> None:
        kind = chance.choice(kinds)
        pages = source["pages"]
        if kind == "update":
            pages.update_one({"_id": chance.randrange(300)}, {"$inc": {"n": 1}})
        elif kind == "insert":
            pages.insert_one({"_id": chance.choice([chance.random(), str(chance.random()), bson.ObjectId()])})
        elif kind == "delete":
            pages.delete_one({"_id": chance.randrange(300)})
        elif kind == "add":
            attachments.append(pair.source.add_attachment(chance.randbytes(50)))
        elif kind == "remove" and len(attachments) > 5:
            gone = attachments.pop(chance.randrange(len(attachments)))
            source["attachments"].delete_one({"_id": gone["_id"]})
            (pair.source.uploads / "attachment" / gone["fileName"]).unlink()
        elif kind == "replace":
            one = chance.choice(attachments)
            name = f"{bson.ObjectId()}11111111.bin"
            path = pair.source.uploads / "attachment" / name
            path.write_bytes(chance.randbytes(60))
            source["attachments"].update_one({"_id": one["_id"]}, {"$set": {"fileName": name, "fileSize": 60}})
            (pair.source.uploads / "attachment" / one["fileName"]).unlink()
            one["fileName"] = name
        elif kind == "collection":
            source[f"extra{chance.randrange(3)}"].insert_one({"x": chance.random()})
        elif kind == "rename" and "extra0" in source.list_collection_names():
            source["extra0"].rename("extra2", dropTarget=True)
        elif kind == "drop" and chance.random() < 0.3:
            source.drop_collection("extra1")

    async def writer() -> None:
        nonlocal written
        while writing:
            await asyncio.to_thread(write)
            written += 1
            await asyncio.sleep(chance.random() * 0.02)

    task = asyncio.create_task(writer())
    try:
        transfer_id = await begin(pair)
        await until(pair, transfer_id, ready)
        enough = written + 150
        await until(pair, transfer_id, lambda _: written > enough)
        # Of a collection that is renamed or dropped afterwards the server has no snapshot to compare with.
        kinds[-2:] = []
        await until(pair, transfer_id, ready)
        row = await commit(pair, transfer_id)
    finally:
        writing = False
        await task
    moment = bson.Timestamp(*row.facts["as_of"])
    names = {name for name in pair.destination.database.list_collection_names() if not name.startswith("growi_")}
    for name in names - {"configs"}:
        reply = source.command(
            {
                "find": name,
                "sort": {"_id": 1},
                "batchSize": 100_000,
                "readConcern": {"level": "snapshot", "atClusterTime": moment},
            },
            codec_options=RAW,
        )
        then = [document.raw for document in reply["cursor"]["firstBatch"]]
        assert pair.destination.documents(name) == then, name
    needed = {f"attachment/{one['fileName']}" for one in pair.destination.database["attachments"].find()}
    there = set(pair.destination.files())
    # The ledger's copy of a snapshot may be a second old.
    snapshot = pair.from_source.board.snapshot(Role.PUSHER, transfer_id)
    assert snapshot is not None
    told = {one.code for one in snapshot.warnings}
    assert needed <= there or "attachments_removed_meanwhile" in told
    assert there <= needed, "no file of a removed attachment"


@pytest.mark.parametrize("first", [True, False])
async def test_attachments_may_go_before_the_documents(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    pair.source.insert_raw("pages", [bson.encode({"_id": number}) for number in range(10)])
    pair.source.add_attachment(b"file")
    went: list[str] = []
    bundle, volume = Peer.put_bundle, Peer.put_volume
    sent = asyncio.Event()

    async def put_bundle(self: Peer, *args: Any) -> dict[str, Any]:
        if not first:
            await sent.wait()  # both go at once: the file does not keep the documents back
        went.append("file")
        return await bundle(self, *args)

    async def put_volume(self: Peer, *args: Any) -> dict[str, Any]:
        went.append("documents")
        sent.set()
        return await volume(self, *args)

    monkeypatch.setattr(Peer, "put_bundle", put_bundle)
    monkeypatch.setattr(Peer, "put_volume", put_volume)
    row = await pair.push(attachments_first=first)
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert (went[0] == "file") is first
    assert pair.destination.files() == pair.source.files()
