"""Real processes and `kill -9` at random moments: of servers, of their databases, of all at once. Each transfer ends,
both wikis are identical, nothing is left over, and only what was in flight is sent again."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from tests.fakes.folders import data_folder
from tests.fakes.line import Line
from tests.rounds import Rounds

from growi_transfer.demo.compare import Former, remember
from growi_transfer.demo.run import Pushed, fill, judge
from growi_transfer.demo.servers import Instance, Pair, open_pair
from growi_transfer.demo.timeline import Timeline
from growi_transfer.demo.wiki import WikiSize
from growi_transfer.mongo.embedded import EmbeddedMongod
from growi_transfer.protocol.errors import PeerRefused, PeerUnavailable
from growi_transfer.protocol.transfer_key import parse_key

KILLS, KILLS_EACH = 30, 15
"""Of a run on CI, and of one transfer."""
LATE = 4
"""Kills of each transfer that wait for the time after the copy."""
_SECONDS = 150.0
_PATIENCE = 10.0
"""Seconds without any progress after which an operator asks it to go on."""
_SIZE = WikiSize(pages=60, revisions=12, attachments=40, attachment_size=100_000, seed=3)
_LARGE = 9_000_000
_SLOW = 5_000_000
"""Bytes per second: the copy lasts some seconds, so that there is a middle in which to kill."""
_AFTER_COPY = ("reconciling", "indexing", "verifying", "ready", "committing")
SINGLE = (("source server",), ("destination server",), ("source mongod",), ("destination mongod",))
VICTIMS = (
    *SINGLE,
    *SINGLE,
    ("source server", "destination server"),
    ("source mongod", "destination mongod"),
    ("source mongod", "source server"),
    ("destination mongod", "destination server"),
    ("source mongod", "source server", "destination mongod", "destination server"),
)


@dataclass
class World:
    pair: Pair
    line: Line
    former: Former = field(default_factory=Former)
    key: str = ""
    transfer_id: str = ""
    resumed: int = 0
    """How often somebody had to ask it to go on."""
    _seen: object = None
    _since: float = 0.0

    def begin(self) -> None:
        """Another transfer into the destination, which has none of the source's files."""
        uploads = self.pair.destination.uploads
        for path in uploads.iterdir():
            shutil.rmtree(path)
        self.former = remember(self.pair.destination.side)
        for instance in (self.pair.source, self.pair.destination):
            # A mongod that is killed replays what it was sent since its last checkpoint: this transfer, not the wiki.
            with MongoClient[dict[str, Any]](instance.mongod.uri) as client:
                client.admin.command("fsync")
        self.line.proxy.requests.clear()
        self.key = self.pair.destination.server.client.post("/generate-key")["transferKey"]
        options = {"accept_all_warnings": True, "bandwidth_bytes_per_second": _SLOW}
        body = {"transferKey": self.key, "options": options}
        self.transfer_id = self.pair.source.server.client.post("/transfer", body)["transferId"]

    def shape(self) -> Mapping[str, Any]:
        """The transfer as the source tells it."""
        shape: Mapping[str, Any] = self.pair.source.server.client.get(f"/transfers/{self.transfer_id}")["transfer"]
        return shape

    def until(self, condition: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any]:
        """Wait for a condition on the shape; whenever nothing moves, ask the source to go on."""
        deadline = time.monotonic() + _SECONDS
        while True:
            with suppress(PeerUnavailable, PeerRefused):
                shape = self.shape()
                if condition(shape):
                    return shape
                self._go_on(shape)
            assert time.monotonic() < deadline, (
                self.pair.source.server.log_end(),
                self.pair.destination.server.log_end(),
            )
            time.sleep(0.02)

    def _go_on(self, shape: Mapping[str, Any]) -> None:
        now, seen = time.monotonic(), (shape["state"], shape["bytes"], self.line.sent)
        if seen != self._seen:
            self._seen, self._since = seen, now
        if shape["state"] in ("failed", "paused") or now - self._since > _PATIENCE:
            self._since = now
            self.resumed += 1
            self.pair.source.server.client.post(f"/transfers/{self.transfer_id}/resume")

    def kill(self, victims: Sequence[str]) -> None:
        """`kill -9` all of them at once, and start them again where they were, databases first."""
        found = sorted(victims, key=lambda name: name.endswith("server"))
        for name in found:
            os.kill(self._instance(name).mongod.pid if name.endswith("mongod") else self._instance(name).server.pid, 9)
        dead = [self._instance(name).mongod for name in found if name.endswith("mongod")]
        servers = [self._instance(name).server for name in found if name.endswith("server")]
        asyncio.run(_started_again(dead))
        for server in servers:
            server.stop()
            server.launch()
        for server in servers:
            server.wait()

    def _instance(self, name: str) -> Instance:
        return self.pair.source if name.startswith("source") else self.pair.destination

    def identical(self) -> None:
        """The independent comparison of both wikis, with what the receiver told of GROWI's rules."""
        token = parse_key(self.key).token
        held = self.pair.destination.server.client.get(f"/transfers/{self.transfer_id}", key=token)["held"]
        pushed = Pushed(self.transfer_id, {}, held, Timeline(0.0), {})
        comparison = judge(self.pair, pushed, self.former)
        assert comparison.identical, comparison.mismatches

    def nothing_is_left_over(self) -> None:
        """Nothing of our own but the ledger, and at the destination what is kept for a rollback."""
        for instance in (self.pair.source, self.pair.destination):
            with MongoClient[dict[str, Any]](instance.mongod.uri) as client:
                names = client.get_default_database().list_collection_names()
            assert [name for name in names if name.startswith("growi_transfer_s_")] == []
            if instance is self.pair.source:
                assert [name for name in names if name.startswith("growi_transfer_f_")] == []
            own = instance.uploads / ".growi-transfer"
            files = [path.relative_to(own) for path in own.rglob("*") if path.is_file() and path.stat().st_size]
            assert [path for path in files if path.parts[0] != "former"] == []


