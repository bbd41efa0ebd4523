"""A source in use: whatever happens to it while it is read, the destination equals one moment of it, or is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import bson
import pytest
from tests.pair.instances import Pair, open_pair

from growi_transfer.ledger.base import CollectionRow, ItemState, RangeRow, Role
from growi_transfer.mongo.client import Database
from growi_transfer.mongo.ranges import RawRange
from growi_transfer.protocol.errors import SnapshotExpired
from growi_transfer.protocol.machine import State
from growi_transfer.protocol.wire import PutTransfer
from growi_transfer.pusher.attachments import AttachmentSender, Look
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.volumes import VolumeSender

Step = Callable[[], None]


def fill(pair: Pair, name: str = "pages", count: int = 3000) -> None:
    pair.source.insert_raw(name, [bson.encode({"_id": number, "s": "z" * 9000}) for number in range(count)])


def during_copy(monkeypatch: pytest.MonkeyPatch, *steps: Step) -> list[int]:
    """Run each step once, the n-th after the n-th volume of the copy was sent."""
    left = list(steps)
    sent: list[int] = []
    original = VolumeSender.__call__

    async def send(self: VolumeSender, row: CollectionRow, one: RangeRow, raw: RawRange, before: RangeRow) -> None:
        await original(self, row, one, raw, before)
        sent.append(one.number)
        if left:
            left.pop(0)()

    monkeypatch.setattr(VolumeSender, "__call__", send)
    return sent


def same(pair: Pair, *collections: str) -> None:
    for name in collections:
        assert pair.destination.documents(name) == pair.source.documents(name), name
        assert pair.destination.indexes(name) == pair.source.indexes(name), name


async def test_writes_during_the_copy_are_not_seen_in_part(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is read at one snapshot: the destination equals the moment at which the copy began."""
    fill(pair)
    before = pair.source.documents("pages")
    pages = pair.source.database["pages"]

    def write() -> None:
        pages.update_many({"_id": {"$in": [1, 1500, 2999]}}, {"$set": {"s": "changed"}})
        pages.delete_one({"_id": 2000})
        pages.insert_one({"_id": 99999, "s": "late"})

    during_copy(monkeypatch, write)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert pair.destination.documents("pages") == before


async def test_a_collection_dropped_during_the_copy_does_not_arrive(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair, "aaa")
    fill(pair, "zzz", 10)
    during_copy(monkeypatch, lambda: pair.source.database.drop_collection("zzz"))
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    same(pair, "aaa")
    assert "zzz" not in pair.destination.database.list_collection_names()
    assert not pair.destination.own_collections()


async def test_a_collection_renamed_during_the_copy_arrives_under_its_new_name(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair, "aaa")
    fill(pair, "zzz", 10)
    during_copy(monkeypatch, lambda: pair.source.database["zzz"].rename("renamed"))
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    same(pair, "aaa", "renamed")
    assert "zzz" not in pair.destination.database.list_collection_names()


async def test_a_collection_created_anew_during_the_copy_arrives_anew(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair, "aaa")
    fill(pair, "pages", 2000)

    def anew() -> None:
        pair.source.database.drop_collection("pages")
        pair.source.database["pages"].insert_many([{"_id": number, "new": True} for number in range(7)])

    during_copy(monkeypatch, lambda: None, anew)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    same(pair, "aaa", "pages")


@pytest.mark.parametrize("then", ["gone", "anew", "renamed"])
async def test_a_collection_that_goes_while_a_cursor_is_open_on_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    fill(pair, "aaa", 6000)  # more ranges than may be in flight: its cursor waits for them

    def go() -> None:
        if then == "renamed":
            pair.source.database["aaa"].rename("renamed")
        else:
            pair.source.database.drop_collection("aaa")
        if then == "anew":
            pair.source.database["aaa"].insert_many([{"_id": number, "new": True} for number in range(7)])

    during_copy(monkeypatch, go)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    same(pair, *pair.source.database.list_collection_names(filter={"name": {"$in": ["aaa", "renamed"]}}))
    assert ("aaa" in pair.destination.database.list_collection_names()) is (then == "anew")


async def test_an_index_made_during_the_copy_arrives_without_sending_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair)
    sent = during_copy(monkeypatch, lambda: pair.source.database["pages"].create_index("s") and None)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    same(pair, "pages")
    assert len(sent) == len(set(sent)), "no range was sent twice"


