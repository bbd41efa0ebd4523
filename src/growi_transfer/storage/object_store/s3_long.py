"""One multipart upload of S3 for a file of any size, out of pieces that are all equally small.

S3 takes 10,000 parts, and a file may have 5 TiB: parts of one size would be of half a gigabyte, several of them in
memory. So the first DIRECT pieces are parts, and those behind them are put together, IN_SEGMENT at a time, to an object
of their own by a multipart upload of its own: a *segment*. The store itself then copies it in as one part, and it is
removed. Nothing of it comes here, and only what is being put together takes space a second time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from growi_transfer.storage.base import FileMeta
from growi_transfer.storage.object_store.bucket import Bucket
from growi_transfer.storage.object_store.parts import PART
from growi_transfer.storage.object_store.s3_multipart import S3Multipart, UploadGone
from growi_transfer.storage.object_store.s3_requests import S3Requests

DIRECT = 5000
"""Pieces that are parts themselves: enough for 39 GiB."""
IN_SEGMENT = 144
"""Pieces of a segment, 1.125 GiB: 5,000 of them and those before are more than 5 TiB."""

Note = Callable[[Mapping[int, str]], Awaitable[None]]
"""Hears which segments are under way, by part, and the names of their multipart uploads; before any of them is sent."""


def part_of(number: int) -> tuple[int, int]:
    """The part in which a piece comes (both are counted from 1), and its place in that segment; 0 for no segment."""
    if number <= DIRECT:
        return number, 0
    segment, place = divmod(number - 1 - DIRECT, IN_SEGMENT)
    return DIRECT + 1 + segment, place + 1


@dataclass(slots=True)
class _Segment:
    upload: S3Multipart
    pieces: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Size and ETag of each that the store has."""


class LongUpload:
    """`folder`: where segments are put together. Pieces have PART bytes, except the last one, and may be put at the
    same time and in any order."""

    def __init__(
        self,
        bucket: Bucket,
        requests: S3Requests,
        path: str,
        folder: str,
        *,
        upload_id: str = "",
        note: Note | None = None,
    ) -> None:
        self._bucket = bucket
        self._requests = requests
        self._upload = S3Multipart(bucket, requests, path, upload_id)
        self._folder = folder
        self._note = note
        self._etags: dict[int, str] = {}
        self._segments: dict[int, _Segment] = {}
        self._turn = asyncio.Lock()

    @property
    def upload_id(self) -> str:
        """Empty before `begin`."""
        return self._upload.upload_id

    async def begin(self, meta: FileMeta | None) -> None:
        await self._upload.begin(meta)

    async def put(self, number: int, data: bytes | bytearray | memoryview) -> None:
        """Store a piece. Which piece makes a segment whole has the store copy it in."""
        at, place = part_of(number)
        if not place:
            self._etags[at] = await self._upload.put(at, data)
            return
        segment = await self._begun(at)
        segment.pieces[place] = len(data), await segment.upload.put(place, data)
        if len(segment.pieces) == IN_SEGMENT:
            await self._join(at)

    def know(self, segments: Mapping[int, str]) -> None:
        """What `note` of an earlier process has heard last. Call it before `find` and `abort`."""
        self._segments = {at: _Segment(self._multipart(at, name)) for at, name in segments.items()}

    async def find(self) -> int:
        """How many pieces from the beginning on the store has, without a gap; what lies behind a gap is removed.
        Raises UploadGone."""
        stored = await self._upload.find()
        pieces, at = 0, 0
        while True:
            at += 1
            whole = PART * (IN_SEGMENT if at > DIRECT else 1)
            if stored.get(at, (0, ""))[0] == whole:
                self._etags[at] = stored[at][1]
            elif at not in self._segments or not await self._found(at, whole):
                break
            pieces += whole // PART
        going_on = self._segments.get(at)
        if going_on is not None and going_on.pieces:
            pieces += len(going_on.pieces)
        dropped = [one for one in self._segments if one != at or going_on is None or not going_on.pieces]
        for one in dropped:
            await self._drop(one)
        if dropped:
            await self._tell()
        return pieces

    async def complete(self, pieces: int, size: int) -> None:
        """Make the file visible: so many pieces, and so many bytes in all."""
        for at in list(self._segments):
            await self._join(at)
        last, _ = part_of(pieces)
        await self._upload.complete({at: self._etags[at] for at in range(1, last + 1)}, size)

    async def abort(self) -> None:
        """Remove everything; nothing when the upload is over."""
        for at in list(self._segments):
            await self._drop(at)
        if self.upload_id:
            await self._upload.abort()

    def _path(self, at: int) -> str:
        return f"{self._folder}segment{at}"

    def _multipart(self, at: int, upload_id: str = "") -> S3Multipart:
        return S3Multipart(self._bucket, self._requests, self._path(at), upload_id)

    async def _begun(self, at: int) -> _Segment:
        async with self._turn:
            if at not in self._segments:
                upload = self._multipart(at)
                await upload.begin(None)
                self._segments[at] = _Segment(upload)
                try:
                    await self._tell()
                except BaseException:
                    del self._segments[at]
                    await upload.abort()
                    raise
            return self._segments[at]

    async def _found(self, at: int, whole: int) -> bool:
        """Whether all of a segment is there, which is then copied in."""
        segment = self._segments[at]
        try:
            stored = await segment.upload.find()
        except UploadGone:
            # Put together, and stopped before it was copied in.
            found = await self._bucket.head(self._path(at))
            if found is None or found.size != whole:
                return False
            await self._copy_in(at)
            return True
        while (place := len(segment.pieces) + 1) in stored and stored[place][0] == PART and place <= IN_SEGMENT:
            segment.pieces[place] = stored[place]
        if len(segment.pieces) < IN_SEGMENT:
            return False
        await self._join(at)
        return True

    async def _join(self, at: int) -> None:
        pieces = self._segments[at].pieces
        size = sum(size for size, _ in pieces.values())
        await self._segments[at].upload.complete({place: etag for place, (_, etag) in pieces.items()}, size)
        await self._copy_in(at)

    async def _copy_in(self, at: int) -> None:
        key = self._bucket.key(self._path(at))
        source = quote(f"/{self._bucket.place.bucket}/{key}", safe="/-_.~")
        self._etags[at] = await self._upload.copy_part(at, {"x-amz-copy-source": source})
        await self._bucket.delete(self._path(at))
        async with self._turn:
            del self._segments[at]
            await self._tell()

    async def _drop(self, at: int) -> None:
        await self._segments[at].upload.abort()
        await self._bucket.delete(self._path(at))
        with contextlib.suppress(KeyError):
            del self._segments[at]

    async def _tell(self) -> None:
        if self._note is not None:
            await self._note({at: segment.upload.upload_id for at, segment in self._segments.items()})
