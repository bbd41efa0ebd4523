"""Destinations that are not one: an application that writes down what it is asked, and sockets that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from tests.fakes.server import running

from growi_transfer.protocol.transfer_key import ParsedKey
from growi_transfer.pusher.address import AllowedDestinations
from growi_transfer.pusher.peer import Pace, Peer, open_peer
from growi_transfer.pusher.timeouts import PeerTimeouts

TOKEN = "a-secret-token.that-is-nowhere.else"
QUICK = PeerTimeouts(connect=5.0, idle=5.0, answer=5.0, commit=5.0)


async def peer_at(
    port: int, *, epoch: int = 3, pace: Pace | None = None, timeouts: PeerTimeouts = QUICK, connections: int = 20
) -> Peer:
    """A peer of a server on this machine."""
    return await open_peer(
        ParsedKey(TOKEN, f"http://127.0.0.1:{port}"),
        allowed=AllowedDestinations.loopback(),
        epoch=epoch,
        pace=pace,
        timeouts=timeouts,
        connections=connections,
    )


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    whole: bool = False


@dataclass
class Answer:
    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


class Recorder:
    """An ASGI application: writes down every request and answers what `answers` says, by method and path."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answers: dict[tuple[str, str], Answer] = {}
        self.port = 0
        self.hold: asyncio.Event | None = None
        """Where there is one, answers wait for it."""
        self.in_flight = 0
        self.most_in_flight = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        seen = Seen(scope["method"], scope["raw_path"].decode(), headers)
        self.seen.append(seen)
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        try:
            chunks: list[bytes] = []
            while not seen.whole:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                chunks.append(message.get("body", b""))
                seen.whole = not message.get("more_body", False)
            seen.body = b"".join(chunks)
            if self.hold is not None:
                await self.hold.wait()
            answer = self.answers.get((seen.method, seen.path), Answer())
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            names = {"content-type": "application/json", **answer.headers}
            if answer.status != 204:
                names.setdefault("content-length", str(len(body)))
            raw = [(name.encode(), value.encode()) for name, value in names.items()]
            await send({"type": "http.response.start", "status": answer.status, "headers": raw})
            await send({"type": "http.response.body", "body": b"" if answer.status == 204 else body})
        finally:
            self.in_flight -= 1


@contextlib.asynccontextmanager
async def serving(app: Recorder, **options: Any) -> AsyncIterator[Recorder]:
    """The application behind a real uvicorn on a free port."""
    bound = socket.create_server(("127.0.0.1", 0))
    app.port = bound.getsockname()[1]
    config = uvicorn.Config(app, http="httptools", lifespan="off", log_config=None, access_log=False, **options)
    async with running(config, bound):
        yield app


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def talking(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A port on which `talk` is run for each connection; it is closed afterwards."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await talk(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await server.wait_closed()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    """Reads the head of a request."""
    return await reader.readuntil(b"\r\n\r\n")


def response(status: str, body: bytes, *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body
