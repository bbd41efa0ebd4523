"""Attachments in an object store, in GROWI's layout: the key is the path, behind the upload namespace if there is one.

Other applications may have objects in the same bucket: only GROWI's folders and our own are looked at.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from growi_transfer.protocol.errors import (
    FileNotFound,
    NameIllegal,
    SizeMismatch,
    StorageNotConfigured,
    StorageNotWritable,
    StorageRefused,
    StorageUnavailable,
    TransferError,
)
from growi_transfer.protocol.places import FOLDERS
from growi_transfer.storage.base import BucketCopies, Features, FileMeta, SmallFile, StoredFile
from growi_transfer.storage.object_store import large, reading, s3_objects
from growi_transfer.storage.object_store.bucket import Bucket, Found
from growi_transfer.storage.object_store.leftovers import PROBES, ObjectLeftovers
from growi_transfer.storage.object_store.partial import ObjectPartialUpload
from growi_transfer.storage.object_store.presence import Presence
from growi_transfer.storage.paths import OWN_PREFIX, split_path
from growi_transfer.storage.places import Place

_COPY_SECONDS = 600.0


class ObjectStorage:
    """Nothing is asked of the store before the first operation."""

    def __init__(self, place: Place) -> None:
        self._bucket = Bucket(place)
        self._presence = Presence(self._bucket)
        self._kind = place.kind
        self._features = Features(
            kind=place.kind,
            remote=True,
            place=f"the {place}" + (f" (below {place.prefix})" if place.prefix else ""),
            unset_acl=place.unset_acl,
        )
        self.unfinished = ObjectLeftovers(self._bucket)
        self.copies: BucketCopies | None = None
        if self._bucket.s3 is not None:
            self.copies = s3_objects.S3Copies(self._bucket, self._bucket.s3)
        """Copies from other buckets; None where they are not done by the store."""

    @property
    def features(self) -> Features:
        return self._features

    async def open(self, path: str, offset: int = 0) -> AsyncGenerator[bytes, None]:
        _check(path)
        async for chunk in reading.read(self._bucket, path, offset):
            yield chunk

    async def write(self, path: str, chunks: AsyncIterator[bytes], size: int, meta: FileMeta | None = None) -> None:
        _check(path)
        await large.write(self._bucket, path, chunks, size, meta)

    async def stat_many(self, paths: Sequence[str]) -> list[StoredFile | None]:
        for path in paths:
            _check(path)
        found = await self._presence.look(paths)
        return [_stored(one) if one else None for one in found]

    async def list_files(self, prefix: str = "") -> AsyncIterator[list[StoredFile]]:
        if prefix.startswith(OWN_PREFIX):
            folders: Sequence[str] = (prefix[: prefix.rindex("/") + 1],)
        else:
            folders = [folder for folder in FOLDERS if folder.startswith(prefix) or prefix.startswith(folder)]
        before = ""
        for folder in folders:
            async for page in self._bucket.pages(folder):
                names = [one.path for one in page]
                if names != sorted(names) or names[0] <= before:
                    raise StorageNotConfigured(
                        f"The {self._bucket.place} lists its objects in no order, as directory buckets of S3 Express "
                        "do; attachments must be in a general purpose bucket."
                    )
                before = names[-1]
                files = [
                    _stored(one)
                    for one in page
                    if one.path.startswith(prefix) and one.path.startswith(folder) and _is_path(one.path)
                ]
                if files:
                    yield files

    async def delete(self, path: str) -> None:
        _check(path)
        await self._bucket.delete(path)

    async def delete_many(self, paths: Sequence[str]) -> None:
        for path in paths:
            _check(path)
        await asyncio.gather(*(self._bucket.delete(path) for path in dict.fromkeys(paths)))

    async def read_many(self, paths: Sequence[str], limit: int) -> list[bytes | TransferError]:
        return await asyncio.gather(*(self._read_one(path, limit) for path in paths))

    async def _read_one(self, path: str, limit: int) -> bytes | TransferError:
        try:
            _check(path)
            size, data = await self._bucket.get(path, limit)
        except TransferError as error:
            return error
        return SizeMismatch(path=path, limit=limit) if size > limit else data

    async def write_many(self, files: Sequence[SmallFile]) -> list[TransferError | None]:
        last = {file.path: file for file in files}
        results = dict(zip(last, await asyncio.gather(*map(self._write_one, last.values())), strict=True))
        return [results[file.path] for file in files]

    async def _write_one(self, file: SmallFile) -> TransferError | None:
        try:
            _check(file.path)
            await self._bucket.put_small(file.path, file.data, file.meta)
        except TransferError as error:
            return error
        return None

    async def partial(self, path: str, upload_id: str, meta: FileMeta | None = None) -> ObjectPartialUpload:
        _check(path)
        upload = ObjectPartialUpload(self._bucket, path, upload_id, meta)
        await upload.open()
        return upload

    async def move(self, source: str, target: str) -> None:
        _check(source)
        _check(target)
        found = await self._bucket.head(source)
        if found is None:
            if await self._bucket.head(target) is None:
                raise FileNotFound(path=source)
        elif source != target:
            await self._copy(found, target)
            await self._wait_for(target, found.size)
            await self._bucket.delete(source)

    async def _copy(self, found: Found, target: str) -> None:
        if self._kind != "aws" or found.size <= s3_objects.ONE_REQUEST:
            await self._bucket.copy(found.path, target)
            return
        meta = await self._bucket.meta(found.path)
        if isinstance(self.copies, s3_objects.S3Copies):
            await self.copies.copy_large(found, target, meta)
        else:
            await large.write(self._bucket, target, reading.read(self._bucket, found.path), found.size, meta)

    async def _wait_for(self, path: str, size: int) -> None:
        """A copy of Azure may still be under way when its request has been answered; it has no bytes until then."""
        try:
            async with asyncio.timeout(_COPY_SECONDS):
                while True:
                    found = await self._bucket.head(path)
                    if found is not None and found.size == size:
                        return
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise StorageUnavailable("The attachment storage has not copied the file in time.", path=path) from None

    async def probe(self) -> None:
        path, data = f"{PROBES}{os.urandom(12).hex()}", os.urandom(64)
        try:
            await self._bucket.put_small(path, data)
            _, read = await self._bucket.get(path, len(data))
            await self._bucket.delete(path)
        except StorageRefused as error:
            raise StorageNotWritable(error.message) from None
        if read != data:
            raise StorageUnavailable("What was written to the attachment storage was not read back.")

    async def free_bytes(self) -> int | None:
        return None

    async def close(self) -> None:
        await self._bucket.close()


def _check(path: str) -> None:
    """Raises NameIllegal: also for what no key of an object store may have."""
    split_path(path)
    if len(path.encode()) > 900:
        raise NameIllegal("The path has more than the 1,024 bytes that the key of an object may have.", path=path[:80])
    if any(character < " " or character == "\x7f" for character in path):
        raise NameIllegal("A key of an object store has no control characters.", path=path[:80])


def _stored(found: Found) -> StoredFile:
    return StoredFile(found.path, found.size, found.modified, etag=found.etag or "")


def _is_path(path: str) -> bool:
    try:
        split_path(path)
    except NameIllegal:
        return False
    return True
