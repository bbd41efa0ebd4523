"""What processes that were killed have left in a bucket: parts of files that nobody finishes, and files of probes.

Parts take space that no listing of objects shows. Nobody's are those under a name that GROWI or we would give, which no
upload of ours has noted as its own (`parts`), and which are old. Only S3 with GROWI's own key tells them: Azure forgets
such parts after a week by itself, and Google's store by a rule of the bucket.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from growi_transfer.protocol.errors import FileNotFound, StorageRefused, StorageUnavailable
from growi_transfer.protocol.places import FOLDERS, is_made_by_growi
from growi_transfer.storage.base import Leftover
from growi_transfer.storage.object_store.bucket import Bucket
from growi_transfer.storage.object_store.large import WRITE
from growi_transfer.storage.object_store.parts import UPLOADS
from growi_transfer.storage.object_store.s3_multipart import S3Multipart, UploadGone
from growi_transfer.storage.object_store.s3_requests import values
from growi_transfer.storage.paths import OWN_PREFIX

PROBES = OWN_PREFIX + "probe/"
_PAGE = "1000"
_ABOUT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Multipart:
    path: str
    upload_id: str
    written: float
    """When its last part came, or when it began."""
    size: int = 0

    @property
    def name(self) -> str:
        return f"{self.path}?uploadId={self.upload_id}"


class ObjectLeftovers:
    """The `Leftovers` of a bucket, named by the path of an object, or by that and the name of a multipart upload."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def leftovers(self, older_than: timedelta) -> AsyncIterator[list[Leftover]]:
        border = time.time() - older_than.total_seconds()
        async for objects in self._objects(border):
            yield objects
        async for uploads in self._multiparts(border):
            yield [Leftover(one.name, one.size, one.written) for one in uploads]

    async def remove_leftovers(self, names: Sequence[str], older_than: timedelta) -> set[str]:
        border = time.time() - older_than.total_seconds()
        wanted, removed = set(names), set[str]()
        async for objects in self._objects(border):
            for found in objects:
                if found.name in wanted:
                    await self._bucket.delete(found.name)
                    removed.add(found.name)
        async for uploads in self._multiparts(border):
            for one in uploads:
                if one.name in wanted:
                    await self._upload(one.path, one.upload_id).abort()
                    removed.add(one.name)
        return removed

    async def _objects(self, border: float) -> AsyncIterator[list[Leftover]]:
        """Files of probes, and segments (`s3_long`) of writes that ended with their process."""
        for folder, begins in ((UPLOADS, UPLOADS + WRITE), (PROBES, PROBES)):
            async for page in self._bucket.pages(folder):
                found = [one for one in page if one.path.startswith(begins) and one.modified < border]
                if found:
                    yield [Leftover(one.path, one.size, one.modified) for one in found]

    async def _multiparts(self, border: float) -> AsyncIterator[list[_Multipart]]:
        if self._bucket.s3 is None:
            return
        noted = await self._noted()
        for folder in (OWN_PREFIX, *FOLDERS):
            async for page in self._under_way(folder):
                found = [
                    await self._looked_at(one)
                    for one in page
                    if one.written < border
                    and one.upload_id not in noted
                    and (folder == OWN_PREFIX or is_made_by_growi(one.path))
                ]
                if old := [one for one in found if one.written < border]:
                    yield old

    async def _noted(self) -> set[str]:
        """The multipart uploads that can go on."""
        noted: set[str] = set()
        async for page in self._bucket.pages(UPLOADS):
            for one in page:
                if one.path.endswith("/about"):
                    try:
                        _, text = await self._bucket.get(one.path, _ABOUT_BYTES)
                    except FileNotFound:
                        continue
                    about = json.loads(text)
                    noted.update((str(about.get("multipart", "")), *about.get("segments", {}).values()))
        return noted

    async def _under_way(self, folder: str) -> AsyncIterator[list[_Multipart]]:
        """All multipart uploads in a folder. None where the store does not tell them."""
        requests = self._bucket.s3
        assert requests is not None
        markers: dict[str, str] = {}
        while True:
            query = {"uploads": "", "prefix": self._bucket.key(folder), "max-uploads": _PAGE, **markers}
            try:
                _, text = await self._bucket.run(lambda query=query: requests.send("GET", "", query), folder)  # type: ignore[misc]
            except (StorageRefused, StorageUnavailable):
                # A right that GROWI does not need, or a request that not every store knows.
                return
            found: list[_Multipart] = []
            for upload in re.findall(r"<Upload>(.*?)</Upload>", text, re.DOTALL):
                (key,), (name,) = values(upload, "Key"), values(upload, "UploadId")
                (began,) = values(upload, "Initiated") or [""]
                if key.startswith(self._bucket.key(folder)) and began:
                    path = key.removeprefix(self._bucket.place.prefix)
                    found.append(_Multipart(path, name, datetime.fromisoformat(began).timestamp()))
            if found:
                yield found
            # Not every store tells both.
            told = (("key-marker", "NextKeyMarker"), ("upload-id-marker", "NextUploadIdMarker"))
            following = {name: marker for name, element in told for marker in values(text, element) if marker}
            if values(text, "IsTruncated") != ["true"] or not following or following == markers:
                return
            markers = following

    async def _looked_at(self, one: _Multipart) -> _Multipart:
        """With what its parts tell."""
        upload = self._upload(one.path, one.upload_id)
        try:
            parts = await upload.find()
        except UploadGone:
            return one
        return replace(one, size=sum(size for size, _ in parts.values()), written=max(one.written, upload.written))

    def _upload(self, path: str, upload_id: str) -> S3Multipart:
        assert self._bucket.s3 is not None
        return S3Multipart(self._bucket, self._bucket.s3, path, upload_id)
