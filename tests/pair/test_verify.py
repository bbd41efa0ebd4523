"""A verification finds whatever is not as it was sent, has just that sent again, and goes on after a crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.pair.commits import Crash, receiver_of
from tests.pair.instances import Pair

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.machine import State
from growi_transfer.pusher import sizes
from growi_transfer.pusher.peer import Peer
from growi_transfer.receiver import staging_proof
from growi_transfer.receiver.staging_proof import StagingProof
from growi_transfer.wiring import pushing

Damage = Callable[[Pair, str], object]


class Sent:
    """What goes over the line: volumes as (collection, number), bundles as `files`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.items: list[Any] = []
        volume, bundle, patch = Peer.put_volume, Peer.put_bundle, Peer.patch_upload

        async def put_volume(peer: Peer, transfer_id: str, collection: str, number: int, parts: Any) -> dict[str, Any]:
            self.items.append((collection, number))
            return await volume(peer, transfer_id, collection, number, parts)

        async def put_bundle(peer: Peer, transfer_id: str, parts: Any) -> dict[str, Any]:
            self.items.append("bundle")
            return await bundle(peer, transfer_id, parts)

        async def patch_upload(peer: Peer, *arguments: Any, **how: Any) -> Any:
            if how["length"]:
                self.items.append("large")
            return await patch(peer, *arguments, **how)

        monkeypatch.setattr(Peer, "put_volume", put_volume)
        monkeypatch.setattr(Peer, "put_bundle", put_bundle)
        monkeypatch.setattr(Peer, "patch_upload", patch_upload)


def staging_of(pair: Pair, name: str, transfer_id: str) -> Any:
    """The staged copy, which people cannot see, of a collection."""
    rows = pair.destination.database["growi_transfer_collections"].find({"_id": {"$regex": f"receiver/{transfer_id}"}})
    return pair.destination.database[next(row["staging"] for row in rows if row["name"] == name)]


def damaged_once(monkeypatch: pytest.MonkeyPatch, pair: Pair, damage: Damage, sent: Sent) -> None:
    """Damage what has arrived, just before it is looked at for the first time."""
    original = StagingProof.compare
    done: list[bool] = []

    async def compare(self: StagingProof, transfer_id: str, proofs: Any) -> Any:
        if not done:
            done.append(True)
            damage(pair, transfer_id)
            sent.items.clear()
        return await original(self, transfer_id, proofs)

    monkeypatch.setattr(StagingProof, "compare", compare)


def fill(pair: Pair) -> None:
    pages = pair.source.database["pages"]
    pages.insert_many([{"_id": number, "body": "x" * 1000} for number in range(60)])
    pages.create_index("body")
    pair.source.database["users"].insert_one({"_id": 1})
    pair.source.add_attachment(b"small", name="small.bin")
    pair.source.add_attachment(b"L" * ((4 << 20) + 1), name="large.bin")


def file_at(pair: Pair, name: str) -> Path:
    return pair.destination.uploads / "attachment" / name


