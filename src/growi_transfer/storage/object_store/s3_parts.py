"""Parts of one multipart upload of S3, which is completed in the end: each byte goes to the store once.

The store has the parts, and their list survives this process; `about` keeps the name of the multipart upload. What S3
cannot do is to read a part before the upload is complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from growi_transfer.storage.base import FileMeta
from growi_transfer.storage.object_store.bucket import Bucket
from growi_transfer.storage.object_store.parts import PART, Beginning, Folder, Part, about_of, folder_of, meta_in
from growi_transfer.storage.object_store.s3_long import LongUpload
from growi_transfer.storage.object_store.s3_multipart import UploadGone
from growi_transfer.storage.object_store.s3_requests import S3Requests


class S3Parts:
    """The parts of one upload to one path. Nothing is in the store before the first part or tail."""

    def __init__(self, bucket: Bucket, requests: S3Requests, path: str, upload_id: str, meta: FileMeta | None) -> None:
        self._bucket = bucket
        self._requests = requests
        self._path = path
        self._folder = Folder(bucket, upload_id)
        self._own_folder = folder_of(upload_id)
        self._meta = meta
        self._about: dict[str, Any] | None = None
        self._upload = self._long(path)
        self._tail: Part | None = None
        self._turn = asyncio.Lock()

    async def find(self) -> Beginning:
        found, self._about = await self._folder.find()
        if self._about is None:
            return Beginning()
        if upload_id := self._about.get("multipart"):
            self._upload = self._long(self._about["path"], upload_id)
            self._upload.know({int(at): str(name) for at, name in self._about.get("segments", {}).items()})
            if self._about["path"] != self._path:
                await self.remove()
                return Beginning()
        self._meta = self._meta or meta_in(self._about)
        beginning = Beginning(meta=self._meta)
        if upload_id:
            try:
                beginning.whole = await self._upload.find()
            except UploadGone:
                # Completed, and stopped before this was removed, or removed by a rule of the bucket.
                await self.remove()
                return Beginning()
        end = beginning.whole * PART
        self._tail = next((part for part in found if part.start == end), None)
        await self._folder.drop([part for part in found if part != self._tail])
        if self._tail is not None:
            _, beginning.tail = await self._bucket.get(self._folder.path(self._tail), self._tail.length)
        return beginning

    async def put(self, number: int, data: bytes | bytearray) -> None:
        await self._begin()
        await self._upload.put(number, data)

    async def put_tail(self, part: Part, data: bytes) -> None:
        if self._about is None:
            await self._keep(about_of(self._meta))
        await self._bucket.put(self._folder.path(part), data)
        if self._tail not in (None, part):
            await self.drop_tail()
        self._tail = part

    async def drop_tail(self) -> None:
        if self._tail is not None:
            await self._folder.drop([self._tail])
            self._tail = None

    async def digest(self, whole: int, tail: bytes) -> bytes | None:
        return None

    async def compose(self, path: str, whole: int, tail: bytes, digest: bytes | None) -> None:
        if not whole:
            await self._bucket.put(path, tail, self._meta)
            return
        if tail:
            await self.put(whole + 1, tail)
        await self._upload.complete(whole + bool(tail), whole * PART + len(tail))
        self._upload = self._long(self._path)

    async def remove(self) -> None:
        if self._upload.upload_id:
            await self._upload.abort()
            self._upload = self._long(self._path)
        await self._folder.remove()
        self._about = None

    async def _begin(self) -> None:
        """The upload is kept before its first part is sent, so that whoever comes later can remove it."""
        async with self._turn:
            if self._about is None or not self._about.get("multipart"):
                upload = self._long(self._path)
                await upload.begin(self._meta)
                try:
                    await self._keep(about_of(self._meta) | {"multipart": upload.upload_id, "path": self._path})
                except BaseException:
                    await upload.abort()
                    raise
                self._upload = upload

    def _long(self, path: str, upload_id: str = "") -> LongUpload:
        return LongUpload(
            self._bucket, self._requests, path, self._own_folder, upload_id=upload_id, note=self._note_segments
        )

    async def _note_segments(self, segments: Mapping[int, str]) -> None:
        await self._keep((self._about or {}) | {"segments": {str(at): name for at, name in segments.items()}})

    async def _keep(self, about: dict[str, Any]) -> None:
        await self._folder.put_about(about)
        self._about = about
