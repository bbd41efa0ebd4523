"""The private mongod: what it leaves behind, whom it refuses, and what it does about dead owners."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient, WriteConcern

import growi_transfer
from growi_transfer.mongo.embedded import EmbeddedMongod, find_mongod
from growi_transfer.protocol.errors import FolderInUse, MongodUnavailable

OWNER = """
import asyncio, sys
from pathlib import Path
from growi_transfer.mongo.embedded import EmbeddedMongod

server = EmbeddedMongod(Path(sys.argv[1]))
asyncio.run(server.start())
print(server.pid, server.uri, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the server of this test's folder; its first line is "<pid> <uri>"."""
    with running([sys.executable, "-c", OWNER, str(tmp_path)]) as process:
        yield process


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    source = str(Path(growi_transfer.__file__).parents[1])
    pipe = subprocess.PIPE
    environment = os.environ | {"PYTHONPATH": source}
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> tuple[int, str]:
    assert process.stdout is not None
    pid, uri = process.stdout.readline().split()
    return int(pid), uri


def write(uri: str, number: int) -> None:
    with MongoClient[dict[str, Any]](uri) as client:
        durable = client.growi.get_collection("kept", write_concern=WriteConcern("majority", j=True))
        durable.insert_one({"_id": number})


def numbers(uri: str) -> list[int]:
    with MongoClient[dict[str, Any]](uri) as client:
        return [found["_id"] for found in client.growi.kept.find(sort=[("_id", 1)])]


def is_alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def use_program(monkeypatch: pytest.MonkeyPatch, path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("MONGOD_BINARY", str(path))


async def test_it_is_a_primary_of_its_own_and_ends_with_stop(tmp_path: Path) -> None:
    async with EmbeddedMongod(tmp_path) as server:
        await server.start()
        pid = server.pid
        with MongoClient[dict[str, Any]](server.uri) as client:
            hello = client.admin.command("hello")
            assert hello["isWritablePrimary"]
            assert hello["setName"] == "growi_transfer"
            options = client.admin.command("getCmdLineOpts")["parsed"]
        assert options["net"]["bindIp"] == "127.0.0.1"
        assert options["storage"]["wiredTiger"]["engineConfig"]["cacheSizeGB"] == 0.25
        assert int((tmp_path / "mongod" / "mongod.pid").read_text()) == pid
        # Ctrl-C at a terminal goes to the process group.
        assert os.getpgid(pid) != os.getpgid(0)
    await server.stop()
    assert not is_alive(pid)
    assert not (tmp_path / "mongod" / "mongod.pid").exists()
    assert (tmp_path / "mongod" / "db" / "mongod.lock").read_text() == "", "not a clean shutdown"


async def test_restart_keeps_data_and_port(tmp_path: Path) -> None:
    async with EmbeddedMongod(tmp_path) as server:
        write(server.uri, 1)
        port = server.port
    async with EmbeddedMongod(tmp_path) as server:
        assert server.port == port
        assert numbers(server.uri) == [1]


async def test_restart_on_another_port_keeps_data_and_takes_writes(tmp_path: Path) -> None:
    async with EmbeddedMongod(tmp_path) as server:
        write(server.uri, 1)
        port = server.port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        async with EmbeddedMongod(tmp_path) as server:
            assert server.port != port
            write(server.uri, 2)
            assert numbers(server.uri) == [1, 2]


async def test_a_port_lost_to_another_process_is_given_up(
    tmp_path: Path, mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_mongod = int(mongo_uri.split(":")[2].split("/")[0])
    free_ports = EmbeddedMongod._ports
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def ports(server: EmbeddedMongod) -> Iterator[int]:
            yield silent.getsockname()[1]
            yield other_mongod
            yield from free_ports(server)

        monkeypatch.setattr(EmbeddedMongod, "_ports", ports)
        async with EmbeddedMongod(tmp_path) as server:
            assert server.port not in (other_mongod, silent.getsockname()[1])
            write(server.uri, 1)
        assert server.uri != mongo_uri


async def test_a_folder_in_use_is_refused_and_named(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    _, uri = first_line(owner)
    with pytest.raises(FolderInUse, match=f"process {owner.pid}") as caught:
        await EmbeddedMongod(tmp_path).start()
    assert str(tmp_path) in caught.value.message
    write(uri, 1)
    assert numbers(uri) == [1], "the owner's server must not notice"


async def test_one_process_cannot_start_two_on_one_folder(tmp_path: Path) -> None:
    async with EmbeddedMongod(tmp_path):
        with pytest.raises(FolderInUse, match=f"process {os.getpid()}"):
            await EmbeddedMongod(tmp_path).start()


async def test_a_mongod_started_by_hand_is_refused_not_killed(tmp_path: Path) -> None:
    data = tmp_path / "mongod" / "db"
    data.mkdir(parents=True)
    # Its own spelling of the path: it does not look like one of ours.
    spelled = f"{tmp_path}/mongod/./db"
    log = tmp_path / "hand.log"
    arguments = [str(find_mongod()), "--dbpath", spelled, "--port", "0", "--bind_ip", "127.0.0.1", "--nounixsocket"]
    with running([*arguments, "--logpath", str(log)]) as other:
        await until(lambda: log.exists() and "Waiting for connections" in log.read_text())
        with pytest.raises(FolderInUse, match=f"process {other.pid}"):
            await EmbeddedMongod(tmp_path).start()
        assert other.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its owner died")
async def test_mongod_follows_an_owner_that_was_killed(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    pid, uri = first_line(owner)
    write(uri, 1)
    owner.kill()
    await until(lambda: not is_alive(pid))
    assert (tmp_path / "mongod" / "db" / "mongod.lock").read_text() == "", "not a clean shutdown"


async def test_folder_of_a_killed_owner_is_taken_over_at_once(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    pid, uri = first_line(owner)
    write(uri, 1)
    owner.kill()
    owner.wait()
    async with EmbeddedMongod(tmp_path) as server:
        assert server.pid != pid
        assert numbers(server.uri) == [1]
        await until(lambda: not is_alive(pid))


async def test_an_orphan_that_still_runs_is_shut_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = EmbeddedMongod(tmp_path)
    await first.start()
    write(first.uri, 1)
    # What a kill -9 leaves where the kernel does not tell the child: no lock, and a mongod that runs on.
    assert first._lock is not None
    first._lock.close()
    orphan = first._process
    assert orphan is not None
    async with EmbeddedMongod(tmp_path) as server:
        assert orphan.wait(timeout=0) == 0, "not a clean shutdown"
        assert numbers(server.uri) == [1]


async def test_after_mongod_itself_was_killed_the_data_are_there(tmp_path: Path) -> None:
    server = EmbeddedMongod(tmp_path)
    await server.start()
    write(server.uri, 1)
    os.kill(server.pid, signal.SIGKILL)
    await server.stop()
    async with server:
        assert numbers(server.uri) == [1]


async def test_a_reused_pid_is_left_alone(tmp_path: Path) -> None:
    async with EmbeddedMongod(tmp_path):
        pass
    with running([sys.executable, "-c", "import sys; sys.stdin.read()"]) as bystander:
        (tmp_path / "mongod" / "db" / "mongod.lock").write_text(f"{bystander.pid}\n")
        async with EmbeddedMongod(tmp_path):
            assert bystander.poll() is None
        assert bystander.poll() is None


async def test_a_mongod_that_fails_says_why_and_gives_the_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        use_program(patch, tmp_path / "broken", "echo 'libcurl.so.4: cannot open shared object file' >&2; exit 127")
        with pytest.raises(MongodUnavailable, match=r"code 127: libcurl\.so\.4: cannot open") as caught:
            await EmbeddedMongod(tmp_path).start()
        assert "MONGO_URI" in caught.value.message
    async with EmbeddedMongod(tmp_path) as server:
        write(server.uri, 1)


async def test_a_program_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "broken"
    program.write_bytes(b"\x7fELF and nothing more")
    program.chmod(0o755)
    monkeypatch.setenv("MONGOD_BINARY", str(program))
    with pytest.raises(MongodUnavailable, match="Exec format error"):
        await EmbeddedMongod(tmp_path).start()


async def test_data_of_another_version_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_program(monkeypatch, tmp_path / "newer", "exit 62")
    with pytest.raises(MongodUnavailable, match="another version of MongoDB"):
        await EmbeddedMongod(tmp_path).start()


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MongodUnavailable, match=str(tmp_path / "file")):
        await EmbeddedMongod(tmp_path / "file").start()


async def test_a_cancelled_start_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file = tmp_path / "pid"
    with monkeypatch.context() as patch:
        use_program(patch, tmp_path / "slow", f"echo $$ > {pid_file}; exec sleep 600")
        starting = asyncio.create_task(EmbeddedMongod(tmp_path).start())
        await until(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert not is_alive(int(pid_file.read_text()))
    async with EmbeddedMongod(tmp_path) as server:
        write(server.uri, 1)


def test_before_the_first_start(tmp_path: Path) -> None:
    server = EmbeddedMongod(tmp_path)
    with pytest.raises(RuntimeError):
        _ = server.uri
    with pytest.raises(RuntimeError):
        _ = server.pid
    with pytest.raises(ValueError, match="256"):
        EmbeddedMongod(tmp_path, cache_mib=255)
