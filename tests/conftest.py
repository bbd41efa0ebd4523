"""What tests of every group share: MongoDB servers for a whole run, and a database of its own for each test."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, settings
from pymongo import MongoClient
from tests.fakes import object_servers
from tests.fakes.folders import data_folder
from tests.fakes.object_servers import ObjectServer

from growi_transfer.cli.memory import spare_collector
from growi_transfer.mongo.embedded import EmbeddedMongod, find_mongod

pytest_plugins = ["tests.budgets", "tests.rounds"]

# The same examples in every run, and none refused because the machine is busy. `--hypothesis-profile=explore` looks
# further than that.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


# A run that a shell started in the background ignores SIGINT, and so would every process that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Images for containers often ask Python to keep no compiled modules. A run starts the program some hundred times, and
# each start would compile all of it: 0.9 s of a processor.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_collection_finish() -> None:
    """As the program does at its start: what was imported and collected stays, and is not looked through again."""
    spare_collector()


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the program runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def mongo_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A replica set of one member. Its URI names no database of a test: see `mongo_database_name`."""
    yield from _embedded(tmp_path_factory.mktemp("mongo"))


@pytest.fixture(scope="session")
def mongo_uri_destination(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A second server, for tests in which source and destination must not share one."""
    yield from _embedded(tmp_path_factory.mktemp("mongo_destination"))


@pytest.fixture(scope="session")
def mongo_uri_standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that is no replica set, as small wikis have it: no snapshots, no majority."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with data_folder(tmp_path_factory.mktemp("mongo_standalone")) as folder:
        command = [str(find_mongod()), "--dbpath", str(folder), "--bind_ip", "127.0.0.1", "--port", str(port)]
        command += ["--wiredTigerCacheSizeGB", "0.25", "--nounixsocket"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as server:
            try:
                uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
                with MongoClient[dict[str, object]](uri) as client:
                    assert client.admin.command("serverStatus")["pid"] == server.pid
                yield uri
            finally:
                server.kill()


@pytest.fixture(scope="session")
def aws_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """A SeaweedFS with an empty bucket `contract`."""
    yield from _object_server(tmp_path_factory.mktemp("aws"), object_servers.s3_server, "contract")


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """An Azurite with an empty container `contract`."""
    yield from _object_server(tmp_path_factory.mktemp("azure"), object_servers.azure_server, "contract")


@pytest.fixture(scope="session")
def gcs_server(aws_server: ObjectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """Google's XML API in front of the SeaweedFS, with an empty bucket `gcs-contract`."""
    start = functools.partial(object_servers.gcs_server, aws_server)
    yield from _object_server(tmp_path_factory.mktemp("gcs"), start, "gcs-contract")


def _object_server(
    folder: Path, start: Callable[[Path], AbstractContextManager[ObjectServer]], bucket: str
) -> Iterator[ObjectServer]:
    with start(folder) as server:
        server.make_bucket(bucket)
        yield server
    # Data is of no use after a run, and pytest keeps the folders of the last ones.
    shutil.rmtree(folder)


@pytest.fixture
def mongo_database_name(mongo_uri: str) -> Iterator[str]:
    """A name for a database on `mongo_uri` that is dropped after the test."""
    yield from _database(mongo_uri)


@pytest.fixture
def mongo_database_name_destination(mongo_uri_destination: str) -> Iterator[str]:
    """The same on `mongo_uri_destination`."""
    yield from _database(mongo_uri_destination)


_clients: dict[str, MongoClient[dict[str, object]]] = {}
_drops = ThreadPoolExecutor(1, "drop databases")


def _embedded(on_disk: Path) -> Iterator[str]:
    with data_folder(on_disk) as folder:
        server = EmbeddedMongod(folder)
        asyncio.run(server.start())
        try:
            with MongoClient[dict[str, object]](server.uri) as client:
                _clients[server.uri] = client
                yield server.uri
                _drops.submit(int).result()
        finally:
            os.kill(server.pid, signal.SIGKILL)  # a clean end would write everything once more
            asyncio.run(server.stop())


def _database(uri: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    # Nobody needs it any more, so nobody waits for it: a server takes 40 ms for each, mostly waiting itself.
    _drops.submit(_clients[uri].drop_database, name)
