"""Orders between real processes: a command steers what the server runs, and what another command runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from tests.e2e.test_cli import SERVE, Wiki, last

from growi_transfer.demo.client import Client

SECONDS = 60.0
SLOW = 200_000
"""Bytes per second: the files alone would take two minutes."""


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


class Server:
    """`serve` of one wiki, until the end of the test."""

    def __init__(self, wiki: Wiki, role: str) -> None:
        wiki_environ = {**wiki.environ, "GROWI_TRANSFER_ADMIN_TOKEN": "an-admin-token-of-the-tests-0123"}
        self.process = subprocess.Popen(
            [*SERVE, "serve", "--role", role, "--port", "0"],
            env=wiki_environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split("listening on ")[1].strip()
        self.client = Client(self.url, "an-admin-token-of-the-tests-0123")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def wikis(
    tmp_path: Path,
    mongo_uri: str,
    mongo_database_name: str,
    mongo_uri_destination: str,
    mongo_database_name_destination: str,
) -> tuple[Wiki, Wiki]:
    source = Wiki(mongo_uri, mongo_database_name, tmp_path / "source")
    destination = Wiki(mongo_uri_destination, mongo_database_name_destination, tmp_path / "destination")
    source.fill("source")
    destination.fill("former")
    for number in range(6):
        source.add_file(f"more{number}", os.urandom(4_000_000))
    return source, destination


@pytest.fixture
def started() -> Iterator[list[Any]]:
    """What the test has started, ended after it."""
    running: list[Any] = []
    yield running
    for one in reversed(running):
        one.end()


class Push:
    """`push` in the background."""

    def __init__(self, wiki: Wiki, key: str) -> None:
        self.process = subprocess.Popen(
            [*SERVE, "push", "--yes", "--json", "--bandwidth", str(SLOW)],
            env={**wiki.environ, "GROWI_TRANSFER_KEY": key},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self) -> tuple[int, Mapping[str, Any]]:
        out, err = self.process.communicate(timeout=SECONDS)
        assert "Traceback" not in err
        return self.process.returncode, json.loads(out.splitlines()[-1])

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def begun(wiki: Wiki) -> str:
    """The id of the one transfer of a wiki, as soon as its ledger says that it copies: a command for each look would
    take too long."""
    with MongoClient[dict[str, Any]](wiki.uri) as client:
        rows = client[wiki.name]["growi_transfer_transfers"]
        row = until(lambda: rows.find_one({"state": "copying"}), "it does not copy")
    return str(row["_id"]).partition("/")[2]


def test_a_push_in_another_terminal(wikis: tuple[Wiki, Wiki], started: list[Any]) -> None:
    source, destination = wikis
    receiver = Server(destination, "receiver")
    started.append(receiver)
    key = receiver.client.post("/generate-key")["transferKey"]
    push = Push(source, key)
    started.append(push)
    transfer_id = begun(source)

    paused = source.run("transfers", "pause", transfer_id[:8], "--json")
    assert (paused.returncode, last(paused)["transfer"]["state"]) == (0, "paused"), paused.stdout
    code, line = push.result()
    assert (code, line["ok"], line["state"]) == (4, False, "paused")

    assert source.run("transfers", "tune", transfer_id, "--bandwidth", "none").returncode == 0
    resumed = source.run("transfers", "resume", transfer_id, "--json")
    assert (resumed.returncode, last(resumed)["state"], last(resumed)["ok"]) == (0, "completed", True), resumed.stdout
    assert destination.documents("pages") == source.documents("pages")
    told = source.run("transfers", "logs", transfer_id).stdout
    assert "pause, by the command line" in told
    assert "The pass has ended" in told
    assert receiver.client.get(f"/transfers/{transfer_id}")["transfer"]["rollback_until"]


def test_what_the_server_runs(wikis: tuple[Wiki, Wiki], started: list[Any]) -> None:
    source, destination = wikis
    receiver = Server(destination, "receiver")
    started.append(receiver)
    pusher = Server(source, "pusher")
    started.append(pusher)
    key = receiver.client.post("/generate-key")["transferKey"]
    options = {"accept_all_warnings": True, "bandwidth_bytes_per_second": SLOW}
    transfer_id = pusher.client.post("/transfer", {"transferKey": key, "options": options})["transferId"]
    assert begun(source) == transfer_id
    paused = source.run("transfers", "pause", transfer_id, "--json")
    assert (paused.returncode, last(paused)["transfer"]["state"]) == (0, "paused"), paused.stdout
    assert pusher.client.get(f"/transfers/{transfer_id}")["transfer"]["state"] == "paused"

    # The server takes it up again, and goes on with it when the command is interrupted.
    resume = subprocess.Popen(
        [*SERVE, "transfers", "resume", transfer_id, "--json"], env=source.environ, stdout=subprocess.PIPE, text=True
    )
    assert begun(source) == transfer_id
    assert resume.stdout is not None
    assert json.loads(resume.stdout.readline())["id"] == transfer_id
    resume.send_signal(signal.SIGINT)
    out, _ = resume.communicate(timeout=SECONDS)
    assert (resume.returncode, json.loads(out.splitlines()[-1])["error"]["code"]) == (4, "interrupted")
    assert pusher.client.get(f"/transfers/{transfer_id}")["transfer"]["state"] == "copying"

    # Data are coming in: the server that takes them ends that first.
    cancelled = destination.run("transfers", "cancel", transfer_id, "--yes", "--json")
    assert (cancelled.returncode, last(cancelled)["transfer"]["state"]) == (0, "cancelled"), cancelled.stdout
    with MongoClient[dict[str, Any]](destination.uri) as client:
        names = client[destination.name].list_collection_names()
    assert not [name for name in names if name.startswith("growi_transfer_s_")]
    assert b"former" in destination.documents("pages")[0]
