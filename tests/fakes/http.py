"""A real uvicorn on a free port of 127.0.0.1, in the loop of the test, and a client that writes raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import uvicorn
from tests.fakes.server import running

from growi_transfer.web.app import App


@contextlib.asynccontextmanager
async def serve(app: App, port: int = 0) -> AsyncIterator[str]:
    """The server's address (`127.0.0.1:port`) while it runs."""
    bound = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(
        app,
        http="httptools",
        loop="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    address = f"127.0.0.1:{bound.getsockname()[1]}"
    async with running(config, bound, before_the_end=app.release_watchers):
        yield address


@dataclass
class RawAnswer:
    status: int
    headers: dict[str, str]
    body: bytes


class RawClient:
    """One connection. Nothing is read unless the test asks for it, as a simple client does."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.partition(":")
        self._port = int(port)

    async def __aenter__(self) -> RawClient:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def head(self, method: str, path: str, headers: dict[str, str]) -> None:
        lines = [f"{method} {path} HTTP/1.1", "host: test", *(f"{name}: {value}" for name, value in headers.items())]
        await self.write("\r\n".join([*lines, "", ""]).encode())

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def write_chunk(self, data: bytes) -> None:
        await self.write(b"%x\r\n%s\r\n" % (len(data), data))

    async def answer(self) -> RawAnswer:
        """Raises IncompleteReadError or ConnectionError when there is no whole answer."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return RawAnswer(int(head[0].split()[1]), headers, body)

    async def at_end(self) -> bool:
        """Wait until the server has closed the connection."""
        with contextlib.suppress(ConnectionResetError):
            return await self._reader.read(1) == b""
        return True

    def abort(self) -> None:
        """Cut the connection, as a crash does."""
        self._writer.transport.abort()
