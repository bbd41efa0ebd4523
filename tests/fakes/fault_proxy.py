"""A proxy between two real servers that does to chosen requests what lines and reverse proxies do to them.

    async with FaultProxy(port) as proxy:
        seen = proxy.plan(Cut(after=100_000), on="PUT .*/volumes/", nth=2)
        ...                             # talk to proxy.url
        assert seen.hits == 1

It speaks just enough HTTP/1.1 to tell requests apart. What is not planned is forwarded as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import socket
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

PIECE = 64 << 10
Side = Literal["request", "response"]


@dataclass(frozen=True)
class Cut:
    """Both connections are reset after so many bytes of the body; of the response, 0 is a lost answer."""

    after: int = 0
    of: Side = "request"


@dataclass(frozen=True)
class Truncate:
    """The body ends after so many bytes, in order and without an error, as if the sender had closed the line."""

    after: int = 0
    of: Side = "request"


@dataclass(frozen=True)
class Stall:
    """After so many bytes of the body nothing moves any more, until `proxy.release()` resets the connections."""

    after: int = 0
    of: Side = "request"


@dataclass(frozen=True)
class Slow:
    """The body of the request moves at this rate."""

    bytes_per_second: int = 1 << 20


@dataclass(frozen=True)
class Duplicate:
    """The request is forwarded twice, one after the other; the second answer is the one that arrives."""


@dataclass(frozen=True)
class Answer:
    """This instead of forwarding. `early`: before the body is read, which is then drained; else after it."""

    status: int = 502
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b"<html>not your GROWI</html>"
    early: bool = False


Fault = Cut | Truncate | Stall | Slow | Duplicate | Answer


@dataclass
class Planned:
    """A fault and the requests that it is for."""

    fault: Fault
    on: re.Pattern[str]
    nth: int
    times: int | None
    over: int
    matched: int = 0
    hits: int = 0
    """Requests that met the fault."""

    def takes(self, request: Request) -> bool:
        if not self.on.match(f"{request.method} {request.path}") or request.length <= self.over:
            return False
        self.matched += 1
        hit = self.matched >= self.nth and (self.times is None or self.hits < self.times)
        self.hits += hit
        return hit


@dataclass
class Request:
    """One request as it came by."""

    method: str
    path: str
    head: bytes
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)
    fault: Fault | None = None
    sent: int = 0
    """Bytes of the body that were forwarded."""
    status: int = 0
    """Of the answer, once all of it has been passed on."""
    ended: float = math.inf
    body: bytearray = field(default_factory=bytearray)
    """What was forwarded, of requests that the proxy keeps."""

    @property
    def length(self) -> int:
        """Bytes of the body as announced."""
        return int(self.headers.get("content-length", "0"))


class FaultProxy:
    """Listens on a free port of 127.0.0.1 and forwards to `target_port`; `url` is where it listens."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._plans: list[Planned] = []
        self._released = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.requests: list[Request] = []
        """All that came by, the refused ones too."""
        self.keeps: re.Pattern[str] | None = None
        """Of which requests the body is kept: a regular expression for the beginning of "METHOD path"."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> FaultProxy:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    def plan(self, fault: Fault, *, on: str = ".*", nth: int = 1, times: int | None = 1, over: int = -1) -> Planned:
        """From the `nth` request on that matches, `times` of them (None: all) meet the fault.

        `on` is a regular expression for the beginning of "METHOD path"; `over` leaves out bodies that are not longer.
        Of several plans the first that takes a request is the one.
        """
        planned = Planned(fault, re.compile(on), nth, times, over)
        self._plans.append(planned)
        return planned

    def clear(self) -> None:
        """Forward everything from now on."""
        self._plans.clear()

    def release(self) -> None:
        """Reset the connections that are stalled."""
        self._released.set()
        self._released = asyncio.Event()

    def count(self, on: str) -> int:
        """How many requests like this came by."""
        return sum(bool(re.match(on, f"{one.method} {one.path}")) for one in self.requests)

    async def down(self) -> None:
        """Refuse connections and reset those that are open: the server is away."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
        self._server = None

    async def up(self) -> None:
        """Listen, again on the same port after `down`."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while await self._exchange(reader, writer):
                    pass
            writer.close()
        except (asyncio.CancelledError, _Reset):
            _reset(writer)
        finally:
            self._tasks.discard(task)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection may be used again."""
        request = _parse(await reader.readuntil(b"\r\n\r\n"))
        self.requests.append(request)
        planned = next((one for one in self._plans if one.takes(request)), None)
        request.fault = fault = planned.fault if planned is not None else None
        if isinstance(fault, Answer):
            return await _answer(reader, writer, request, fault)
        try:
            if isinstance(fault, Duplicate):
                body = await reader.readexactly(request.length)
                await self._forward(_fed(body), None, request, None)
                return await self._forward(_fed(body), writer, request, None)
            return await self._forward(reader, writer, request, fault)
        finally:
            request.ended = time.monotonic()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter | None,
        request: Request,
        fault: Fault | None,
    ) -> bool:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._target, limit=1 << 20)
        upstream.write(request.head)
        pump = asyncio.ensure_future(self._pump(reader, upstream, request, fault))
        answer = asyncio.ensure_future(self._relay(upstream_reader, writer, request, fault))
        try:
            await asyncio.wait((pump, answer), return_when=asyncio.FIRST_EXCEPTION)
            if pump.done() and pump.exception() is not None:
                pump.result()
            again = answer.result()
            return await pump and again
        except (asyncio.CancelledError, _Reset):
            _reset(upstream)
            raise
        finally:
            upstream.close()
            for task in (pump, answer):
                task.cancel()
            await asyncio.gather(pump, answer, return_exceptions=True)

    async def _pump(
        self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, request: Request, fault: Fault | None
    ) -> bool:
        """The body of the request; whether the server took all of it."""
        planned = fault if isinstance(fault, Cut | Truncate | Stall) and fault.of == "request" else None
        left = request.length if planned is None else min(request.length, planned.after)
        whole = True
        while left:
            piece = await reader.read(min(left, PIECE))
            if not piece:
                raise _Reset
            left -= len(piece)
            if isinstance(fault, Slow):
                await asyncio.sleep(len(piece) / fault.bytes_per_second)
            request.sent += len(piece)
            if self.keeps is not None and self.keeps.match(f"{request.method} {request.path}"):
                request.body += piece
            try:
                upstream.write(piece)
                await upstream.drain()
            except OSError:
                whole = False  # it has refused: what is left of the body is drained
        if planned is not None:
            await self._interrupt(planned, upstream)
            return False
        return whole

    async def _relay(
        self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter | None, request: Request, fault: Fault | None
    ) -> bool:
        """The answer; whether both connections may be used again."""
        try:
            head = await upstream.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError):
            raise _Reset from None
        headers = _headers(head)
        planned = fault if isinstance(fault, Cut | Truncate | Stall) and fault.of == "response" else None
        if writer is not None and (planned is None or planned.after):
            writer.write(head)
        left = None if planned is None else planned.after
        async for piece in _content(upstream, request, head, headers):
            piece = piece if left is None else piece[:left]
            left = None if left is None else left - len(piece)
            if writer is not None:
                writer.write(piece)
                await writer.drain()
            if left == 0:
                break
        if planned is not None and writer is not None:
            await self._interrupt(planned, writer)
            return False
        request.status = int(head[9:12])
        return headers.get("connection", "").lower() != "close"

    async def _interrupt(self, fault: Cut | Truncate | Stall, writer: asyncio.StreamWriter) -> None:
        if isinstance(fault, Truncate):
            writer.write_eof()
            return
        if isinstance(fault, Stall):
            await self._released.wait()
        raise _Reset


