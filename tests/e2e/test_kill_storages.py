"""Real processes and `kill -9` in the middle of transfers between any two storages: each ends, every file is there with
its SHA-256, and nothing of our own is left in either storage.

pytest tests/e2e/test_kill_storages.py --runs 16    # all pairs
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from tests.fakes.folders import data_folder
from tests.fakes.uploads import Uploads
from tests.rounds import Rounds

from growi_transfer.demo.destination import make_destination
from growi_transfer.demo.servers import PASSWORD_SEED, Instance, Pair, open_pair
from growi_transfer.demo.wiki import WikiSize, make_wiki
from growi_transfer.protocol.errors import PeerRefused, PeerUnavailable

KINDS = ("local", "gridfs", "aws", "azure")
USUAL = (("local", "aws"), ("aws", "azure"), ("azure", "gridfs"), ("gridfs", "local"))
"""On CI: each kind once as source and once as destination."""
KILLS = 3
"""In each transfer, of either server or of both at once."""
_SIZE = WikiSize(pages=20, revisions=2, attachments=60, attachment_size=60_000, seed=5, plugin=False)
_LARGE = 20_000_000
_SLOW = 8_000_000
"""Bytes per second: there is a middle in which to kill."""
_SECONDS = 200.0
_PATIENCE = 10.0
"""Seconds without progress after which somebody asks it to go on."""
VICTIMS = (("source",), ("destination",), ("source", "destination"))


@dataclass
class World:
    pair: Pair
    source: Uploads
    destination: Uploads
    wanted: Mapping[str, str]
    """Digest of every file of the source, under the name that the destination has for it."""
    transfer_id: str = ""
    _seen: object = None
    _since: float = 0.0

    def begin(self) -> None:
        key = self.pair.destination.server.client.post("/generate-key")["transferKey"]
        body = {
            "transferKey": key,
            "options": {"accept_all_warnings": True, "bandwidth_bytes_per_second": _SLOW},
        }
        self.transfer_id = self.pair.source.server.client.post("/transfer", body)["transferId"]

    def until(self, condition: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any]:
        """Wait for a condition on the transfer as the source tells it; when nothing moves, ask it to go on."""
        deadline = time.monotonic() + _SECONDS
        while True:
            with suppress(PeerUnavailable, PeerRefused):
                shape: Mapping[str, Any] = self._client.get(f"/transfers/{self.transfer_id}")["transfer"]
                if condition(shape):
                    return shape
                self._go_on(shape)
            assert time.monotonic() < deadline, (
                self.pair.source.server.log_end(),
                self.pair.destination.server.log_end(),
            )
            time.sleep(0.02)

    def kill(self, victims: tuple[str, ...]) -> None:
        """`kill -9` at once, and start again where they were."""
        servers = [self._instance(name).server for name in victims]
        for server in servers:
            os.kill(server.pid, 9)
        for server in servers:
            server.stop()
            server.launch()
        for server in servers:
            server.wait()

    def is_whole(self) -> None:
        found = self.destination.digests()
        assert {name: found.get(name) for name in self.wanted} == self.wanted
        for uploads, instance in ((self.source, self.pair.source), (self.destination, self.pair.destination)):
            own = [name for name in uploads.names() if name.startswith(".") and not name.endswith("/")]
            assert [name for name in own if "/former/" not in name and not _is_empty(instance.uploads / name)] == []
            if uploads.kind == "aws":
                assert uploads.unfinished() == []

    @property
    def _client(self) -> Any:
        return self.pair.source.server.client

    def _go_on(self, shape: Mapping[str, Any]) -> None:
        now, seen = time.monotonic(), (shape["state"], shape["bytes"])
        if seen != self._seen:
            self._seen, self._since = seen, now
        if shape["state"] in ("failed", "paused") or now - self._since > _PATIENCE:
            self._since = now
            self._client.post(f"/transfers/{self.transfer_id}/resume")

    def _instance(self, name: str) -> Instance:
        return self.pair.source if name == "source" else self.pair.destination


def _is_empty(path: Path) -> bool:
    """A local storage's lock, which has nothing in it."""
    return path.is_file() and not path.stat().st_size


