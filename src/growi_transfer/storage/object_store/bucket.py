"""Single requests to one bucket: the keys, the retries and the words for what went wrong.

Everything above speaks of paths; a key is the path behind the place's prefix.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import obstore

from growi_transfer.protocol.errors import FileNotFound, StorageRefused, TransferError
from growi_transfer.storage.base import FileMeta
from growi_transfer.storage.object_store.clients import Client, open_client
from growi_transfer.storage.object_store.faults import fault_of, told
from growi_transfer.storage.object_store.headers import attributes, meta_in
from growi_transfer.storage.object_store.running_digests import RunningDigests
from growi_transfer.storage.object_store.s3_requests import S3Requests
from growi_transfer.storage.paths import OWN_PREFIX
from growi_transfer.storage.places import Place
from growi_transfer.storage.retry import Fault, StorageRetry

if TYPE_CHECKING:
    from obstore import ListStream, ObjectMeta

T = TypeVar("T")

PAGE = 1000
REQUESTS = 48
"""Small requests in flight to one store."""
PARTS = 8
"""Parts of large files in flight to one store, or read ahead from it: their number times their size is the memory."""


class Changed(Exception):
    """The object is not the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object that is there."""

    path: str
    size: int
    etag: str | None
    modified: float
    """When it was written, in seconds since 1970."""


class Bucket:
    """`client` and `writer` talk to the same place; the second tries again by itself inside a multipart upload. `s3`
    is there for S3 with an access key of GROWI's."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.client: Client = open_client(place)
        self.writer: Client = open_client(place, tries_again=True)
        self.s3 = S3Requests(place) if place.kind == "aws" and place.access_key_id else None
        self.retry = StorageRetry(fault_of)
        self.parts = asyncio.Semaphore(PARTS)
        self.digests = RunningDigests()
        self._requests = asyncio.Semaphore(REQUESTS)
        self._is_there = False

    async def close(self) -> None:
        if self.s3 is not None:
            await self.s3.close()

    def key(self, path: str) -> str:
        return self.place.prefix + path

    async def run(self, call: Callable[[], Awaitable[T]], path: str, *, writing: bool = False) -> T:
        """One request, made again where that helps. Raises the errors of the interface, and Changed."""
        try:
            return await self.retry(call)
        except TransferError:
            raise
        except Exception as error:  # noqa: BLE001 (obstore's errors have no common root)
            if fault_of(error) is Fault.CHANGED:
                raise Changed from None
            raise told(error, self.place, path, writing=writing) from None

    async def head(self, path: str) -> Found | None:
        """The object, or None."""

        async def call() -> Found:
            meta = await obstore.head_async(self.client, self.key(path))
            return _found(path, meta)

        try:
            async with self._requests:
                found = await self.run(call, path)
        except FileNotFound:
            if not self._is_there:
                await self._look()
            return None
        except StorageRefused:
            await self._look()
            raise
        self._is_there = True
        return found

    async def _look(self) -> None:
        """Raises what is wrong with the bucket: the answer to a HEAD has no words for it."""
        async for _ in self.pages(OWN_PREFIX):
            break
        self._is_there = True

    async def get(self, path: str, limit: int) -> tuple[int, bytes]:
        """Size and content of an object; one of more than `limit` bytes is not read."""

        async def call() -> tuple[int, bytes]:
            answer = await obstore.get_async(self.client, self.key(path))
            size = answer.meta["size"]
            return size, b"" if size > limit else bytes(await answer.bytes_async())

        async with self._requests:
            return await self.run(call, path)

    async def meta(self, path: str) -> FileMeta:
        """What is stored beside the bytes of an object that is not empty."""

        async def call() -> FileMeta:
            answer = await obstore.get_async(self.client, self.key(path), options={"range": (0, 1)})
            return meta_in(answer.attributes)

        async with self._requests:
            return await self.run(call, path)

    async def get_range(self, path: str, start: int, end: int, etag: str | None) -> memoryview:
        """Bytes of an object. Raises Changed when its ETag is another one."""

        async def call() -> memoryview:
            answer = await obstore.get_async(
                self.client, self.key(path), options={"range": (start, end), "if_match": etag}
            )
            data = memoryview(await answer.bytes_async())
            if len(data) != end - start:
                raise Changed
            return data

        return await self.run(call, path)

    async def put(self, path: str, data: bytes | bytearray | memoryview, meta: FileMeta | None = None) -> None:
        """A whole object of some MiB at most, in one request."""

        async def call() -> None:
            if self.s3 is not None and self.place.acl:
                # obstore has no name for this header.
                headers = {name.lower(): value for name, value in attributes(meta).items()}
                await self.s3.send("PUT", self.key(path), {}, headers | {"x-amz-acl": self.place.acl}, data)
                return
            await obstore.put_async(self.client, self.key(path), data, attributes=attributes(meta), use_multipart=False)

        await self.run(call, path, writing=True)

    async def put_small(self, path: str, data: bytes | bytearray | memoryview, meta: FileMeta | None = None) -> None:
        """`put`, one of many."""
        async with self._requests:
            await self.put(path, data, meta)

    async def delete(self, path: str) -> None:
        async def call() -> None:
            await obstore.delete_async(self.client, self.key(path))

        async with self._requests:
            try:
                await self.run(call, path, writing=True)
            except FileNotFound:
                return

    async def copy(self, source: str, target: str) -> None:
        async def call() -> None:
            if self.s3 is not None and self.place.acl:
                # A copy does not take it along.
                named = quote(f"/{self.place.bucket}/{self.key(source)}", safe="/-_.~")
                headers = {"x-amz-copy-source": named, "x-amz-acl": self.place.acl}
                await self.s3.send("PUT", self.key(target), {}, headers)
                return
            await obstore.copy_async(self.client, self.key(source), self.key(target))

        async with self._requests:
            await self.run(call, source, writing=True)

    async def pages(self, folder: str) -> AsyncIterator[list[Found]]:
        """Everything in a folder (with a slash at its end; empty: all), page by page, as the store sorts it. Goes on
        behind the last page when a request fails.

        Folders that a console has made are left out: objects whose keys end in a slash, without which they come."""
        skip = len(self.place.prefix)
        last: str | None = None
        told_again = False
        stream: ListStream[Sequence[ObjectMeta]] | None = None

        async def call() -> Sequence[ObjectMeta]:
            nonlocal stream, told_again
            if stream is None:
                told_again = last is not None
                stream = obstore.list(self.client, self.key(folder) or None, offset=last, chunk_size=PAGE)
            try:
                return await anext(stream)
            except StopAsyncIteration:
                return ()
            except Exception:
                stream = None
                raise

        while page := await self.run(call, folder):
            self._is_there = True
            # Those behind a folder that was the last one of a page are told again.
            new = [one for one in page if one["path"] > last] if told_again and last else page
            found = [_found(one["path"][skip:], one) for one in new]
            files = found if all(one.size for one in found) else await self._without_folders(found)
            if files:
                last = self.key(files[-1].path)
                yield files

    async def _without_folders(self, found: list[Found]) -> list[Found]:
        """A folder has no bytes, and there is no object under its key without the slash."""
        there = await asyncio.gather(*(self.head(one.path) for one in found if not one.size))
        files = {one.path for one in there if one is not None}
        return [one for one in found if one.size or one.path in files]


def _found(path: str, meta: ObjectMeta) -> Found:
    return Found(path, meta["size"], meta["e_tag"], meta["last_modified"].timestamp())