async def _started_again(mongods: Sequence[EmbeddedMongod]) -> None:
    await asyncio.gather(*(mongod.stop() for mongod in mongods))
    await asyncio.gather(*(mongod.start() for mongod in mongods))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with (
        data_folder(tmp_path) as folder,
        open_pair(folder) as pair,
        socket.create_server(("127.0.0.1", 0)) as free,
    ):
        port = free.getsockname()[1]
        free.close()
        fill(pair, _SIZE)
        add_large_file(pair.source)
        with Line(port) as line:
            for server, more in (
                (pair.source.server, {}),
                (pair.destination.server, {"GROWI_TRANSFER_PORT": str(port), "GROWI_TRANSFER_ORIGIN": line.proxy.url}),
            ):
                server._settings = {**server._settings, **more}
            pair.start_servers()
            # A server that comes back is found where it was.
            source = pair.source.server
            source._settings = {**source._settings, "GROWI_TRANSFER_PORT": source.url.rpartition(":")[2]}
            yield World(pair, line)
            pair.stop_servers()
            for instance in (pair.source, pair.destination):
                os.kill(instance.mongod.pid, 9)  # a clean end would write everything once more


def add_large_file(source: Instance) -> None:
    """A file that goes by offset, in several pieces."""
    identity = bson.ObjectId("0" * 24)
    content = random.Random(1).randbytes(_LARGE)
    with MongoClient[dict[str, Any]](source.mongod.uri) as client:
        client.get_default_database()["attachments"].insert_one(
            {
                "_id": identity,
                "page": bson.ObjectId(),
                "fileName": "large.bin",
                "fileSize": _LARGE,
                "attachmentType": "WIKI_PAGE",
            }
        )
    (source.uploads / "attachment" / "large.bin").write_bytes(content)


def moments(choose: random.Random, count: int) -> Iterator[Callable[[Mapping[str, Any]], bool]]:
    """Conditions for the next kill: spread over the copy, and then over what follows it."""
    early = count - min(LATE, count // 2)
    for number in range(early):
        part = (number + choose.random()) / early
        yield (
            lambda shape, part=part: (
                shape["state"] in (*_AFTER_COPY, "completed")
                or (shape["state"] == "copying" and shape["bytes"]["done"] >= shape["bytes"]["total"] * part)
            )
        )
    for _ in range(count - early):
        pause = choose.uniform(0, 0.4)
        begun: list[float] = []

        def passed(shape: Mapping[str, Any], pause: float = pause, begun: list[float] = begun) -> bool:
            if shape["state"] in _AFTER_COPY and not begun:
                begun.append(time.monotonic())
            return shape["state"] == "completed" or bool(begun and time.monotonic() - begun[0] >= pause)

        yield passed


@pytest.mark.timeout(3600)
def test_killed_at_random_moments(world: World, rounds: Rounds) -> None:
    choose = rounds.random("kill")
    wanted = rounds.at_most(KILLS)
    order = choose.sample(VICTIMS, len(VICTIMS))
    killed: Counter[str] = Counter()
    worst, most, transfers, total = 0, 0, 0, 0
    while killed.total() < wanted:
        world.begin()
        transfers += 1
        at: list[float] = []
        for moment in moments(choose, min(KILLS_EACH, wanted - killed.total())):
            state = world.until(moment)["state"]
            if state == "completed":
                break
            victims = order[killed.total() % len(order)]
            at.append(time.monotonic())
            world.kill(victims)
            killed[state] += 1
        world.until(lambda shape: shape["state"] == "completed")
        world.identical()
        world.nothing_is_left_over()
        again, in_flight = world.line.sent_again(at), world.line.most_in_flight()
        worst, most, total = max(worst, *again, 0), max(most, in_flight), total + sum(again)
    rounds.told.append(
        f"kill -9: {dict(killed)} in {transfers} transfers, {world.resumed} times asked to go on; "
        f"sent again {total} bytes, for one kill at worst {worst}, when at most {most} were in flight"
    )
    assert worst <= most
