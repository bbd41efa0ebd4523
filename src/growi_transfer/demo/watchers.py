"""Many people who watch a server, as one process that costs little.

`python -m growi_transfer.demo.watchers URL SOCKETS STREAMS`; the admin token comes as the first line of standard input.
Prints `ready` once all were let in, and what they were told, as JSON, when standard input ends.

The connections speak HTTP and WebSocket by hand and read no JSON: what is measured is the server.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from urllib.parse import urlsplit

from growi_transfer.protocol.wire import PREFIX

_PING = b"\x81\x012"
_HELD = len(b"admin:g2gProgress")


class _Watcher(asyncio.Protocol):
    """One connection. `joined` is set when the server has let it in."""

    hello: bytes
    event: bytes

    def __init__(self, joined: asyncio.Future[None]) -> None:
        self._joined = joined
        self._rest = b""
        self.events = 0
        self.bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self.hello)

    def data_received(self, data: bytes) -> None:
        self.bytes += len(data)
        seen = self._rest + data
        self.events += seen.count(self.event)
        self.look(self._transport, seen)
        # The start of a name may come at the end of what came; a whole one is not counted twice.
        self._rest = seen[-_HELD:] if self.event not in seen[-_HELD:] else b""

    def look(self, transport: asyncio.Transport, seen: bytes) -> None:
        """What belongs to the way in which it is told."""

    def let_in(self) -> None:
        if not self._joined.done():
            self._joined.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._joined.done():
            self._joined.set_exception(ConnectionResetError("A watcher was not let in."))


class _Socket(_Watcher):
    event = b"admin:g2gProgress"

    def __init__(self, joined: asyncio.Future[None], host: str, token: str) -> None:
        super().__init__(joined)
        key = base64.b64encode(os.urandom(16)).decode()
        self.hello = (
            f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\n"
            f"upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
        ).encode()
        self._login = _frame("40/admin," + json.dumps({"token": token}))
        self._asked = False

    def look(self, transport: asyncio.Transport, seen: bytes) -> None:
        if not self._asked and b"pingInterval" in seen:
            self._asked = True
            transport.write(self._login)
        elif b'40/admin,{"sid"' in seen:
            self.let_in()
        if seen.endswith(_PING):
            transport.write(_frame("3"))


class _Stream(_Watcher):
    event = b"event: transfer"

    def __init__(self, joined: asyncio.Future[None], host: str, token: str) -> None:
        super().__init__(joined)
        self.hello = (f"GET {PREFIX}/events HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\r\n").encode()

    def look(self, transport: asyncio.Transport, seen: bytes) -> None:
        if b"retry: " in seen:
            self.let_in()


def _frame(text: str) -> bytes:
    """A text frame as clients send it, masked with zeros."""
    data = text.encode()
    size = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0xFE]) + len(data).to_bytes(2, "big")
    return b"\x81" + size + bytes(4) + data


async def _watch(url: str, sockets: int, streams: int, token: str) -> None:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    loop = asyncio.get_running_loop()
    watchers: list[_Watcher] = []
    for kind, count in ((_Socket, sockets), (_Stream, streams)):
        for _ in range(count):
            joined: asyncio.Future[None] = loop.create_future()
            watcher = kind(joined, parts.netloc, token)
            await loop.create_connection(lambda made=watcher: made, host, port)  # type: ignore[misc]
            await joined
            watchers.append(watcher)
    print("ready", flush=True)  # noqa: T201 - what its owner waits for
    await asyncio.to_thread(sys.stdin.read)
    told = {
        name: sum(watcher.events for watcher in watchers if isinstance(watcher, kind))
        for name, kind in (("socket_io", _Socket), ("events", _Stream))
    }
    print(json.dumps({**told, "bytes": sum(watcher.bytes for watcher in watchers)}), flush=True)  # noqa: T201


if __name__ == "__main__":
    os.nice(19)  # those who watch sit elsewhere: their own work is not to slow anything here
    asyncio.run(_watch(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.stdin.readline().strip()))
