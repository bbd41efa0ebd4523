"""Calls an ASGI application without a network: bodies as a list of chunks, answers whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

CUT = object()
"""In a list of body chunks: the client goes."""


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    finished: bool = False

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error envelope."""
        return str(self.json()["errors"][0]["code"])


class AsgiClient:
    """`async with AsgiClient(app) as client:` runs the lifespan around the block."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.state: dict[str, Any] = {}
        self.read: list[bytes] = []
        """Chunks of the last request that the application asked for."""
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __aenter__(self) -> AsgiClient:
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self.state}
        self._lifespan = asyncio.create_task(self.app(scope, self._events.get, self._said.put))
        await self._events.put({"type": "lifespan.startup"})
        said = await self._said.get()
        assert said["type"] == "lifespan.startup.complete", said
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._events.put({"type": "lifespan.shutdown"})
        await self._lifespan

    async def __call__(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        json_body: Any = None,
        address: str = "192.0.2.1",
        announce: bool = True,
    ) -> Answer:
        """One request. A body given as bytes is announced by Content-Length; a list of chunks is not."""
        given = {name.lower(): value for name, value in (headers or {}).items()}
        given.setdefault("host", "destination.test:8080")
        if json_body is not None:
            body = json.dumps(json_body).encode()
        chunks: list[Any] = [body] if isinstance(body, bytes) else list(body or [])
        if isinstance(body, bytes) and announce:
            given.setdefault("content-length", str(len(body)))
        elif chunks and "content-length" not in given:
            given["transfer-encoding"] = "chunked"
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
            "client": (address, 40000),
            "server": ("destination.test", 8080),
            "state": dict(self.state),
        }
        answer = Answer()
        self.read = []
        over = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if chunks:
                chunk = chunks.pop(0)
                if chunk is CUT:
                    chunks.insert(0, CUT)
                    return {"type": "http.disconnect"}
                self.read.append(chunk)
                return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}
            if not self.read:
                self.read.append(b"")
                return {"type": "http.request", "body": b"", "more_body": False}
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")
                if not message.get("more_body", False):
                    answer.finished = True
                    over.set()

        await self.app(scope, receive, send)
        return answer