DAMAGES: dict[str, tuple[Damage, str, Any]] = {
    "a changed document": (
        lambda pair, one: staging_of(pair, "pages", one).update_one({"_id": 30}, {"$set": {"body": "y" * 1000}}),
        "documents",
        "one range",
    ),
    "a document too few": (
        lambda pair, one: staging_of(pair, "pages", one).delete_one({"_id": 59}),
        "documents",
        "one range",
    ),
    "an index too few": (
        lambda pair, one: staging_of(pair, "pages", one).drop_index("body_1"),
        "indexes",
        [],
    ),
    "an index too many": (
        lambda pair, one: staging_of(pair, "users", one).create_index("name"),
        "indexes",
        [],
    ),
    "other options": (
        lambda pair, one: pair.destination.database.command(
            {"collMod": staging_of(pair, "users", one).name, "validator": {"name": "x"}}
        ),
        "options",
        [("users", 0)],
    ),
    "a collection too few": (
        lambda pair, one: staging_of(pair, "users", one).drop(),
        "options",
        [("users", 0)],
    ),
    "a file too few": (lambda pair, one: file_at(pair, "small.bin").unlink(), "files", ["bundle"]),
    "a large file that was cut": (
        lambda pair, one: file_at(pair, "large.bin").write_bytes(b"L"),
        "files",
        ["large"],
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_each_damage_is_found_and_only_what_is_damaged_is_sent_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    damage, what, again = DAMAGES[name]
    for part in (pushing, sizes):
        monkeypatch.setattr(part, "RANGE_BYTES", 20_000)
    fill(pair)
    sent = Sent(monkeypatch)
    damaged_once(monkeypatch, pair, damage, sent)
    row = await pair.push(commit=False)
    assert row.position.state is State.READY, row.facts.get("error")
    if again == "one range":
        assert [collection for collection, _ in sent.items] == ["pages"]
    else:
        assert sorted(map(str, sent.items)) == sorted(map(str, again))
    told = (await receiver_of(pair).receipt(row.id))["receipt"]
    [found] = told["differences"]
    assert found["what"] == what
    if again == "one range":
        assert found["ranges"] == 1
    await receiver_of(pair).commit(row.id, epoch=None)
    assert pair.destination.documents("pages") == pair.source.documents("pages")
    for collection in ("pages", "users"):
        assert pair.destination.indexes(collection) == pair.source.indexes(collection)
        assert pair.destination.options(collection) == pair.source.options(collection)
    assert pair.destination.files() == pair.source.files()


async def test_a_deep_verification_finds_files_that_rotted(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(pair)

    def rot(pair: Pair, _: str) -> None:
        file_at(pair, "small.bin").write_bytes(b"SMALL")
        file_at(pair, "large.bin").write_bytes(b"R" + b"L" * (4 << 20))

    sent = Sent(monkeypatch)
    damaged_once(monkeypatch, pair, rot, sent)
    row = await pair.push(commit=False, deep=True)
    assert row.position.state is State.READY, row.facts.get("error")
    assert sorted(map(str, sent.items)) == ["bundle", "large"]
    told = (await receiver_of(pair).receipt(row.id))["receipt"]
    assert told["attachments"]["deep"]
    assert told["differences"][0]["files"] == 2
    assert pair.destination.files() == pair.source.files()
    # Once more, on order: nothing of the first reading is taken for granted.
    file_at(pair, "small.bin").write_bytes(b"SmAlL")
    pusher = pair.from_source.pusher
    assert pusher is not None
    sent.items.clear()
    await pusher.verify(row.id, deep=True)
    row = await pair.wait(row.id)
    assert row.position.state is State.READY, row.facts.get("error")
    assert sent.items == ["bundle"]
    assert pair.destination.files() == pair.source.files()


async def test_a_verification_that_was_killed_does_not_read_twice_what_it_proved(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a", "b", "c", "d"]
    for name in names:
        pair.source.database[name].insert_one({"_id": 1})
    receiver = receiver_of(pair)
    monkeypatch.setattr(receiver._staging, "_noted_from", 0)
    read: list[str] = []
    original = staging_proof.digest_collection
    killed = False

    async def digest(database: Any, collection: str, **how: Any) -> Any:
        read.append(collection)
        if len(read) == 3 and not killed:
            raise Crash
        return await original(database, collection, **how)

    monkeypatch.setattr(staging_proof, "digest_collection", digest)
    key = await pair.key()
    row = await pair.push(key, commit=False)
    assert row.position.state is State.FAILED
    rows = await pair.to_destination.ledger.collections(Role.RECEIVER, row.id)
    by_staging = {one.staging: one.name for one in rows}
    first = [by_staging[one] for one in read]
    assert len(first) == 3
    # What the process knew is gone with it; one collection that was proved is written to before it is asked again.
    receiver._importer.forget(row.id)
    pair.source.database[first[0]].insert_one({"_id": 2})
    killed = True
    read.clear()
    row = await pair.push(key, commit=False)
    assert row.position.state is State.READY, row.facts.get("error")
    again = [by_staging[one] for one in read]
    assert first[1] not in again, "proved, and not touched since"
    assert set(again) == set(names) - {first[1]}
    # A proof that ended is not carried into the next one.
    read.clear()
    pusher = pair.from_source.pusher
    assert pusher is not None
    await pusher.verify(row.id)
    await pair.wait(row.id)
    assert {by_staging[one] for one in read} == set(names)
