"""The answer of a peer that refuses a body before its end and closes the line.

Such a peer resets the connection while we are still writing. The answer has arrived by then, but the next write fails,
and whoever owns the socket throws it away together with what has not been read yet. A second handle on the same
connection outlives that, and the answer can still be read from it (Linux keeps it; other systems may not).
"""

from __future__ import annotations

import asyncio
import http.client
import io
import os
import select
import socket
from collections.abc import Mapping
from contextlib import suppress

_ANSWER_LIMIT = 128 << 10
_READ_BYTES = 64 << 10


class Line:
    """One connection, beside the transport that owns it. Close it: until then the connection does not end."""

    def __init__(self, transport: asyncio.Transport | None) -> None:
        self._poll = select.poll()
        self._socket: socket.socket | None = None
        connection = transport.get_extra_info("socket") if transport is not None else None
        if transport is None or connection is None or transport.is_closing():
            return
        self._transport = transport
        self._is_plain = transport.get_extra_info("ssl_object") is None
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._poll.register(self._socket, select.POLLIN)

    def has_answer(self) -> bool:
        """Whether bytes have arrived that the event loop has not read yet, and still will."""
        return self._socket is not None and not self._transport.is_closing() and bool(self._poll.poll(0))

    def left_over(self) -> bytes:
        """What has arrived and will not be read by the event loop any more. Never waits."""
        if self._socket is None or not self._is_plain:
            return b""
        found = b""
        with suppress(OSError):
            while len(found) < _ANSWER_LIMIT and (part := self._socket.recv(_READ_BYTES, socket.MSG_DONTWAIT)):
                found += part
        return found

    def close(self) -> None:
        """Give the handle back. Twice has one effect."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def parse_answer(raw: bytes) -> tuple[int, Mapping[str, str], bytes] | None:
    """Status, headers (lower-case names) and body of a whole HTTP answer; None for anything else."""
    if b"\r\n\r\n" not in raw:
        return None  # which the parser would take for the end of the headers
    response = http.client.HTTPResponse(_Bytes(raw))  # type: ignore[arg-type]
    try:
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, headers, response.read()
    except (http.client.HTTPException, ValueError, OSError):
        return None


class _Bytes:
    """As much of a socket as the parser asks for."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._raw)
