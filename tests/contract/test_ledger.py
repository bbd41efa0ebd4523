"""The contract of `ledger.base`, for every ledger."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from bson import Binary, Int64, ObjectId, Timestamp

from growi_transfer.ledger.base import (
    CollectionRow,
    FileRow,
    ItemState,
    JournalRow,
    KeyRow,
    Ledger,
    RangeRow,
    Role,
    Totals,
    TransferRow,
)
from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.ledger.mongo import FILES, KEYS, RANGES, TRANSFERS, MongoLedger
from growi_transfer.ledger.mongo_store import Store
from growi_transfer.mongo.client import Database, open_database
from growi_transfer.protocol.errors import DatabaseRefused
from growi_transfer.protocol.machine import Position, State

NOW = datetime(2026, 3, 4, 5, 6, 7, 891_234, tzinfo=UTC)
NOW_KEPT = NOW.replace(microsecond=891_000)
SECOND = timedelta(seconds=1)
T1 = "1" * 32
T2 = "2" * 32
PUSHER, RECEIVER = Role.PUSHER, Role.RECEIVER


@pytest.fixture
async def database(mongo_uri: str, mongo_database_name: str) -> AsyncIterator[Database]:
    opened = await open_database(mongo_uri, database=mongo_database_name)
    yield opened
    await opened.close()


@pytest.fixture(params=["memory", "mongo"])
def unprepared(request: pytest.FixtureRequest) -> Ledger:
    return MemoryLedger() if request.param == "memory" else MongoLedger(request.getfixturevalue("database"))


@pytest.fixture
async def ledger(unprepared: Ledger) -> Ledger:
    await unprepared.prepare()
    return unprepared


def transfer(transfer_id: str = T1, role: Role = PUSHER, **fields: Any) -> TransferRow:
    given: dict[str, Any] = {
        "position": Position(State.CREATED),
        "setup": {"preset": "replace"},
        "created_at": NOW,
        "updated_at": NOW,
        **fields,
    }
    return TransferRow(role=role, id=transfer_id, **given)


def collection(number: int, transfer_id: str = T1, role: Role = PUSHER, **fields: Any) -> CollectionRow:
    given: dict[str, Any] = {
        "name": f"pages{number}",
        "kind": "collection",
        "source_uuid": "ab" * 16,
        "metadata": '{"options":{},"indexes":[]}',
        **fields,
    }
    return CollectionRow(role, transfer_id, number, **given)


def piece(number: int, collection_number: int = 0, transfer_id: str = T1, **fields: Any) -> RangeRow:
    given: dict[str, Any] = {
        "role": PUSHER,
        "minimum": b"\x05\x00\x00\x00\x00",
        "maximum": None,
        "documents": 10,
        "bytes": 1000,
        "digest": bytes(range(32)),
        "state": ItemState.PENDING,
        **fields,
    }
    return RangeRow(transfer_id=transfer_id, collection=collection_number, number=number, **given)


def file(number: int, transfer_id: str = T1, **fields: Any) -> FileRow:
    given: dict[str, Any] = {"role": PUSHER, "size": 100, "state": ItemState.PENDING, **fields}
    return FileRow(
        transfer_id=transfer_id, attachment_id=f"{number:024x}", path=f"attachment/{number:032x}.png", **given
    )


def a_key(key_id: str = "k1", **fields: Any) -> KeyRow:
    given: dict[str, Any] = {
        "token_hash": "ff" * 32,
        "audience": "https://wiki.example",
        "issued_at": NOW,
        "expires_at": NOW + 30 * SECOND,
        "ceiling_at": NOW + 90 * SECOND,
        **fields,
    }
    return KeyRow(id=key_id, **given)


async def everything(rows: AsyncIterator[Any]) -> list[Any]:
    return [row async for row in rows]


# transfers


async def test_a_transfer_comes_back_as_it_was_put_with_times_in_milliseconds(ledger: Ledger) -> None:
    elsewhere = timezone(timedelta(hours=9))
    row = transfer(
        position=Position(State.PAUSED, State.COPYING),
        created_at=NOW.astimezone(elsewhere),
        updated_at=NOW + SECOND,
        epoch=7,
        setup={"b": 1, "a": {"$set": 1, "x.y": [None, True, 1.5, 10**30], "": "\x00\ud800"}, "日本語": "ウィキ"},
        facts={"warnings": [{"code": "x"}], "progress": {"bytes": {"done": 2**63}}},
    )
    expected = replace(row, created_at=NOW_KEPT, updated_at=NOW_KEPT + SECOND)
    assert await ledger.create_transfer(row) == expected
    kept = await ledger.get_transfer(PUSHER, T1)
    assert kept == expected
    assert kept is not None
    assert kept.created_at.utcoffset() == timedelta(0)
    assert list(kept.setup) == ["b", "a", "日本語"]


async def test_a_transfer_is_created_once(ledger: Ledger) -> None:
    first = await ledger.create_transfer(transfer(setup={"n": 1}))
    assert await ledger.create_transfer(transfer(setup={"n": 2}, epoch=5)) == first
    assert await ledger.get_transfer(PUSHER, T1) == first


async def test_the_same_id_in_two_roles_is_two_transfers(ledger: Ledger) -> None:
    await ledger.create_transfer(transfer(role=PUSHER, setup={"n": 1}))
    await ledger.create_transfer(transfer(role=RECEIVER, setup={"n": 2}))
    for role, number in ((PUSHER, 1), (RECEIVER, 2)):
        row = await ledger.get_transfer(role, T1)
        assert row is not None
        assert (row.role, row.setup) == (role, {"n": number})


async def test_what_is_not_there_is_none(ledger: Ledger) -> None:
    await ledger.create_transfer(transfer())
    assert await ledger.get_transfer(RECEIVER, T1) is None
    assert await ledger.get_transfer(PUSHER, T2) is None
    assert await ledger.get_transfer(PUSHER, T1[:31]) is None
    assert await ledger.get_range(PUSHER, T1, 0, 0) is None
    assert await ledger.get_key("k1") is None
    assert await ledger.get_files(PUSHER, T1, ["0" * 24]) == {}
    assert await ledger.get_files(PUSHER, T1, []) == {}
    assert await ledger.journal(T1) == []


async def test_transfers_are_listed_newest_first(ledger: Ledger) -> None:
    for number in (3, 1, 2):
        await ledger.create_transfer(transfer(f"{number:032x}", created_at=NOW + number * SECOND))
    await ledger.create_transfer(transfer("9" * 32, role=RECEIVER, created_at=NOW + 2.5 * SECOND))
    assert [row.id[-1] for row in await ledger.list_transfers()] == ["3", "9", "2", "1"]
    assert [row.id[-1] for row in await ledger.list_transfers(PUSHER)] == ["3", "2", "1"]
    assert [row.id[-1] for row in await ledger.list_transfers(limit=2)] == ["3", "9"]
    assert [row.id[-1] for row in await ledger.list_transfers(RECEIVER, 5)] == ["9"]
    assert await ledger.list_transfers(limit=0) == []
    assert [row.id[-1] for row in await ledger.list_transfers(limit=2, skip=1)] == ["9", "2"]
    assert [row.id[-1] for row in await ledger.list_transfers(PUSHER, 2, skip=2)] == ["1"]
    assert [await ledger.count_transfers(role) for role in (None, PUSHER, RECEIVER)] == [4, 3, 1]
    assert await ledger.list_transfers(skip=4) == []


async def test_transfers_are_listed_and_counted_by_state(ledger: Ledger) -> None:
    for number, state in enumerate((State.COPYING, State.COMPLETED, State.FAILED, State.COMPLETED)):
        fields = {"created_at": NOW + number * SECOND, "position": Position(state)}
        await ledger.create_transfer(transfer(f"{number:032x}", **fields))
    await ledger.create_transfer(transfer(T1, role=RECEIVER, position=Position(State.COMPLETED)))
    ended = (State.COMPLETED, State.FAILED)
    assert [row.id[-1] for row in await ledger.list_transfers(PUSHER, states=ended)] == ["3", "2", "1"]
    assert [row.id[-1] for row in await ledger.list_transfers(PUSHER, 1, states=ended, skip=1)] == ["2"]
    assert await ledger.count_transfers() == 5
    assert await ledger.count_transfers(PUSHER) == 4
    assert await ledger.count_transfers(states=(State.COMPLETED,)) == 3
    assert await ledger.count_transfers(RECEIVER, states=(State.PAUSED,)) == 0


async def test_what_a_caller_does_with_a_row_does_not_change_the_ledger(ledger: Ledger) -> None:
    facts: dict[str, Any] = {"list": [1]}
    row = await ledger.create_transfer(transfer(facts=facts))
    facts["list"].append(2)
    row.facts["list"].append(3)
    held = await ledger.get_transfer(PUSHER, T1)
    assert held is not None
    assert held.facts == {"list": [1]}
    await ledger.put_files([file(1, facts={"aside": [1]})])
    (await ledger.get_files(PUSHER, T1, [f"{1:024x}"]))[f"{1:024x}"].facts["aside"].append(2)
    assert (await ledger.get_files(PUSHER, T1, [f"{1:024x}"]))[f"{1:024x}"].facts == {"aside": [1]}


async def test_a_position_moves_only_from_where_it_is(ledger: Ledger) -> None:
    created, paused = Position(), Position(State.PAUSED, State.COPYING)
    await ledger.create_transfer(transfer())
    assert await ledger.move_transfer(PUSHER, T1, created, paused, NOW + SECOND)
    assert not await ledger.move_transfer(PUSHER, T1, created, Position(State.CHECKED), NOW)
    assert not await ledger.move_transfer(PUSHER, T1, Position(State.PAUSED, State.VERIFYING), created, NOW)
    assert not await ledger.move_transfer(PUSHER, T1, Position(State.PAUSED), created, NOW)
    row = await ledger.get_transfer(PUSHER, T1)
    assert row is not None
    assert (row.position, row.updated_at, row.created_at) == (paused, NOW_KEPT + SECOND, NOW_KEPT)
    assert await ledger.move_transfer(PUSHER, T1, paused, paused, NOW)
    assert not await ledger.move_transfer(PUSHER, T2, created, paused, NOW)


async def test_only_one_of_many_moves_wins(ledger: Ledger) -> None:
    await ledger.create_transfer(transfer())
    targets = [Position(state) for state in State if state is not State.CREATED]
    won = await asyncio.gather(*(ledger.move_transfer(PUSHER, T1, Position(), to, NOW) for to in targets))
    row = await ledger.get_transfer(PUSHER, T1)
    assert row is not None
    assert [to for to, yes in zip(targets, won, strict=True) if yes] == [row.position]


async def test_facts_are_set_by_name_and_removed_by_none(ledger: Ledger) -> None:
    await ledger.create_transfer(transfer(facts={"a": 1, "b": {"x": 1}}))
    await ledger.set_facts(PUSHER, T1, {"b": {"$y.z": [2]}, "c": "new"}, NOW + SECOND)
    await ledger.set_facts(PUSHER, T1, {"a": None, "never": None}, NOW + 2 * SECOND)
    await ledger.set_facts(PUSHER, T1, {}, NOW + 3 * SECOND)
    await ledger.set_facts(RECEIVER, T1, {"a": 5}, NOW)
    row = await ledger.get_transfer(PUSHER, T1)
    assert row is not None
    assert row.facts == {"b": {"$y.z": [2]}, "c": "new"}
    assert row.updated_at == NOW_KEPT + 3 * SECOND
    assert await ledger.get_transfer(RECEIVER, T1) is None


@pytest.mark.parametrize("name", ["a.b", "$a", "", "a\x00"])
async def test_facts_with_names_that_cannot_be_set_alone_are_refused(ledger: Ledger, name: str) -> None:
    with pytest.raises(ValueError, match="named"):
        await ledger.create_transfer(transfer(facts={name: 1}))
    await ledger.create_transfer(transfer())
    with pytest.raises(ValueError, match="named"):
        await ledger.set_facts(PUSHER, T1, {name: 1}, NOW)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", NOW, {1, 2}])
async def test_facts_that_are_not_json_are_refused(ledger: Ledger, value: Any) -> None:
    await ledger.create_transfer(transfer())
    with pytest.raises((TypeError, ValueError)):
        await ledger.set_facts(PUSHER, T1, {"a": value}, NOW)
    row = await ledger.get_transfer(PUSHER, T1)
    assert row is not None
    assert row.facts == {}


async def test_facts_set_at_the_same_time_are_all_kept(ledger: Ledger) -> None:
    await ledger.create_transfer(transfer())
    await asyncio.gather(*(ledger.set_facts(PUSHER, T1, {f"f{n}": n}, NOW) for n in range(20)))
    row = await ledger.get_transfer(PUSHER, T1)
    assert row is not None
    assert row.facts == {f"f{n}": n for n in range(20)}


async def test_an_epoch_only_rises(ledger: Ledger) -> None:
    await ledger.create_transfer(transfer(epoch=3))
    assert await ledger.set_epoch(PUSHER, T1, 5)
    assert await ledger.set_epoch(PUSHER, T1, 5)
    assert not await ledger.set_epoch(PUSHER, T1, 4)
    assert not await ledger.set_epoch(PUSHER, T2, 9)
    row = await ledger.get_transfer(PUSHER, T1)
    assert row is not None
    assert row.epoch == 5


# leases and claims


async def test_a_lease_has_one_owner_and_each_owner_a_new_epoch(ledger: Ledger) -> None:
    await ledger.create_transfer(transfer(epoch=4))
    until = NOW + 10 * SECOND
    assert await ledger.acquire_lease(PUSHER, T1, "one", NOW, until) == 5
    assert await ledger.acquire_lease(PUSHER, T1, "two", NOW + 9 * SECOND, until + 9 * SECOND) is None
    assert not await ledger.renew_lease(PUSHER, T1, "two", until)
    assert await ledger.renew_lease(PUSHER, T1, "one", until + 10 * SECOND)
    assert await ledger.acquire_lease(PUSHER, T1, "two", NOW + 19 * SECOND, until) is None
    assert await ledger.acquire_lease(PUSHER, T1, "two", NOW + 20 * SECOND, until + 20 * SECOND) == 6
    assert not await ledger.renew_lease(PUSHER, T1, "one", until + 60 * SECOND)
    row = await ledger.get_transfer(PUSHER, T1)
    assert row is not None
    assert row.epoch == 6


async def test_an_owner_may_acquire_again_and_gets_a_new_epoch(ledger: Ledger) -> None:
    await ledger.create_transfer(transfer())
    assert await ledger.acquire_lease(PUSHER, T1, "one", NOW, NOW + SECOND) == 1
    assert await ledger.acquire_lease(PUSHER, T1, "one", NOW, NOW + SECOND) == 2


async def test_a_released_lease_is_free_at_once_and_only_its_owner_releases_it(ledger: Ledger) -> None:
    await ledger.create_transfer(transfer())
    await ledger.acquire_lease(PUSHER, T1, "one", NOW, NOW + 10 * SECOND)
    await ledger.release_lease(PUSHER, T1, "two")
    assert await ledger.lease_owner(PUSHER, T1) == "one"
    assert await ledger.acquire_lease(PUSHER, T1, "two", NOW, NOW + SECOND) is None
    await ledger.release_lease(PUSHER, T1, "one")
    assert await ledger.lease_owner(PUSHER, T1) is None
    assert not await ledger.renew_lease(PUSHER, T1, "one", NOW + SECOND)
    assert await ledger.acquire_lease(PUSHER, T1, "two", NOW, NOW + SECOND) == 2


async def test_there_is_no_lease_without_a_transfer(ledger: Ledger) -> None:
    assert await ledger.acquire_lease(PUSHER, T1, "one", NOW, NOW + SECOND) is None
    assert not await ledger.renew_lease(PUSHER, T1, "one", NOW)
    assert await ledger.get_transfer(PUSHER, T1) is None


async def test_of_many_who_want_a_lease_one_gets_it(ledger: Ledger) -> None:
    await ledger.create_transfer(transfer())
    owners = [f"owner {n}" for n in range(20)]
    got = await asyncio.gather(*(ledger.acquire_lease(PUSHER, T1, one, NOW, NOW + SECOND) for one in owners))
    assert sorted(epoch for epoch in got if epoch is not None) == [1]


async def test_a_lease_is_no_part_of_the_row(ledger: Ledger) -> None:
    row = await ledger.create_transfer(transfer())
    await ledger.acquire_lease(PUSHER, T1, "one", NOW, NOW + SECOND)
    assert await ledger.get_transfer(PUSHER, T1) == replace(row, epoch=1)


async def test_one_transfer_has_the_destination(ledger: Ledger) -> None:
    assert await ledger.claim_destination(T1) == T1
    assert await ledger.claim_destination(T1) == T1
    assert await ledger.claim_destination(T2) == T1
    await ledger.release_destination(T2)
    assert await ledger.claim_destination(T2) == T1
    await ledger.release_destination(T1)
    assert await ledger.claim_destination(T2) == T2


async def test_of_many_who_want_the_destination_one_gets_it(ledger: Ledger) -> None:
    ids = [f"{n:032x}" for n in range(20)]
    winners = set(await asyncio.gather(*(ledger.claim_destination(one) for one in ids)))
    assert len(winners) == 1
    assert winners <= set(ids)


async def test_an_instance_keeps_the_first_id_it_is_given(ledger: Ledger) -> None:
    given = await asyncio.gather(*(ledger.instance_id(f"{number:032x}") for number in range(10)))
    assert len(set(given)) == 1
    assert await ledger.instance_id("f" * 32) == given[0]
    assert await ledger.claim_destination(T1) == T1


# collections and ranges


async def test_collections_come_back_in_the_order_of_their_numbers(ledger: Ledger) -> None:
    rows = [
        collection(10, facts={"swap.with": {"$x": [1]}}, staging="growi_transfer_s_1_10"),
        collection(2, name="ページ", kind="view", metadata="{" * 1000),
        collection(0),
        collection(99_999),
    ]
    await ledger.put_collections(rows)
    await ledger.put_collections([collection(1, role=RECEIVER), collection(1, transfer_id=T2)])
    assert await ledger.collections(PUSHER, T1) == sorted(rows, key=lambda row: row.number)
    changed = collection(2, name="other")
    await ledger.put_collections([changed])
    assert (await ledger.collections(PUSHER, T1))[1] == changed


async def test_a_collection_is_forgotten_with_its_ranges_only(ledger: Ledger) -> None:
    await ledger.put_collections([collection(1), collection(11)])
    await ledger.put_ranges([piece(0, 1), piece(1, 1), piece(0, 11), piece(0, 1, T2)])
    await ledger.delete_collection(PUSHER, T1, 1)
    await ledger.delete_collection(PUSHER, T1, 1)
    assert [row.number for row in await ledger.collections(PUSHER, T1)] == [11]
    assert await everything(ledger.ranges(PUSHER, T1, 1)) == []
    assert await everything(ledger.ranges(PUSHER, T1, 11)) == [piece(0, 11)]
    assert await everything(ledger.ranges(PUSHER, T2, 1)) == [piece(0, 1, T2)]


async def test_ranges_come_back_as_they_were_put_in_the_order_of_their_numbers(ledger: Ledger) -> None:
    rows = [
        piece(number, minimum=None if number == 0 else bytes([number % 256, 0, 255]), marker=f"m{number}")
        for number in (0, 7, 10, 100, 2**31 - 1)
    ]
    rows[1] = replace(rows[1], state=ItemState.FAILED, tries=3, reason="日本語 \x00", documents=2**40, bytes=2**50)
    await ledger.put_ranges(random.Random(1).sample(rows, len(rows)))
    assert await everything(ledger.ranges(PUSHER, T1, 0)) == rows
    for row in rows:
        kept = await ledger.get_range(PUSHER, T1, 0, row.number)
        assert kept == row
        assert type(kept.digest) is bytes
        assert kept.minimum is None or type(kept.minimum) is bytes


async def test_putting_a_range_again_replaces_it_whole(ledger: Ledger) -> None:
    await ledger.put_ranges([piece(1, marker="x", tries=2, reason="cut")])
    await ledger.put_ranges([piece(1, documents=11), piece(1, documents=12, state=ItemState.STORED)])
    assert await everything(ledger.ranges(PUSHER, T1, 0)) == [piece(1, documents=12, state=ItemState.STORED)]
    await ledger.delete_ranges(PUSHER, T1, 0)
    assert await everything(ledger.ranges(PUSHER, T1, 0)) == []


async def test_the_same_new_row_put_by_many_at_once_is_there_once(ledger: Ledger) -> None:
    await asyncio.gather(*(ledger.put_ranges([piece(1), piece(2), piece(number)]) for number in range(3, 13)))
    assert [row.number for row in await everything(ledger.ranges(PUSHER, T1, 0))] == list(range(1, 13))


async def test_range_totals_are_sums_by_state_over_all_collections(ledger: Ledger) -> None:
    assert await ledger.range_totals(PUSHER, T1) == {state: Totals() for state in ItemState}
    await ledger.put_ranges(
        [
            piece(0, 0, documents=1, bytes=2**40),
            piece(1, 0, documents=2, bytes=2**40),
            piece(0, 5, documents=4, bytes=40, state=ItemState.VERIFIED),
            piece(0, 0, T2, documents=100),
        ]
    )
    totals = await ledger.range_totals(PUSHER, T1)
    assert totals == {
        **{state: Totals() for state in ItemState},
        ItemState.PENDING: Totals(2, 3, 2**41),
        ItemState.VERIFIED: Totals(1, 4, 40),
    }
    assert all(type(total.bytes) is int for total in totals.values())


async def test_what_is_stored_is_summed_by_collection(ledger: Ledger) -> None:
    stored, verified = ItemState.STORED, ItemState.VERIFIED
    assert await ledger.stored_by_collection(PUSHER, T1) == {}
    await ledger.put_ranges(
        [
            piece(0, 0, documents=1, bytes=2**40, state=stored),
            piece(1, 0, documents=2, bytes=2**40, state=verified),
            piece(2, 0, documents=4),
            piece(0, 5),
            piece(0, 0, T2, documents=100, state=stored),
            piece(0, 0, role=RECEIVER, documents=7, bytes=70, state=stored),
            *(piece(0, number, documents=1, bytes=1, state=stored) for number in range(100, 350)),
        ]
    )
    sums = await ledger.stored_by_collection(PUSHER, T1)
    assert sums.pop(0) == Totals(2, 3, 2**41)
    assert sums == {number: Totals(1, 1, 1) for number in range(100, 350)}
    assert await ledger.stored_by_collection(RECEIVER, T1) == {0: Totals(1, 7, 70)}


async def test_bounds_may_be_long(ledger: Ledger) -> None:
    rows = [piece(number, minimum=bytes([number]) * (5 << 20), maximum=b"x" * (5 << 20)) for number in range(5)]
    await ledger.put_ranges(rows)
    assert [row.minimum == rows[row.number].minimum async for row in ledger.ranges(PUSHER, T1, 0)] == [True] * 5


# files


async def test_files_come_back_as_they_were_put_in_the_order_of_their_ids(ledger: Ledger) -> None:
    rows = [
        file(3),
        file(16, state=ItemState.STORED, digest=bytes(32), facts={"created": True, "aside": "x.$y"}, tries=1),
        file(255, state=ItemState.FAILED, size=2**45, reason="no space: \udcff"),
    ]
    await ledger.put_files([rows[2], rows[0], rows[1]])
    await ledger.put_files([file(4, T2), file(5, role=RECEIVER)])
    expected = [rows[0], rows[1], replace(rows[2], reason="no space: \\udcff")]
    assert await everything(ledger.files(PUSHER, T1)) == expected
    assert await everything(ledger.files(PUSHER, T1, ItemState.STORED)) == [rows[1]]
    assert await everything(ledger.files(PUSHER, T1, ItemState.SKIPPED)) == []
    ids = [row.attachment_id for row in rows]
    assert await ledger.get_files(PUSHER, T1, [ids[1], "f" * 24, ids[0], ids[1]]) == {
        ids[0]: rows[0],
        ids[1]: rows[1],
    }


async def test_a_changed_file_is_found_under_its_new_state_only(ledger: Ledger) -> None:
    await ledger.put_files([file(1), file(2)])
    await ledger.put_files([file(1, state=ItemState.VERIFIED)])
    assert [row.path async for row in ledger.files(PUSHER, T1, ItemState.PENDING)] == [file(2).path]
    assert [row.path async for row in ledger.files(PUSHER, T1, ItemState.VERIFIED)] == [file(1).path]
    assert await ledger.file_totals(PUSHER, T1) == {
        **{state: Totals() for state in ItemState},
        ItemState.PENDING: Totals(1, 0, 100),
        ItemState.VERIFIED: Totals(1, 0, 100),
    }


async def test_more_files_than_a_page_are_all_seen_once(ledger: Ledger) -> None:
    rows = [file(number, state=ItemState.STORED if number % 3 else ItemState.FAILED) for number in range(5001)]
    await ledger.put_files(random.Random(2).sample(rows, len(rows)))
    assert await everything(ledger.files(PUSHER, T1)) == rows
    assert await everything(ledger.files(PUSHER, T1, ItemState.FAILED)) == rows[::3]
    after = rows[2400].attachment_id
    assert await everything(ledger.files(PUSHER, T1, ItemState.FAILED, after)) == rows[2403::3]
    assert await everything(ledger.files(PUSHER, T1, after=after)) == rows[2401:]
    assert len(await ledger.get_files(PUSHER, T1, [row.attachment_id for row in rows])) == len(rows)
    assert (await ledger.file_totals(PUSHER, T1))[ItemState.FAILED] == Totals(1667, 0, 166_700)


async def test_rows_may_change_while_they_are_listed(ledger: Ledger) -> None:
    rows = [file(number) for number in range(4100)]
    await ledger.put_files(rows)
    seen: list[str] = []
    async for row in ledger.files(PUSHER, T1, ItemState.PENDING):
        seen.append(row.attachment_id)
        if len(seen) % 100 == 0:
            done = await ledger.get_files(PUSHER, T1, seen[-100:])
            await ledger.put_files([replace(one, state=ItemState.STORED) for one in done.values()])
    assert seen == [row.attachment_id for row in rows]
    assert (await ledger.file_totals(PUSHER, T1))[ItemState.STORED].rows == 4100


async def test_what_is_stored_is_marked_verified_at_once_and_nothing_else(ledger: Ledger) -> None:
    stored = ItemState.STORED
    for transfer_id in (T1, T2):
        await ledger.put_files([file(number, transfer_id, state=state) for number, state in enumerate(ItemState)])
        await ledger.put_ranges([piece(number, number % 2, transfer_id, state=stored) for number in range(6)])
    await ledger.put_ranges([piece(9, state=ItemState.FAILED, reason="x", marker="m")])
    await ledger.mark_verified(PUSHER, T1)
    await ledger.mark_verified(PUSHER, T1)
    totals = {state: total.rows for state, total in (await ledger.file_totals(PUSHER, T1)).items()}
    assert totals == {**dict.fromkeys(ItemState, 1), stored: 0, ItemState.VERIFIED: 2}
    assert await ledger.get_range(PUSHER, T1, 1, 3) == piece(3, 1, state=ItemState.VERIFIED)
    assert await ledger.get_range(PUSHER, T1, 0, 9) == piece(9, state=ItemState.FAILED, reason="x", marker="m")
    assert (await ledger.range_totals(PUSHER, T1))[ItemState.VERIFIED].rows == 6
    assert (await ledger.range_totals(PUSHER, T2))[stored].rows == 6
    assert (await ledger.file_totals(PUSHER, T2))[stored].rows == 1


async def test_a_listing_may_be_left_early(ledger: Ledger) -> None:
    await ledger.put_files([file(number) for number in range(10)])
    rows = ledger.files(PUSHER, T1)
    assert (await anext(rows)).path == file(0).path
    await rows.aclose()  # type: ignore[attr-defined]
    assert len(await everything(ledger.files(PUSHER, T1))) == 10


async def test_items_are_forgotten_and_the_transfer_and_its_journal_stay(ledger: Ledger) -> None:
    row = await ledger.create_transfer(transfer())
    for transfer_id in (T1, T2):
        await ledger.put_collections([collection(1, transfer_id)])
        await ledger.put_ranges([piece(1, 1, transfer_id), piece(1, 2, transfer_id)])
        await ledger.put_files([file(1, transfer_id)])
    await ledger.put_files([file(1, role=RECEIVER)])
    await ledger.append_journal([JournalRow(T1, 0, "swap", {})])
    await ledger.delete_items(PUSHER, T1)
    assert await ledger.collections(PUSHER, T1) == []
    assert await everything(ledger.files(PUSHER, T1)) == []
    assert sum(total.rows for total in (await ledger.range_totals(PUSHER, T1)).values()) == 0
    assert await ledger.get_transfer(PUSHER, T1) == row
    assert len(await ledger.journal(T1)) == 1
    assert len(await ledger.collections(PUSHER, T2)) == 1
    assert (await ledger.range_totals(PUSHER, T2))[ItemState.PENDING].rows == 2
    assert len(await everything(ledger.files(PUSHER, T2))) == 1
    assert len(await everything(ledger.files(RECEIVER, T1))) == 1


async def test_putting_nothing_is_nothing(ledger: Ledger) -> None:
    await ledger.put_collections([])
    await ledger.put_ranges([])
    await ledger.put_files([])
    await ledger.append_journal([])


async def test_an_id_that_begins_like_another_is_another(ledger: Ledger) -> None:
    for transfer_id in ("ab", "abc", "ab0", "ab~"):
        await ledger.put_files([file(1, transfer_id)])
        await ledger.put_ranges([piece(1, 1, transfer_id)])
        await ledger.append_journal([JournalRow(transfer_id, 1, "swap", {})])
    assert [row.transfer_id async for row in ledger.files(PUSHER, "ab")] == ["ab"]
    assert len(await ledger.journal("ab")) == 1
    await ledger.delete_items(PUSHER, "ab")
    await ledger.clear_journal("ab")
    for transfer_id in ("abc", "ab0", "ab~"):
        assert len(await everything(ledger.files(PUSHER, transfer_id))) == 1
        assert len(await everything(ledger.ranges(PUSHER, transfer_id, 1))) == 1
        assert len(await ledger.journal(transfer_id)) == 1


# keys


async def test_keys_come_back_newest_first_with_times_in_milliseconds(ledger: Ledger) -> None:
    await ledger.add_key(a_key("a"))
    await ledger.add_key(
        a_key("b", issued_at=NOW + SECOND, claimed_by=T1, revoked_at=NOW + SECOND, last_used_at=NOW + SECOND)
    )
    newer, older = await ledger.list_keys()
    assert (newer.id, newer.claimed_by, newer.revoked_at) == ("b", T1, NOW_KEPT + SECOND)
    assert older == a_key("a", issued_at=NOW_KEPT, expires_at=NOW_KEPT + 30 * SECOND, ceiling_at=NOW_KEPT + 90 * SECOND)
    assert await ledger.get_key("a") == older
    assert await ledger.get_key("b") == newer


async def test_a_key_is_claimed_by_one_transfer(ledger: Ledger) -> None:
    await ledger.add_key(a_key())
    assert await ledger.claim_key("k1", T1) == T1
    assert await ledger.claim_key("k1", T1) == T1
    assert await ledger.claim_key("k1", T2) == T1
    assert await ledger.claim_key("other", T1) is None
    row = await ledger.get_key("k1")
    assert row is not None
    assert row.claimed_by == T1


async def test_of_many_who_claim_a_key_one_gets_it(ledger: Ledger) -> None:
    await ledger.add_key(a_key())
    owners = set(await asyncio.gather(*(ledger.claim_key("k1", f"{n:032x}") for n in range(20))))
    assert len(owners) == 1


async def test_a_lease_of_a_key_moves_forward_up_to_its_ceiling(ledger: Ledger) -> None:
    await ledger.add_key(a_key())

    async def touched(now: int, expires: int) -> tuple[datetime | None, datetime]:
        await ledger.touch_key("k1", NOW + now * SECOND, NOW + expires * SECOND)
        row = await ledger.get_key("k1")
        assert row is not None
        return row.last_used_at, row.expires_at

    assert await touched(10, 40) == (NOW_KEPT + 10 * SECOND, NOW_KEPT + 40 * SECOND)
    assert await touched(5, 35) == (NOW_KEPT + 10 * SECOND, NOW_KEPT + 40 * SECOND)
    assert await touched(80, 110) == (NOW_KEPT + 80 * SECOND, NOW_KEPT + 90 * SECOND)
    await ledger.touch_key("other", NOW, NOW)
    assert await ledger.get_key("other") is None


async def test_a_key_is_revoked_once(ledger: Ledger) -> None:
    await ledger.add_key(a_key())
    assert await ledger.revoke_key("k1", NOW)
    assert await ledger.revoke_key("k1", NOW + SECOND)
    assert not await ledger.revoke_key("other", NOW)
    row = await ledger.get_key("k1")
    assert row is not None
    assert row.revoked_at == NOW_KEPT


# journal


async def test_the_journal_keeps_bson_as_it_was(ledger: Ledger) -> None:
    payload: Mapping[str, Any] = {
        "z": ObjectId("0" * 24),
        "a": Timestamp(0, 0),
        "uuid": Binary(bytes(16), 4),
        "data": b"\x00\xff",
        "$set": {"x.y": [None, {"": 1}]},
        "long": Int64(5),
        "when": NOW_KEPT,
    }
    await ledger.append_journal([JournalRow(T1, 10, "swap", payload), JournalRow(T1, 9, "ttl", {}, done=True)])
    await ledger.append_journal([JournalRow(T2, 1, "other", {})])
    first, second = await ledger.journal(T1)
    assert (first.number, first.kind, first.done, first.payload) == (9, "ttl", True, {})
    assert second == JournalRow(T1, 10, "swap", payload)
    assert list(second.payload) == list(payload)
    assert [type(value) for value in second.payload.values()][:6] == [ObjectId, Timestamp, Binary, bytes, dict, Int64]


async def test_steps_are_marked_done_and_the_journal_is_cleared(ledger: Ledger) -> None:
    await ledger.append_journal([JournalRow(T1, number, "swap", {"n": number}) for number in range(3)])
    await ledger.append_journal([JournalRow(T2, 0, "swap", {})])
    await ledger.mark_done(T1, 0)
    await ledger.mark_done(T1, 1, {"stray": "x"})
    await ledger.mark_done(T1, 77)
    assert [(row.done, row.payload) for row in await ledger.journal(T1)] == [
        (True, {"n": 0}),
        (True, {"stray": "x"}),
        (False, {"n": 2}),
    ]
    await ledger.clear_journal(T1)
    await ledger.clear_journal(T1)
    assert await ledger.journal(T1) == []
    assert len(await ledger.journal(T2)) == 1


# MongoDB alone


async def test_large_ranges_are_changed_and_deleted_in_parts(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("growi_transfer.ledger.mongo_store._PART_ROWS", 10)
    ledger = MongoLedger(database)
    await ledger.prepare()
    for count in (0, 1, 9, 10, 11, 20, 35):
        await ledger.put_files([file(number, state=ItemState.STORED) for number in range(count)])
        await ledger.put_ranges([piece(number, state=ItemState.STORED) for number in range(count)])
        await ledger.put_files([file(1, T2, state=ItemState.STORED)])
        await ledger.mark_verified(PUSHER, T1)
        assert (await ledger.file_totals(PUSHER, T1))[ItemState.VERIFIED].rows == count
        assert (await ledger.range_totals(PUSHER, T1))[ItemState.VERIFIED].rows == count
        await ledger.delete_items(PUSHER, T1)
        assert await everything(ledger.files(PUSHER, T1)) == []
        assert await everything(ledger.files(PUSHER, T2)) == [file(1, T2, state=ItemState.STORED)]


async def test_a_page_that_no_reply_can_hold_comes_in_parts_and_no_cursor_stays_open(database: Database) -> None:
    async def cursors() -> int:
        return int((await database.admin({"serverStatus": 1}))["metrics"]["cursor"]["open"]["total"])

    store = Store(database)
    await store.put("large", ({"_id": str(number), "data": b"x" * (3 << 20)} for number in range(10, 22)))
    before = await cursors()
    pages = [page async for page in store.pages("large", {"$gt": "10"})]
    assert len(pages) > 1
    assert [one["_id"] for page in pages for one in page] == [str(number) for number in range(11, 22)]
    assert await cursors() <= before


async def test_preparing_again_and_at_the_same_time_changes_nothing(database: Database) -> None:
    await asyncio.gather(*(MongoLedger(database).prepare() for _ in range(3)))
    ledger = MongoLedger(database)
    await ledger.put_files([file(1)])
    await ledger.prepare()
    assert len(await everything(ledger.files(PUSHER, T1))) == 1


async def test_two_ledgers_on_one_database_are_one(database: Database) -> None:
    one, two = MongoLedger(database), MongoLedger(database)
    await one.prepare()
    await one.create_transfer(transfer())
    assert await one.acquire_lease(PUSHER, T1, "one", NOW, NOW + SECOND) == 1
    assert await two.acquire_lease(PUSHER, T1, "two", NOW, NOW + SECOND) is None


async def test_what_the_server_refuses_is_an_error(database: Database) -> None:
    ledger = MongoLedger(database)
    await ledger.prepare()
    await database.command({"collMod": RANGES, "validator": {"documents": {"$lt": 100}}})
    with pytest.raises(DatabaseRefused) as caught:
        await ledger.put_ranges([piece(0), piece(1, documents=100)])
    assert caught.value.details["code"] == 121
    with pytest.raises(DatabaseRefused):
        await ledger.put_ranges([piece(0, minimum=b"x" * (17 << 20))])


class Recorder:
    """The database, with every `find` and `aggregate` explained."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.plans: list[dict[str, Any]] = []

    async def command(self, command: Mapping[str, Any], *, majority: bool = False) -> dict[str, Any]:
        if next(iter(command)) in ("find", "aggregate"):
            asked = {"explain": dict(command), "verbosity": "executionStats"}
            self.plans.append(await self._database.command(asked))
        return await self._database.command(command, majority=majority)


