"""A whole transfer through every fault of a line: it completes, and both wikis are identical."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import bson
import pytest
from tests.fakes.fault_proxy import Answer, Cut, Duplicate, Fault, FaultProxy, Slow, Truncate
from tests.pair.instances import Pair, open_pair

from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.protocol.errors import SizeMismatch, StorageUnavailable
from growi_transfer.protocol.machine import State
from growi_transfer.pusher import outage
from growi_transfer.pusher.options import PushOptions
from growi_transfer.pusher.pusher import Pusher

VOLUMES = r"PUT .*/volumes/"
BUNDLES = r"POST .*/attachments$"
LARGE = r"PATCH .*/attachments/"


@pytest.fixture
async def pair(
    tmp_path: Path,
    mongo_uri: str,
    mongo_database_name: str,
    mongo_uri_destination: str,
    mongo_database_name_destination: str,
) -> AsyncIterator[Pair]:
    async with open_pair(
        tmp_path, (mongo_uri, mongo_database_name), (mongo_uri_destination, mongo_database_name_destination)
    ) as opened:
        yield opened


@contextlib.asynccontextmanager
async def proxied(pair: Pair) -> AsyncIterator[FaultProxy]:
    """A line between the two; keys lead to it."""
    port = urlsplit(pair.url).port
    assert port is not None
    async with FaultProxy(port) as proxy:
        pair.url = proxy.url
        yield proxy


def pusher_of(pair: Pair) -> Pusher:
    assert pair.from_source.pusher is not None
    return pair.from_source.pusher


def fill(pair: Pair, documents: int = 40, size: int = 50_000) -> None:
    """A wiki of two megabytes of documents, some small files and a large one."""
    text = "x" * size
    pair.source.insert_raw("pages", [bson.encode({"_id": number, "body": text}) for number in range(documents)])
    for number in range(6):
        pair.source.add_attachment(bytes([number]) * 10_000)
    pair.source.add_attachment(bytes(range(256)) * 20_000)


def is_identical(pair: Pair) -> bool:
    for name in pair.source.database.list_collection_names():
        own = name.startswith("growi_transfer_")
        if not own and pair.source.documents(name) != pair.destination.documents(name):
            return False
    return pair.destination.files() == pair.source.files()


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def warnings(pair: Pair, transfer_id: str) -> set[str]:
    snapshot = pair.from_source.board.snapshot(Role.PUSHER, transfer_id)
    return {one.code for one in snapshot.warnings} if snapshot else set()


def codes(row: TransferRow) -> Any:
    return row.facts.get("error"), row.facts["progress"]["activity"]


async def test_a_destination_that_is_deployed_anew(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "_TELL_AFTER", 0.3)
    fill(pair)
    async with proxied(pair) as proxy:
        transfer_id = await pusher_of(pair).start(await pair.key(), PushOptions(accept_all=True, bandwidth=2_000_000))
        await until(lambda: proxy.count(BUNDLES) > 0)
        await proxy.down()
        await until(lambda: "destination_away" in warnings(pair, transfer_id))
        await proxy.up()
        await pusher_of(pair).tune(transfer_id, bandwidth=None)
        row = await pair.wait(transfer_id)
        assert row.position.state is State.COMPLETED, codes(row)
        assert "destination_away" not in warnings(pair, transfer_id)
        assert row.facts["progress"]["activity"]["retries"]["peer_unavailable"] > 0
    assert is_identical(pair)


async def test_a_proxy_with_a_small_limit_for_bodies(pair: Pair) -> None:
    """As nginx has it without a setting: 1 MiB. Here it is less, and everything has to be cut anew."""
    fill(pair)
    pair.source.database.create_collection("log", capped=True, size=4 << 20)
    pair.source.insert_raw("log", [bson.encode({"_id": number, "line": "y" * 30_000}) for number in range(40)])
    async with proxied(pair) as proxy:
        refused = proxy.plan(Answer(413, early=True), on=VOLUMES, over=300_000, times=None)
        row = await pair.push(deflate=False)
        assert row.position.state is State.COMPLETED, codes(row)
        assert max(one.length for one in proxy.requests if one.fault is None and "/volumes/" in one.path) <= 300_000
        assert refused.hits < 40, "what is known to be too large is not sent again"
    assert is_identical(pair)
    assert pair.destination.documents("log", natural=True) == pair.source.documents("log", natural=True)


async def test_a_document_that_is_larger_than_a_proxy_takes(pair: Pair) -> None:
    fill(pair)
    async with proxied(pair) as proxy:
        proxy.plan(Answer(413), on=VOLUMES, over=30_000, times=None)
        row = await pair.push(deflate=False)
    assert row.position.state is State.FAILED
    error = row.facts["error"]
    assert error["code"] == "body_too_large"
    assert "pages" in error["message"]
    assert "client_max_body_size" in error["message"]


async def test_a_range_that_always_takes_too_long(pair: Pair) -> None:
    fill(pair)
    async with proxied(pair) as proxy:
        proxy.plan(Answer(504), on=VOLUMES, over=1_200_000, times=None)
        row = await pair.push(deflate=False)
        assert row.position.state is State.COMPLETED, codes(row)
    assert is_identical(pair)


async def test_a_proxy_with_a_small_limit_for_files(pair: Pair) -> None:
    """Bundles are split, small files that are still too large go in parts, and so do large ones."""
    fill(pair)
    pair.source.add_attachment(b"s" * 900_000)
    async with proxied(pair) as proxy:
        proxy.plan(Answer(413, early=True), on=f"{BUNDLES}|{LARGE}", over=400_000, times=None)
        row = await pair.push()
        assert row.position.state is State.COMPLETED, codes(row)
        assert max(one.length for one in proxy.requests if one.fault is None and "/attachments" in one.path) <= 400_000
    assert is_identical(pair)


@pytest.mark.parametrize(
    "fault",
    [
        Cut(after=50_000),
        Cut(of="response"),
        Truncate(after=50_000),
        Truncate(after=1, of="response"),
        Duplicate(),
        Slow(4 << 20),
        Answer(502),
        Answer(503),
        Answer(429, headers=(("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT"),)),
    ],
)
async def test_a_fault_of_every_kind_of_request(pair: Pair, fault: Fault) -> None:
    fill(pair)
    async with proxied(pair) as proxy:
        planned = [
            proxy.plan(fault, on=kind)
            for kind in (VOLUMES, BUNDLES, LARGE, r"PUT .*/transfers/\w+$", r"POST .*/plan$", "POST .*/verify$")
        ]
        planned.append(proxy.plan(fault, on="POST .*/commit$"))
        row = await pair.push(deflate=False)
        assert row.position.state is State.COMPLETED, codes(row)
        assert all(one.hits == 1 for one in planned)
    assert is_identical(pair)
    assert pair.destination.own_collections() == []


async def test_a_file_that_cannot_be_read_at_first_is_sent_after_the_others(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pair)
    storage = pair.from_source.storage
    original = type(storage).read_many
    asked: list[int] = []

    async def read_many(self: Any, paths: list[str], limit: int) -> list[Any]:
        found = await original(self, paths, limit)
        asked.append(len(paths))
        return [SizeMismatch(), *found[1:]] if len(asked) == 1 else found

    monkeypatch.setattr(type(storage), "read_many", read_many)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, codes(row)
    assert asked == [6, 1]
    assert row.facts["progress"]["failures"] == []
    assert is_identical(pair)


async def test_a_storage_that_does_not_answer_for_a_while(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(pair)
    storage = pair.from_source.storage
    original = type(storage).read_many
    asked: list[int] = []

    async def read_many(self: Any, paths: list[str], limit: int) -> list[Any]:
        asked.append(len(paths))
        if len(asked) < 4:
            return [StorageUnavailable() for _ in paths]
        return await original(self, paths, limit)

    monkeypatch.setattr(type(storage), "read_many", read_many)
    row = await pair.push()
    assert row.position.state is State.COMPLETED, codes(row)
    assert asked == [6] * 4
    assert is_identical(pair)
