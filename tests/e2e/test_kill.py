"""Two real processes and `kill -9`: the transfer goes on by itself, ends, and nothing is missing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from growi_transfer.demo.compare import Former
from growi_transfer.demo.run import ENDS, Pushed, fill, judge
from growi_transfer.demo.servers import Pair, Server, open_pair
from growi_transfer.demo.timeline import Timeline
from growi_transfer.demo.wiki import WikiSize
from growi_transfer.protocol.errors import PeerUnavailable
from growi_transfer.protocol.transfer_key import parse_key

_SECONDS = 60.0
_SIZE = WikiSize(pages=150, revisions=12, attachments=60, attachment_size=150_000, seed=3)
_SLOW = 6_000_000
"""Bytes per second: the copy lasts some seconds, so that there is a middle in which to kill."""


@dataclass
class World:
    pair: Pair
    former: Former
    key: str
    transfer_id: str

    def shape(self) -> Mapping[str, Any]:
        """The transfer as the source tells it; empty while the source is away."""
        try:
            answer = self.pair.source.server.client.get(f"/transfers/{self.transfer_id}")
        except PeerUnavailable:
            return {}
        shape: Mapping[str, Any] = answer["transfer"]
        return shape

    def until(self, condition: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any]:
        """Wait for a condition on the shape."""
        deadline = time.monotonic() + _SECONDS
        while not condition(shape := self.shape()):
            assert time.monotonic() < deadline, (shape, self.pair.source.server.log_end())
            time.sleep(0.02)
        return shape

    def kill(self, server: Server) -> None:
        """`kill -9`, and start the same server again, on the same port."""
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        server.launch()
        server.wait()

    def identical(self) -> None:
        """The independent comparison of both wikis, with what the receiver told of GROWI's rules."""
        token = parse_key(self.key).token
        held = self.pair.destination.server.client.get(f"/transfers/{self.transfer_id}", key=token)["held"]
        pushed = Pushed(self.transfer_id, {}, held, Timeline(0.0), {})
        comparison = judge(self.pair, pushed, self.former)
        assert comparison.identical, comparison.mismatches


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_pair(tmp_path) as pair:
        _, former = fill(pair, _SIZE)
        pair.start_servers()
        for server in (pair.source.server, pair.destination.server):
            # A server that comes back is found where it was.
            port = server.url.rpartition(":")[2]
            server._settings = {**server._settings, "GROWI_TRANSFER_PORT": port}
        key = pair.destination.server.client.post("/generate-key")["transferKey"]
        options = {"accept_all_warnings": True, "bandwidth_bytes_per_second": _SLOW}
        body = {"transferKey": key, "options": options}
        transfer_id = pair.source.server.client.post("/transfer", body)["transferId"]
        yield World(pair, former, key, transfer_id)


def in_the_middle(shape: Mapping[str, Any]) -> bool:
    return bool(shape) and shape["state"] == "copying" and shape["bytes"]["done"] > shape["bytes"]["total"] * 0.3


def at_the_end(shape: Mapping[str, Any]) -> bool:
    return bool(shape) and shape["state"] in ENDS


def test_the_source_is_killed_in_the_middle(world: World) -> None:
    world.until(in_the_middle)
    world.kill(world.pair.source.server)
    shape = world.until(at_the_end)
    assert shape["state"] == "completed", (shape, world.pair.source.server.log_end())
    assert shape["bytes"]["done"] == shape["bytes"]["total"]
    assert shape["bytes"]["wire"] < shape["bytes"]["total"], "it went on, and did not begin again"
    world.identical()


def test_the_destination_is_killed_in_the_middle(world: World) -> None:
    world.until(in_the_middle)
    world.kill(world.pair.destination.server)
    shape = world.until(at_the_end)
    assert shape["state"] == "completed", (shape, world.pair.source.server.log_end())
    world.identical()


def test_both_are_killed_one_after_the_other(world: World) -> None:
    world.until(in_the_middle)
    world.kill(world.pair.destination.server)
    world.kill(world.pair.source.server)
    shape = world.until(at_the_end)
    assert shape["state"] == "completed", (shape, world.pair.source.server.log_end())
    world.identical()