def stages(plan: Any) -> set[str]:
    if isinstance(plan, dict):
        found = {plan["stage"]} if isinstance(plan.get("stage"), str) else set()
        return found.union(*(stages(value) for name, value in plan.items() if name != "rejectedPlans"))
    if isinstance(plan, list):
        return set().union(*map(stages, plan))
    return set()


async def test_every_lookup_is_a_range_of_an_index(database: Database) -> None:
    await MongoLedger(database).prepare()
    recorder = Recorder(database)
    ledger = MongoLedger(recorder)
    await ledger.create_transfer(transfer())
    await ledger.put_collections([collection(1)])
    await ledger.put_ranges([piece(number) for number in range(50)])
    await ledger.put_files([file(number) for number in range(50)])
    await ledger.get_transfer(PUSHER, T1)
    await ledger.collections(PUSHER, T1)
    await everything(ledger.ranges(PUSHER, T1, 0))
    await ledger.range_totals(PUSHER, T1)
    await ledger.stored_by_collection(PUSHER, T1)
    await everything(ledger.files(PUSHER, T1))
    await everything(ledger.files(PUSHER, T1, ItemState.PENDING, file(3).attachment_id))
    await everything(ledger.files(PUSHER, T1, ItemState.PENDING))
    await ledger.get_files(PUSHER, T1, [file(1).attachment_id])
    await ledger.mark_verified(PUSHER, T1)
    await ledger.delete_items(PUSHER, T1)
    await ledger.journal(T1)
    assert len(recorder.plans) > 10
    for plan in recorder.plans:
        assert not stages(plan) & {"COLLSCAN", "SORT"}, plan


async def test_totals_of_files_are_read_from_the_index_alone(database: Database) -> None:
    recorder = Recorder(database)
    ledger = MongoLedger(recorder)
    await ledger.prepare()
    await ledger.put_files([file(number) for number in range(50)])
    await ledger.file_totals(PUSHER, T1)
    assert set(re.findall(r"'totalDocsExamined': (\d+)", str(recorder.plans))) == {"0"}
    assert "50" in re.findall(r"'totalKeysExamined': (\d+)", str(recorder.plans))


async def test_names_of_collections_are_those_that_are_never_transferred(database: Database) -> None:
    await MongoLedger(database).prepare()
    reply = await database.command({"listCollections": 1, "nameOnly": True})
    names = {entry["name"] for entry in reply["cursor"]["firstBatch"]}
    assert {TRANSFERS, FILES, KEYS} <= names
    assert all(name.startswith("growi_transfer_") for name in names)
