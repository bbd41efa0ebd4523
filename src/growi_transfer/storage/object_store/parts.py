"""The parts of a large file on its way in, and what keeps them: the interface, and what both kinds have in common.

    .growi-transfer/.parts/<upload id>/about                what is known of the upload, as JSON
    .growi-transfer/.parts/<upload id>/<start>-<length>     a part: 16 and 8 hexadecimal digits

What is there is asked of the store, so nothing has to be kept elsewhere, and a receiver may go on on another machine.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from growi_transfer.storage.base import FileMeta
from growi_transfer.storage.object_store.bucket import Bucket
from growi_transfer.storage.paths import OWN_PREFIX

UPLOADS = OWN_PREFIX + ".parts/"
"""Not `.uploads/`: SeaweedFS lists no folder of that name."""
_ABOUT = "about"
PART = 8 << 20
"""Bytes of every part but the last one."""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """Where a part lies in the file, in bytes."""

    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length

    @property
    def name(self) -> str:
        return f"{self.start:016x}-{self.length:08x}"


@dataclass(slots=True)
class Beginning:
    """What is durable of an upload."""

    whole: int = 0
    """Parts of PART bytes, from the beginning and without a gap."""
    tail: bytes = b""
    """What comes behind them."""
    meta: FileMeta | None = None


def folder_of(upload_id: str) -> str:
    """Where the objects of an upload are."""
    return f"{UPLOADS}{upload_id}/"


def part_at(number: int) -> Part:
    """A whole part; the first has number 1."""
    return Part((number - 1) * PART, PART)


class PartStore(Protocol):
    """Keeps the parts of one upload. Parts may be put at the same time and in any order."""

    async def find(self) -> Beginning:
        """What is durable. What lies behind a gap is removed: it was under way when its writer died."""

    async def put(self, number: int, data: bytes | bytearray) -> None:
        """Store a whole part; the first has number 1."""

    async def put_tail(self, part: Part, data: bytes) -> None:
        """Store what comes behind the whole parts, in place of an earlier tail."""

    async def drop_tail(self) -> None:
        """Remove the tail: its bytes are in a whole part now."""

    async def digest(self, whole: int, tail: bytes) -> bytes | None:
        """SHA-256 of so many parts as they are stored, and the tail; None where parts cannot be read."""

    async def compose(self, path: str, whole: int, tail: bytes, digest: bytes | None) -> None:
        """Make the file visible. Raises StorageUnavailable when it would not have this digest, where that is known."""

    async def remove(self) -> None:
        """Remove every trace."""


class Folder:
    """The objects of one upload."""

    def __init__(self, bucket: Bucket, upload_id: str) -> None:
        self._bucket = bucket
        self._folder = folder_of(upload_id)

    def path(self, part: Part) -> str:
        return self._folder + part.name

    async def find(self) -> tuple[list[Part], dict[str, Any] | None]:
        """All parts, longest first of those with one start, and what is known of the upload if anything is."""
        found: list[Part] = []
        has_about = False
        async for page in self._bucket.pages(self._folder):
            for one in page:
                start, dash, length = one.path.removeprefix(self._folder).partition("-")
                has_about |= start == _ABOUT
                if dash and int(length, 16) == one.size:
                    found.append(Part(int(start, 16), one.size))
        about: dict[str, Any] | None = None
        if has_about:
            _, text = await self._bucket.get(self._folder + _ABOUT, 1 << 20)
            about = json.loads(text)
        return sorted(found, key=lambda part: (part.start, -part.length)), about

    async def put_about(self, about: dict[str, Any]) -> None:
        await self._bucket.put(self._folder + _ABOUT, json.dumps(about).encode())

    async def drop(self, parts: Sequence[Part]) -> None:
        await asyncio.gather(*(self._bucket.delete(self.path(part)) for part in parts))

    async def remove(self) -> None:
        """Remove everything, what is known of the upload last: a remover that dies is followed by another one."""
        names = [one.path async for page in self._bucket.pages(self._folder) for one in page]
        about = self._folder + _ABOUT
        await asyncio.gather(*(self._bucket.delete(name) for name in names if name != about))
        if about in names:
            await self._bucket.delete(about)


def meta_in(about: dict[str, Any]) -> FileMeta:
    return FileMeta(str(about.get("content_type", "")), str(about.get("original_name", "")))


def about_of(meta: FileMeta | None) -> dict[str, Any]:
    meta = meta or FileMeta()
    return {"content_type": meta.content_type, "original_name": meta.original_name}