@contextmanager
def opened(on_disk: Path, kinds: tuple[str, str], request: pytest.FixtureRequest) -> Iterator[World]:
    """Two running wikis with these storages, the source's with files of all sizes."""
    with (
        data_folder(on_disk) as folder,
        open_pair(folder) as pair,
        _killed(pair),
        MongoClient[dict[str, Any]](pair.source.mongod.uri) as one,
    ):
        make_wiki(pair.source.mongod.uri, pair.source.uploads, _SIZE, password_seed=PASSWORD_SEED)
        make_destination(pair.destination.mongod.uri, pair.destination.uploads, password_seed=PASSWORD_SEED)
        database = one.get_default_database()
        large = {"_id": bson.ObjectId(), "page": bson.ObjectId(), "fileName": "large.bin", "fileSize": _LARGE}
        database["attachments"].insert_one({**large, "attachmentType": "WIKI_PAGE"})
        (pair.source.uploads / "attachment" / "large.bin").write_bytes(random.Random(1).randbytes(_LARGE))
        local = Uploads("local", root=pair.source.uploads)
        with MongoClient[dict[str, Any]](pair.destination.mongod.uri) as other:
            stores = [
                _uploads(kind, instance, client.get_default_database(), request)
                for kind, instance, client in zip(kinds, (pair.source, pair.destination), (one, other), strict=True)
            ]
            for uploads, instance, client in zip(stores, (pair.source, pair.destination), (one, other), strict=True):
                uploads.configure(client.get_default_database())
                server = instance.server
                server._settings = {**server._settings, **uploads.environment}
            if stores[0].kind != "local":
                for path in local.names():
                    stores[0].put(path, (pair.source.uploads / path).read_bytes())
            wanted = {stores[1].name(path): digest for path, digest in local.digests().items()}
            pair.start_servers()
            for server in (pair.source.server, pair.destination.server):
                # One that comes back is found where it was.
                port = server.url.rpartition(":")[2]
                server._settings = {
                    **server._settings,
                    "GROWI_TRANSFER_PORT": port,
                    "GROWI_TRANSFER_ORIGIN": server.url,
                }
            yield World(pair, stores[0], stores[1], wanted)
            pair.stop_servers()


@contextmanager
def _killed(pair: Pair) -> Iterator[None]:
    """A clean end of the databases would write everything once more. Clients have to be closed before: they would wait
    half a minute to say goodbye."""
    yield
    for instance in (pair.source, pair.destination):
        os.kill(instance.mongod.pid, 9)


def _uploads(kind: str, instance: Instance, database: Any, request: pytest.FixtureRequest) -> Uploads:
    if kind == "local":
        return Uploads(kind, root=instance.uploads)
    if kind == "gridfs":
        return Uploads(kind, database=database)
    server = request.getfixturevalue(f"{kind}_server")
    bucket = f"{kind}-{bson.ObjectId()}"
    server.make_bucket(bucket)
    return Uploads(kind, server=server, bucket=bucket)


@pytest.mark.timeout(3600)
def test_killed_between_any_two_storages(tmp_path: Path, rounds: Rounds, request: pytest.FixtureRequest) -> None:
    choose = rounds.random("kill storages")
    others = [pair for pair in itertools.product(KINDS, KINDS) if pair not in USUAL]
    order = [*USUAL, *choose.sample(others, len(others))]
    victims = itertools.cycle(VICTIMS)
    killed: Counter[str] = Counter()
    for number in range(rounds.at_most(len(USUAL))):
        kinds = order[number % len(order)]
        with opened(tmp_path, kinds, request) as world:
            world.begin()
            for kill in range(KILLS):
                part = (kill + choose.random()) / (KILLS + 1)
                shape = world.until(
                    lambda shape, part=part: (
                        shape["state"] == "completed" or shape["bytes"]["done"] > shape["bytes"]["total"] * part > 0
                    )
                )
                if shape["state"] == "completed":
                    break
                world.kill(next(victims))
                killed[f"{kinds[0]} to {kinds[1]}"] += 1
            world.until(lambda shape: shape["state"] == "completed")
            world.is_whole()
    assert killed.total() >= rounds.at_most(len(USUAL)) * 2
    rounds.told.append(f"kill -9 between storages: {dict(killed)}")