async def test_a_collection_made_during_the_copy_arrives(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(pair)
    during_copy(monkeypatch, lambda: pair.source.database["fresh"].insert_one({"_id": 1}) and None)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    same(pair, "pages", "fresh")


async def test_an_attachment_removed_during_the_copy_leaves_no_document_without_file(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair, "aaa")
    kept = pair.source.add_attachment(b"kept")
    gone = pair.source.add_attachment(b"gone")

    def remove() -> None:
        pair.source.database["attachments"].delete_one({"_id": gone["_id"]})
        (pair.source.uploads / "attachment" / gone["fileName"]).unlink()

    original = Peer.put_transfer
    calls: list[int] = []

    async def put(self: Peer, transfer_id: str, body: PutTransfer) -> dict[str, Any]:
        # After the snapshot would be taken too early: between the catalogue and the first look at the files.
        calls.append(1)
        answer = await original(self, transfer_id, body)
        if len(calls) == 1:
            remove()
        return answer

    monkeypatch.setattr(Peer, "put_transfer", put)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    names = {one["fileName"] for one in pair.destination.database["attachments"].find()}
    assert {f"attachment/{name}" for name in names} <= set(pair.destination.files())
    assert kept["fileName"] in names


async def test_a_standalone_source_is_read_until_two_passes_agree(
    tmp_path_factory: pytest.TempPathFactory,
    mongo_uri_standalone: str,
    mongo_uri_destination: str,
    mongo_database_name_destination: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path_factory.mktemp("standalone")
    source = (mongo_uri_standalone, f"s_{folder.name}".replace("-", "_"))
    async with open_pair(folder, source, (mongo_uri_destination, mongo_database_name_destination)) as pair:
        fill(pair)
        pages = pair.source.database["pages"]

        def write() -> None:
            pages.update_one({"_id": 1}, {"$set": {"s": "changed"}})
            pages.insert_one({"_id": 99999, "s": "late"})

        during_copy(monkeypatch, write)
        row = await pair.push()
        assert row.position.state is State.COMPLETED, row.facts.get("error")
        same(pair, "pages")
        assert "source_not_replica_set" in {one["code"] for one in row.facts["progress"]["warnings"]}
        pair.source.database.client.drop_database(source[1])


async def test_a_range_that_grew_is_split(pair: Pair) -> None:
    """Verified once, then the source grows; the same transfer follows it, and no range becomes a giant."""
    fill(pair, count=1000)
    row = await pair.push(commit=False)
    fill_more: Sequence[bytes] = [bson.encode({"_id": number, "s": "y" * 9000}) for number in range(1000, 5000)]
    pair.source.insert_raw("pages", fill_more)
    pair.source.database["pages"].update_one({"_id": 3}, {"$set": {"s": "changed"}})
    pusher = pair.from_source.pusher
    assert pusher is not None
    await pusher.verify(row.id)
    row = await pair.wait(row.id)
    assert row.position.state is State.READY, row.facts.get("error")
    await pusher.commit(row.id)
    row = await pair.wait(row.id)
    assert row.position.state is State.COMPLETED
    same(pair, "pages")
    ledger = pair.from_source.ledger
    [collection] = [one for one in await ledger.collections(Role.PUSHER, row.id) if one.name == "pages"]
    ranges = [one async for one in ledger.ranges(Role.PUSHER, row.id, collection.number)]
    assert max(one.bytes for one in ranges) < 20 << 20
    assert {one.state for one in ranges} == {ItemState.VERIFIED}


async def test_an_attachment_removed_and_another_one_added_before_the_files_are_looked_at(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as before, and not the same: the documents of one moment and the files of another do not fit."""
    fill(pair, "aaa", 10)
    gone = pair.source.add_attachment(b"gone")
    pair.source.add_attachment(b"stays")
    exchange = [1]
    original = AttachmentSender.run

    async def run(self: AttachmentSender, *args: Any) -> Look:
        if exchange:
            exchange.clear()
            pair.source.add_attachment(b"added")
            remove(pair, gone)
        return await original(self, *args)

    monkeypatch.setattr(AttachmentSender, "run", run)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    complete(pair)


def remove(pair: Pair, attachment: dict[str, Any]) -> None:
    pair.source.database["attachments"].delete_one({"_id": attachment["_id"]})
    (pair.source.uploads / "attachment" / attachment["fileName"]).unlink()


def complete(pair: Pair) -> None:
    """Every document has its file, and every file its document."""
    names = {f"attachment/{one['fileName']}" for one in pair.destination.database["attachments"].find()}
    assert names == set(pair.destination.files())


async def test_attachments_that_are_removed_all_the_time_lead_to_an_end(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair, "aaa", 10)
    attachments = [pair.source.add_attachment(b"%d" % number) for number in range(40)]
    original = AttachmentSender._page

    async def page(self: AttachmentSender, sources: list[Any], group: Any) -> None:
        # After they were listed and before they are read; the last one, so that it was not sent before.
        remove(pair, attachments.pop())
        await original(self, sources, group)

    monkeypatch.setattr(AttachmentSender, "_page", page)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    names = {f"attachment/{one['fileName']}" for one in pair.destination.database["attachments"].find()}
    assert set(pair.destination.files()) <= names


async def test_an_attachment_that_gets_another_file_while_it_is_looked_at_arrives_with_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its document is still there: it was not removed, and that its old file is missing is not what was accepted."""
    fill(pair, "aaa", 10)
    attachment = pair.source.add_attachment(b"old")
    exchange = [1]
    original = AttachmentSender.run

    async def run(self: AttachmentSender, *args: Any) -> Look:
        if exchange:
            # After the moment at which the documents are read, before the files are.
            exchange.clear()
            (pair.source.uploads / "attachment" / "another.bin").write_bytes(b"new")
            change = {"$set": {"fileName": "another.bin"}}
            pair.source.database["attachments"].update_one({"_id": attachment["_id"]}, change)
            (pair.source.uploads / "attachment" / attachment["fileName"]).unlink()
        return await original(self, *args)

    monkeypatch.setattr(AttachmentSender, "run", run)
    row = await pair.push(accept_all=True)
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert pair.destination.files() == {"attachment/another.bin": b"new"}
    same(pair, "attachments")


async def test_a_capped_collection_that_is_written_all_the_time_leads_to_an_end(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair, "aaa", 10)
    log = pair.source.database.create_collection("log", capped=True, size=1 << 16)
    log.insert_many([{"_id": number, "s": "x" * 900} for number in range(100)])
    numbers = iter(range(100, 10_000))
    during_copy(monkeypatch, *[lambda: log.insert_one({"_id": next(numbers), "s": "x" * 900}) and None] * 100)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert "capped_collection_in_use" in {one["code"] for one in row.facts["progress"]["warnings"]}
    same(pair, "aaa")
    arrived = [bson.decode(one)["_id"] for one in pair.destination.documents("log", natural=True)]
    assert arrived == list(range(arrived[0], arrived[-1] + 1))


@pytest.mark.parametrize("told", [True, False])
async def test_a_source_that_takes_longer_to_read_than_a_snapshot_lasts(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """The pass is of no single moment then. What was written meanwhile completes it, if the server tells; else a pass
    over everything does."""
    fill(pair)
    pages = pair.source.database["pages"]
    pair.source.add_attachment(b"first")
    original = Database.raw_batches
    expired: list[int] = []
    again: list[int] = []

    async def batches(self: Database, collection: str, **how: Any) -> AsyncIterator[list[memoryview]]:
        number = 0
        async for batch in original(self, collection, **how):
            if collection == "pages" and how.get("snapshot") is not None:
                number += 1
                if number == 5 and not expired:
                    # Something is written in what was read, and then the snapshot has run out.
                    expired.append(1)
                    pages.update_one({"_id": 5}, {"$inc": {"n": 1}})
                    raise SnapshotExpired
                if expired and how.get("maximum") is not None:
                    again.append(len(batch))
            yield batch

    monkeypatch.setattr(Database, "raw_batches", batches)
    if not told:
        monkeypatch.setattr("growi_transfer.pusher.exporter.changes_between", never)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert expired
    same(pair, "pages")
    documents = sum(again)
    assert (documents < 1000) is told, "only the range that was written is read again, where that is known"


async def never(*_: Any) -> None:
    """A server that does not tell what was written."""
