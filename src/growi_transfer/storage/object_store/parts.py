"""The parts of a large file on its way in, each an object of its own, until the file is put together from them.

    .growi-transfer/.uploads/<upload id>/about                    the headers of the file, as JSON
    .growi-transfer/.uploads/<upload id>/<start>-<length>         a part: 16 and 8 hexadecimal digits

Which parts are there is asked of the store, so that nothing has to be kept elsewhere: a listing tells how much is
durable.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from growi_transfer.protocol.errors import FileNotFound, StorageUnavailable
from growi_transfer.storage.base import FileMeta
from growi_transfer.storage.object_store.bucket import Bucket
from growi_transfer.storage.paths import OWN_PREFIX

UPLOADS = OWN_PREFIX + ".uploads/"
_AHEAD = 3
_ABOUT = "about"


@dataclass(frozen=True, slots=True, order=True)
class Part:
    start: int
    length: int

    @property
    def name(self) -> str:
        return f"{self.start:016x}-{self.length:08x}"


class Parts:
    """The parts of one upload."""

    def __init__(self, bucket: Bucket, upload_id: str) -> None:
        self._bucket = bucket
        self._folder = f"{UPLOADS}{upload_id}/"

    async def find(self) -> tuple[list[Part], bool, FileMeta | None]:
        """The parts that are durable and follow one another from the beginning, whether anything at all is there, and
        the headers if they were kept. Parts behind a gap are removed: they were under way when their writer died."""
        found: list[Part] = []
        anything = has_about = False
        async for page in self._bucket.pages(self._folder):
            for one in page:
                anything = True
                name = one.path.removeprefix(self._folder)
                has_about |= name == _ABOUT
                start, dash, length = name.partition("-")
                if dash and int(length, 16) == one.size:
                    found.append(Part(int(start, 16), one.size))
        chain: list[Part] = []
        end = 0
        # Of two with one start the longer one was written later.
        for part in sorted(found, key=lambda part: (part.start, -part.length)):
            if part.start == end and part.length:
                chain.append(part)
                end += part.length
        await self.remove([part for part in found if part not in set(chain)])
        return chain, anything, await self._read_about() if has_about else None

    async def put(self, part: Part, data: bytes | memoryview) -> None:
        await self._bucket.put(self._folder + part.name, data)

    async def put_about(self, meta: FileMeta) -> None:
        text = json.dumps({"content_type": meta.content_type, "original_name": meta.original_name})
        await self._bucket.put(self._folder + _ABOUT, text.encode())

    async def _read_about(self) -> FileMeta | None:
        _, text = await self._bucket.get(self._folder + _ABOUT, 1 << 20)
        about = json.loads(text)
        return FileMeta(str(about["content_type"]), str(about["original_name"]))

    async def read(self, chain: Sequence[Part]) -> AsyncGenerator[bytes, None]:
        """The bytes of these parts, one part a piece, some of them read ahead."""
        ahead: deque[asyncio.Task[tuple[int, bytes]]] = deque()
        waiting = deque(chain)
        try:
            while waiting or ahead:
                while waiting and len(ahead) < _AHEAD:
                    part = waiting.popleft()
                    ahead.append(asyncio.ensure_future(self._bucket.get(self._folder + part.name, part.length)))
                try:
                    _, data = await ahead[0]
                except FileNotFound:
                    raise StorageUnavailable("A part of the upload is not there any more.") from None
                ahead.popleft()
                yield data
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)

    async def remove(self, parts: Sequence[Part]) -> None:
        await asyncio.gather(*(self._bucket.delete(self._folder + part.name) for part in parts))

    async def remove_all(self) -> None:
        """Remove every trace of the upload. What would say that there is one goes last."""
        names: list[str] = []
        async for page in self._bucket.pages(self._folder):
            names += [one.path for one in page]
        about = self._folder + _ABOUT
        await asyncio.gather(*(self._bucket.delete(name) for name in names if name != about))
        if about in names:
            await self._bucket.delete(about)