class _Reset(Exception):
    """Both connections are to be reset."""


def _parse(head: bytes) -> Request:
    method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    request = Request(method, path, head, _headers(head))
    assert "transfer-encoding" not in request.headers, "bodies of requests have a length here"
    return request


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs if name}


async def _content(
    reader: asyncio.StreamReader, request: Request, head: bytes, headers: dict[str, str]
) -> AsyncIterator[bytes]:
    """The body of an answer as it stands on the line."""
    status = int(head[9:12])
    if request.method == "HEAD" or status in (204, 304):
        return
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            line = await reader.readuntil(b"\r\n")
            yield line + await reader.readexactly(int(line, 16) + 2)
            if not int(line, 16):
                return
    left = int(headers.get("content-length", 1 << 62))
    while left and (piece := await reader.read(min(left, PIECE))):
        left -= len(piece)
        yield piece


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request, fault: Answer) -> bool:
    async def drain() -> None:
        left = request.length
        while left and (piece := await reader.read(min(left, PIECE))):
            left -= len(piece)

    if not fault.early:
        await drain()
    body = b"" if request.method == "HEAD" else fault.body
    lines = [f"HTTP/1.1 {fault.status} Planned", f"content-length: {len(fault.body)}", "content-type: text/html"]
    lines += [f"{name}: {value}" for name, value in fault.headers] + ["connection: close", "", ""]
    writer.write("\r\n".join(lines).encode() + body)
    await writer.drain()
    if fault.early:
        await drain()
    return False


def _fed(body: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(body)
    reader.feed_eof()
    return reader


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
