"""The outermost layer around the routes: a refusal reaches its reader, no error escapes, no answer lacks its headers.

A peer that is answered while it still sends usually never sees the answer: closing a socket that holds unread bytes
resets the connection, and the reset throws away what the peer had not read yet. So when a route answers before it has
read the body, the answer goes out at once and whole, and then what still comes is read and thrown away, up to a limit;
after that the connection is closed. A stranger's body is not read: its connection stays open for a moment, unread,
and is closed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from growi_transfer.web.errors import internal_error_response, stopped_response
from growi_transfer.web.services import Limits

_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    # What a route sets itself is left as it is.
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    # Not `no-referrer`: with that a browser sends `Origin: null` from our own login form.
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
)


class Refusals:
    """ASGI middleware. `request.state.trusted` (see `web.auth.trust`) tells whether the sender is known."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive)
        answer = _Answer(scope["state"], send, body)
        try:
            await self._app(scope, body.receive, answer.send)
        except asyncio.CancelledError:
            # The server has waited long enough for this request. It would answer it with a bare 500.
            if answer.started or not _is_stopping(scope):
                raise
            await stopped_response()(scope, body.receive, answer.send_last)
        except Exception as error:
            request = Request(scope)
            response = stopped_response() if _is_stopping(scope) else internal_error_response(request, error)
            if answer.started:
                # Too late for another answer; the server cuts the connection, so that the reader sees it is not whole.
                raise
            await response(scope, body.receive, answer.send)


def _is_stopping(scope: Scope) -> bool:
    """A server that stops closes its parts under requests that do not end: what breaks in them then is no fault, and
    the peer that is told so sends the same again when the server is back."""
    stopping = scope["state"].get("stopping")
    return stopping is not None and stopping.is_set()


class _Body:
    """What is known of the request's body while the routes read it."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        headers = dict(scope["headers"])
        self.unread = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        self.awaits_continue = b"expect" in headers
        """The sender waits for our word before it sends anything."""

    async def receive(self) -> Message:
        self.awaits_continue = False
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self.unread = False
        return message

    async def drain(self, limit: int) -> None:
        """Read and throw away until the end, or until more than `limit` bytes came."""
        while self.unread and limit >= 0:
            limit -= len((await self.receive()).get("body", b""))


class _Answer:
    def __init__(self, state: dict[str, Any], send: Send, body: _Body) -> None:
        self._state = state
        self._send = send
        self._body = body
        self._closing = False
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self._closing = self._body.unread
            await self._send({**message, "headers": self._headers(list(message.get("headers", ())))})
        elif self._closing and message["type"] == "http.response.body" and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._wait()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._send(message)

    async def send_last(self, message: Message) -> None:
        """For an answer that nobody waits for any more: what still comes in is left unread."""
        if message["type"] == "http.response.start":
            self._closing = True
            message = {**message, "headers": self._headers(list(message.get("headers", ())))}
        await self._send(message)

    def _headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        given = {name for name, _ in headers}
        headers.extend(header for header in _HEADERS if header[0] not in given)
        if self._closing:
            headers.append((b"connection", b"close"))
        return headers

    async def _wait(self) -> None:
        limits: Limits = self._state["services"].limits
        if self._body.awaits_continue:
            return
        if not self._state.get("trusted"):
            await asyncio.sleep(limits.linger_seconds)
            return
        try:
            async with asyncio.timeout(limits.drain_seconds):
                await self._body.drain(limits.drain_bytes)
        except TimeoutError:
            return
