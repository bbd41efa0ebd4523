"""A multipart upload of S3, step by step, so that it survives the process that began it.

Every request is tried again by itself; each part is checked by the store against the digest that signs it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from datetime import datetime

from growi_transfer.protocol.errors import FileNotFound, StorageUnavailable
from growi_transfer.storage.base import FileMeta
from growi_transfer.storage.object_store.bucket import Bucket
from growi_transfer.storage.object_store.headers import attributes
from growi_transfer.storage.object_store.s3_requests import S3Requests, values


class UploadGone(Exception):
    """The store does not know the upload: it was completed or removed."""


class S3Multipart:
    """One upload. `begin` makes it; `upload_id` names it in another process."""

    def __init__(self, bucket: Bucket, requests: S3Requests, path: str, upload_id: str = "") -> None:
        self._bucket = bucket
        self._requests = requests
        self._path = path
        self._key = bucket.key(path)
        self.upload_id = upload_id
        self.written = 0.0
        """When `find` saw its last part arrive, in seconds since 1970; 0 for none."""

    async def begin(self, meta: FileMeta | None) -> None:
        headers = {name.lower(): value for name, value in attributes(meta).items()}
        if self._bucket.place.acl:
            headers["x-amz-acl"] = self._bucket.place.acl
        _, text = await self._run("POST", {"uploads": ""}, headers)
        (self.upload_id,) = values(text, "UploadId") or [""]
        if not self.upload_id:
            raise StorageUnavailable("The attachment storage has begun no multipart upload.")

    async def put(self, number: int, data: bytes | bytearray | memoryview) -> str:
        """Send a part; the same number again replaces it. Its ETag, as it stands on the wire."""
        query = {"partNumber": str(number), "uploadId": self.upload_id}
        headers, _ = await self._run("PUT", query, body=data)
        etag = headers.get("ETag", "")
        if not etag:
            raise StorageUnavailable("The attachment storage has told no ETag of a part.")
        return etag

    async def copy_part(self, number: int, source: Mapping[str, str]) -> str:
        """Have the store copy a part from another object; `source`: the headers that name it. The part's ETag."""
        query = {"partNumber": str(number), "uploadId": self.upload_id}
        _, text = await self._run("PUT", query, source)
        (etag,) = values(text, "ETag") or [""]
        if not etag:
            raise StorageUnavailable("The attachment storage has told no ETag of a part.")
        return etag

    async def find(self) -> dict[int, tuple[int, str]]:
        """Size and ETag of the parts that are there, by number. Raises UploadGone."""
        found: dict[int, tuple[int, str]] = {}
        marker = "0"
        while True:
            query = {"uploadId": self.upload_id, "part-number-marker": marker, "max-parts": "1000"}
            try:
                _, text = await self._run("GET", query, writing=False)
            except FileNotFound:
                raise UploadGone from None
            for part in re.findall(r"<Part>(.*?)</Part>", text, re.DOTALL):
                (number,), (size,), (etag,) = values(part, "PartNumber"), values(part, "Size"), values(part, "ETag")
                found[int(number)] = int(size), etag
                for moment in values(part, "LastModified"):
                    self.written = max(self.written, datetime.fromisoformat(moment).timestamp())
            following = values(text, "NextPartNumberMarker")
            if values(text, "IsTruncated") != ["true"] or not following or following[0] == marker:
                return found
            marker = following[0]

    async def complete(self, etags: Mapping[int, str], size: int) -> None:
        """Make the file visible, of `size` bytes in all. After a lost answer the file is looked at."""
        parts = (
            f"<Part><PartNumber>{number}</PartNumber><ETag>{html.escape(etags[number])}</ETag></Part>"
            for number in sorted(etags)
        )
        body = f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>".encode()
        try:
            await self._run("POST", {"uploadId": self.upload_id}, {"content-type": "application/xml"}, body)
        except FileNotFound:
            found = await self._bucket.head(self._path)
            if found is None or found.size != size or not (found.etag or "").rstrip('"').endswith(f"-{len(etags)}"):
                raise StorageUnavailable("The multipart upload has gone; the file has to be sent again.") from None
            return
        found = await self._bucket.head(self._path)
        if found is None or found.size != size:
            raise StorageUnavailable("The attachment storage has not stored all of the file.")

    async def abort(self) -> None:
        """Remove the parts; nothing when the upload is over."""
        try:
            await self._run("DELETE", {"uploadId": self.upload_id})
        except FileNotFound:
            return

    async def _run(
        self,
        method: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        body: bytes | bytearray | memoryview = b"",
        *,
        writing: bool = True,
    ) -> tuple[Mapping[str, str], str]:
        return await self._bucket.run(
            lambda: self._requests.send(method, self._key, query, headers, body), self._path, writing=writing
        )
