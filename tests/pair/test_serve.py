"""`serve` as a process: what it prints, what it leaves in its folder, how it ends. The services behind it are fakes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
    import asyncio
    import sys
    from contextlib import asynccontextmanager
    from pathlib import Path
    from tests.fakes.cli import Wiki
    from growi_transfer.cli.main import run

    folder, *arguments = sys.argv[1:]
    wiki = Wiki(Path(folder))
    asyncio.run(wiki.row())

    @asynccontextmanager
    async def opened(settings, *, role, loopback_allowed=False, serving=False):
        assert serving
        async with wiki.open_services(settings, role=role) as services:
            yield services
        print("closed", flush=True)
        HANG

    import os
    sys.exit(run(arguments, {**os.environ, **wiki.environ}, opened))
"""


class Server:
    def __init__(self, folder: Path, *arguments: str, hang: str = "", **environ: str) -> None:
        program = textwrap.dedent(PROGRAM).replace("HANG", hang)
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(folder), "serve", *arguments],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": path, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.lines: list[str] = []

    def line(self, beginning: str) -> str:
        """The next line of standard output that begins so; fails when the process ends before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith(beginning):
                return line.rstrip("\n")
        raise AssertionError(f"ended without {beginning!r}: {self.lines} {self.end()}")

    def url(self) -> str:
        return self.line("listening on ").removeprefix("listening on ")

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, "\n".join([*self.lines, out]), err

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        return self.end()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(*arguments: str, **options: str) -> Server:
        started.append(Server(tmp_path / "data", *arguments, **options))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


def get(url: str, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_first_start(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve("--port", "0")
    token = server.line("admin token").rsplit(" ", 1)[1]
    url = server.url()
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", url)
    told = json.loads((tmp_path / "data" / "server.json").read_text())
    assert told == {"pid": server.process.pid, "url": url, "role": "both", "origin": url}
    assert get(f"{url}/healthz")[0] == 200
    transfers = f"{url}/_api/v3/g2g-transfer/transfers"
    assert get(transfers)[0] == 403
    assert get(transfers, authorization=f"Bearer {token}")[0] == 200
    for name in ("secrets", "admin-token"):
        assert stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) == 0o600
    code, out, err = server.stop()
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "closed"
    assert not (tmp_path / "data" / "server.json").exists()
    # The token is shown at the first start alone, and stays the same.
    again = serve("--port", "0")
    url = again.url()
    assert get(f"{url}/_api/v3/g2g-transfer/transfers", authorization=f"Bearer {token}")[0] == 200
    assert token not in "".join(again.stop(signal.SIGINT)[1:])


def test_a_token_that_was_set_is_never_shown(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve("--port", "0", GROWI_TRANSFER_ADMIN_TOKEN="chosen-by-the-operator")
    url = server.url()
    transfers = f"{url}/_api/v3/g2g-transfer/transfers"
    assert get(transfers, authorization="Bearer chosen-by-the-operator")[0] == 200
    code, out, err = server.stop()
    assert code == 0
    assert "chosen-by-the-operator" not in out + err
    assert not (tmp_path / "data" / "admin-token").exists()


def test_no_key_is_logged(serve: Callable[..., Server]) -> None:
    server = serve("--port", "0", GROWI_TRANSFER_LOG_LEVEL="debug", GROWI_TRANSFER_LOG_FORMAT="json")
    url = server.url()
    key = "peppered-key"
    assert get(f"{url}/_api/v3/g2g-transfer/growi-info?{key}", **{"x-growi-transfer-key": key})[0] == 403
    assert get(f"{url}/{key}", authorization=f"Bearer {key}")[0] in (403, 404)
    _, out, err = server.stop()
    assert key not in out + err
    for line in err.splitlines():
        assert isinstance(json.loads(line), dict)


@pytest.mark.parametrize("role", ["receiver", "pusher"])
def test_a_server_of_one_role(serve: Callable[..., Server], tmp_path: Path, role: str) -> None:
    server = serve("--port", "0", "--role", role, GROWI_TRANSFER_ADMIN_TOKEN="chosen-by-the-operator")
    url = server.url()
    told = json.loads((tmp_path / "data" / "server.json").read_text())
    assert told["role"] == role
    assert told["origin"] == ("" if role == "pusher" else url)
    collections = get(
        f"{url}/_api/v3/g2g-transfer/transferable-collections", authorization="Bearer chosen-by-the-operator"
    )
    assert collections[0] == (200 if role == "pusher" else 404)
    assert server.stop()[0] == 0


def test_an_address_for_others_is_needed_where_none_can_be_known(serve: Callable[..., Server]) -> None:
    code, _, err = serve("--host", "0.0.0.0", "--port", "0").end()
    assert code == 2
    assert "GROWI_TRANSFER_ORIGIN" in err
    code, _, err = serve("--host", "x" * 64).end()
    assert code == 2
    assert "GROWI_TRANSFER_HOST" in err
    server = serve("--host", "0.0.0.0", "--port", "0", "--origin", "https://transfer.example.com/")
    url = server.url()
    assert url.startswith("http://127.0.0.1:")
    assert json.loads((server.folder / "server.json").read_text())["origin"] == "https://transfer.example.com"
    assert server.stop()[0] == 0


def test_a_port_that_is_taken(serve: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = serve("--port", str(taken.getsockname()[1])).end()
    assert code == 1
    assert "Cannot listen" in err
    assert "Traceback" not in err


def test_one_server_a_folder_and_a_dead_one_leaves_no_trace(serve: Callable[..., Server], tmp_path: Path) -> None:
    first = serve("--port", "0")
    url = first.url()
    code, _, err = serve("--port", "0").end()
    assert code == 1
    assert url in err
    first.process.kill()
    first.end()
    assert (tmp_path / "data" / "server.json").exists()
    second = serve("--port", "0")
    url = second.url()
    assert json.loads((tmp_path / "data" / "server.json").read_text())["url"] == url
    assert second.stop()[0] == 0


def test_an_open_event_stream_does_not_hold_up_the_end(serve: Callable[..., Server]) -> None:
    server = serve("--port", "0", GROWI_TRANSFER_ADMIN_TOKEN="chosen-by-the-operator")
    host, _, port = server.url().removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as stream:
        path = "/_api/v3/g2g-transfer/transfers/0123456789abcdef0123456789abcdef/events"
        head = f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer chosen-by-the-operator\r\n\r\n"
        stream.sendall(head.encode())
        assert b"200 OK" in stream.recv(4096)
        began = time.monotonic()
        assert server.stop()[0] == 0
        assert time.monotonic() - began < 4


def test_the_second_signal_ends_it_at_once(serve: Callable[..., Server]) -> None:
    # Services that never close: an end in order would take for ever.
    server = serve("--port", "0", hang="import asyncio; await asyncio.Event().wait()")
    server.url()
    server.process.send_signal(signal.SIGTERM)
    server.line("closed")
    server.process.send_signal(signal.SIGTERM)
    assert server.end()[0] == 4
