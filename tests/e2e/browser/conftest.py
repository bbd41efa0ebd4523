"""Two wikis with real servers, and a Chromium."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from tests.fakes.browser import PROGRAM
from tests.fakes.folders import data_folder

from growi_transfer.demo.run import fill
from growi_transfer.demo.servers import Instance, Pair, Server, open_pair
from growi_transfer.demo.wiki import WikiSize
from growi_transfer.protocol.wire import PREFIX

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from tests.e2e.browser.admin import Admin

SIZE = WikiSize(pages=50, revisions=8, attachments=30, attachment_size=100_000, seed=3)
SLOW = 250_000
"""Bytes per second: the copy would last most of a minute, but a test pauses it or lifts the limit."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = None
    if PROGRAM is None:
        missing = "no Chromium on PATH"
    try:
        import playwright  # noqa: F401
    except ImportError:
        missing = "playwright is not installed"
    if missing and os.environ.get("CI"):
        raise pytest.UsageError(f"on CI nothing is skipped: {missing}")
    for item in items:
        if missing and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=missing))


@dataclass
class World:
    pair: Pair

    @property
    def source(self) -> Server:
        return self.pair.source.server

    @property
    def destination(self) -> Server:
        return self.pair.destination.server

    def issue(self) -> str:
        """A key of the destination."""
        return str(self.destination.client.post("/generate-key")["transferKey"])

    def push(self, key: str, **options: Any) -> str:
        """Begin a slow transfer that does not commit by itself; its id."""
        given = {"accept_all_warnings": True, "bandwidth_bytes_per_second": SLOW, "commit": False, **options}
        return str(self.source.client.post("/transfer", {"transferKey": key, "options": given})["transferId"])

    def hurry(self, transfer_id: str) -> None:
        """Lift the limit of a transfer."""
        send(self.source, "PATCH", f"/transfers/{transfer_id}", {"bandwidth_bytes_per_second": None})

    @contextmanager
    def away(self, server: Server) -> Iterator[None]:
        """A server is stopped while inside, and started again after it."""
        server.stop()
        yield
        server.launch()
        server.wait()


def send(server: Server, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """A request of the admin's."""
    headers = {"authorization": f"Bearer {server.admin_token}", "content-type": "application/json"}
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    try:
        connection.request(method, PREFIX + path, json.dumps(body or {}), headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status < 300, text
        return json.loads(text or b"null")
    finally:
        connection.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with data_folder(tmp_path_factory.mktemp("wikis")) as folder, open_pair(folder) as pair:
        fill(pair, SIZE)
        for instance in (pair.source, pair.destination):
            _stays_where_it_is(instance)
        pair.start_servers()
        yield World(pair)


def _stays_where_it_is(instance: Instance) -> None:
    """A server that is started again has the address that it had."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    server = instance.server
    server._settings = {**server._settings, "GROWI_TRANSFER_PORT": port}


@pytest.fixture(autouse=True)
def _told(world: World) -> Iterator[None]:
    """What the servers said at last and where the transfers are, shown when a test fails."""
    yield
    for server in (world.source, world.destination):
        print(server.role, server.log_end())  # noqa: T201
        for one in server.client.get("/transfers")["transfers"]:
            print({name: one[name] for name in ("id", "state", "documents", "bytes", "files", "activity", "failures")})  # noqa: T201


@pytest.fixture(scope="module")
def browser(world: World) -> Iterator[Browser]:
    # After the wikis and before them at the end: while Playwright runs, no other event loop may in this thread.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def admin_of(browser: Browser) -> Iterator[Callable[..., Admin]]:
    """Makes admins of servers. Each is asked at the end whether their browser complained."""
    from tests.e2e.browser.admin import Admin

    folder = os.environ.get("GROWI_TRANSFER_TEST_SHOTS")
    shots = Path(folder) if folder else None
    if shots is not None:
        shots.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:

        def admin(server: Server, **context: Any) -> Admin:
            made = Admin(browser, server, shots, **context)
            stack.callback(made.close)
            return made

        yield admin
