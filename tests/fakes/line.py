"""The line between two real servers, watched: what went over it, what went over it again, and what was in flight."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from tests.fakes.fault_proxy import FaultProxy, Request

_DATA = re.compile(r"(PUT .*/volumes/|POST .*/attachments$|PATCH )")
_MAGIC = b"growi-transfer bundle 1\n"


@dataclass(frozen=True)
class Sent:
    """Bytes of one thing (a range, a file, a large file from an offset) that one request carried."""

    unit: str
    at: float
    start: int
    end: int


class Line:
    """A `FaultProxy` in a thread of its own, because the test waits for processes. Use it as a context manager."""

    def __init__(self, target_port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line")
        self.proxy = FaultProxy(target_port)
        self.proxy.keeps = re.compile(r"POST .*/attachments$")

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.proxy.up(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.proxy.down(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def requests(self) -> list[Request]:
        """Those that carry data, in the order in which they came."""
        return [one for one in list(self.proxy.requests) if _DATA.match(f"{one.method} {one.path}")]

    @property
    def sent(self) -> int:
        """Bytes of data that went over the line so far."""
        return sum(one.sent for one in self.requests)

    def most_in_flight(self) -> int:
        """The most bytes that requests which were open at one moment announced."""
        requests = self.requests
        return max((sum(two.length for two in requests if two.at <= one.at < two.ended) for one in requests), default=0)

    def sent_again(self, kills: Sequence[float]) -> list[int]:
        """For each kill, by its time: bytes that had been sent before it, and were sent once more after it."""
        again = [0] * (len(kills) + 1)
        reached: dict[str, Sent] = {}
        for sent in self._units():
            before = reached.get(sent.unit)
            if before is not None:
                # A large file goes on at an offset: only what lies behind that had been sent for nothing.
                again[bisect_right(kills, sent.at)] += max(0, before.end - sent.start)
            reached[sent.unit] = sent
        assert again[0] == 0, "before the first kill nothing is sent twice"
        return again[1:]

    def _units(self) -> Iterator[Sent]:
        for one in self.requests:
            if one.method == "POST":
                yield from _files(one)
            else:
                start = int(one.headers.get("upload-offset", 0))
                yield Sent(one.path, one.at, start, start + one.sent)


def _files(request: Request) -> Iterator[Sent]:
    """The files of a bundle, as far as they were sent."""
    body, position = bytes(request.body), len(_MAGIC)
    assert body.startswith(_MAGIC[: len(body)])
    while position + 4 <= len(body):
        content = position + 4 + int.from_bytes(body[position : position + 4], "big")
        if content > len(body):
            return
        file = json.loads(body[position + 4 : content])
        yield Sent(file["id"], request.at, 0, min(len(body), content + file["size"]) - position)
        position = content + file["size"]
