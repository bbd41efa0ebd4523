"""A small blocking HTTP client for the demo's own servers: JSON in, JSON out, and one stream of events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from growi_transfer.protocol.errors import PeerRefused, PeerUnavailable
from growi_transfer.protocol.wire import KEY_HEADER, PREFIX

_SECONDS = 120.0
"""Longer than anything takes that answers at all; event streams send something every 15 s."""


class Client:
    """Talks to one server as its admin, or as a peer with a transfer key."""

    def __init__(self, url: str, admin_token: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._admin = {"authorization": f"Bearer {admin_token}"}

    def healthy(self) -> bool:
        """Whether the server answers `GET /healthz` with 200."""
        connection = HTTPConnection(*self._address, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def get(self, path: str, *, key: str | None = None) -> Any:
        return self._json("GET", path, None, key)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._json("POST", path, {} if body is None else body, None)

    def events(self, path: str) -> Iterator[dict[str, Any]]:
        """The data of each event, until the server ends the stream. Raises PeerUnavailable when the line breaks."""
        connection, response = self._send("GET", path, None, self._admin)
        try:
            for line in response:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
        except (OSError, HTTPException) as error:
            raise PeerUnavailable(f"The event stream broke: {error}.") from error
        finally:
            connection.close()

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None, key: str | None) -> Any:
        headers = self._admin if key is None else {KEY_HEADER: key}
        connection, response = self._send(method, path, body, headers)
        try:
            text = response.read()
        except (OSError, HTTPException) as error:
            raise PeerUnavailable(f"The answer broke off: {error}.") from error
        finally:
            connection.close()
        return json.loads(text) if text else None

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> tuple[HTTPConnection, HTTPResponse]:
        """Raises PeerUnavailable, and PeerRefused for any answer that is no success."""
        connection = HTTPConnection(*self._address, timeout=_SECONDS)
        try:
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, PREFIX + path, content, {"content-type": "application/json", **headers})
            response = connection.getresponse()
            if response.status < 300:
                return connection, response
            text = response.read()
        except (OSError, HTTPException) as error:
            connection.close()
            raise PeerUnavailable(f"{method} {path}: {error}.") from error
        connection.close()
        raise _refusal(method, path, response.status, text)


def _refusal(method: str, path: str, status: int, text: bytes) -> PeerRefused:
    try:
        first = json.loads(text)["errors"][0]
        return PeerRefused(f"{method} {path}: {first['message']}", code=str(first["code"]), status=status)
    except (ValueError, LookupError, TypeError):
        return PeerRefused(f"{method} {path}: HTTP {status}", code="unexpected_answer", status=status)
