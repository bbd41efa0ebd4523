"""Whole objects of S3 by requests of our own: copies between buckets, and what needs a header that obstore lacks."""

from __future__ import annotations

import asyncio
import base64
import binascii
from dataclasses import replace
from urllib.parse import quote

from growi_transfer.protocol.errors import CopyRefused, FileNotFound, StorageUnavailable, TransferError
from growi_transfer.storage.base import BucketName, FileMeta, Offer, StoredFile
from growi_transfer.storage.object_store.bucket import Bucket, Changed, Found
from growi_transfer.storage.object_store.headers import attributes
from growi_transfer.storage.object_store.s3_multipart import S3Multipart
from growi_transfer.storage.object_store.s3_requests import S3Requests, values

ONE_REQUEST = 5 << 30
"""S3 copies so many bytes in one request."""
_RANGE = 1 << 30
_NOBODYS = '"00000000000000000000000000000000"'
"""An ETag that no object has."""


class S3Copies:
    """Copies from other buckets of the same provider: `storage.base.BucketCopies`."""

    def __init__(self, bucket: Bucket, requests: S3Requests) -> None:
        self._bucket = bucket
        self._requests = requests
        self._looks_at_etags: bool | None = None
        self._turn = asyncio.Lock()

    @property
    def name(self) -> BucketName:
        return BucketName(self._bucket.place.kind, self._bucket.place.endpoint or "", self._bucket.place.bucket)

    def offer(self, file: StoredFile) -> Offer | None:
        return Offer(self._bucket.key(file.path), file.size, file.etag) if file.etag else None

    async def copy(self, source: str, offer: Offer, path: str, meta: FileMeta | None) -> bytes | None:
        await self._check_store(source, offer, path)
        if offer.size > ONE_REQUEST:
            await self._copy_in_parts(source, offer, path, meta)
            return None
        return await self._copy(source, offer, path, meta)

    async def copy_large(self, found: Found, path: str, meta: FileMeta) -> None:
        """Copy an object of this bucket that one request does not. Raises StorageUnavailable."""
        offer = Offer(self._bucket.key(found.path), found.size, found.etag or "")
        try:
            await self._copy_in_parts(self._bucket.place.bucket, offer, path, meta)
        except CopyRefused as error:
            raise StorageUnavailable(error.message, path=found.path) from None

    async def _check_store(self, source: str, offer: Offer, path: str) -> None:
        """Raises CopyRefused when the store copies whatever the ETag: then it proves nothing. Tried once."""
        async with self._turn:
            if self._looks_at_etags is None:
                try:
                    await self._copy(source, replace(offer, etag=_NOBODYS), path, None)
                except CopyRefused as error:
                    if not error.details.get("changed"):
                        raise
                    self._looks_at_etags = True
                else:
                    self._looks_at_etags = False
                    await self._bucket.delete(path)
            if not self._looks_at_etags:
                raise CopyRefused("The store copies objects without looking at their ETags.")

    async def _copy(self, source: str, offer: Offer, path: str, meta: FileMeta | None) -> bytes | None:
        headers = {name.lower(): value for name, value in attributes(meta).items()}
        headers |= _from(source, offer) | {"x-amz-metadata-directive": "REPLACE", "x-amz-checksum-algorithm": "SHA256"}
        headers |= _acl(self._bucket)
        try:
            _, text = await self._bucket.run(
                lambda: self._requests.send("PUT", self._bucket.key(path), {}, headers), path, writing=True
            )
        except StorageUnavailable:
            raise
        except (TransferError, Changed) as error:
            raise _refusal(error) from None
        return _digest((values(text, "ChecksumSHA256") or [""])[0])

    async def _copy_in_parts(self, source: str, offer: Offer, path: str, meta: FileMeta | None) -> None:
        upload = S3Multipart(self._bucket, self._requests, path)
        await upload.begin(meta)
        try:
            etags: dict[int, str] = {}
            for start in range(0, offer.size, _RANGE):
                end = min(start + _RANGE, offer.size)
                etags[len(etags) + 1] = await upload.copy_part(
                    len(etags) + 1, _from(source, offer) | {"x-amz-copy-source-range": f"bytes={start}-{end - 1}"}
                )
            await upload.complete(etags, offer.size)
        except StorageUnavailable:
            await upload.abort()
            raise
        except (TransferError, Changed) as error:
            await upload.abort()
            raise _refusal(error) from None
        except BaseException:
            await upload.abort()
            raise


def _refusal(error: Exception) -> CopyRefused:
    if isinstance(error, Changed):
        return CopyRefused("The file in the source's bucket is another one by now.", changed=True)
    if isinstance(error, FileNotFound):
        return CopyRefused("The store does not find the file in the source's bucket.")
    return CopyRefused(f"The store does not copy from the source's bucket: {error}")


def _from(source: str, offer: Offer) -> dict[str, str]:
    """The ETag is asked for although size and time would do to see a change: only who can read an object of a private
    bucket knows it, so that a peer cannot have objects copied that it cannot see itself."""
    return {
        "x-amz-copy-source": quote(f"/{source}/{offer.key}", safe="/-_.~"),
        "x-amz-copy-source-if-match": offer.etag,
    }


def _acl(bucket: Bucket) -> dict[str, str]:
    return {"x-amz-acl": bucket.place.acl} if bucket.place.acl else {}


def _digest(text: str) -> bytes | None:
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == 32 else None
