"""Requests to S3 that obstore does not have: single steps of a multipart upload, and what else belongs to it."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from growi_transfer import __version__
from growi_transfer.storage.object_store.s3_signature import S3Key, path_of_url, query_of_url, signed_headers
from growi_transfer.storage.places import Place

_PIECE = 1 << 20
_TIMEOUT = aiohttp.ClientTimeout(total=900, sock_connect=10, sock_read=120)
_LONGEST_ANSWER = 16 << 20


class S3Refusal(Exception):
    """An answer that says no. Its text has the form that `faults` reads."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.code = (values(text, "Code") or [""])[0]
        super().__init__(f"status code: {status} <Code>{self.code}</Code>")


S3Silence = aiohttp.ClientError
"""There was no answer, or a broken one."""


class S3Requests:
    """Talks to one bucket with GROWI's own access key. One request is one try."""

    def __init__(self, place: Place) -> None:
        self._key = S3Key(place.access_key_id, place.secret_access_key, place.region)
        root, self._bucket = address_of(place)
        parts = urlsplit(root)
        self._root = root
        self._base = parts.path
        self._host = parts.netloc
        self._proxy = _proxy_of(root)
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        body: bytes | bytearray | memoryview = b"",
    ) -> tuple[Mapping[str, str], str]:
        """Headers and text of the answer. Raises S3Refusal, aiohttp.ClientError, OSError and TimeoutError."""
        view = memoryview(body).cast("B")
        hasher = await asyncio.to_thread(sha256, view) if len(view) > _PIECE else sha256(view)
        path, text = path_of_url(self._bucket, key), query_of_url(query)
        length = {"content-length": str(len(view))} if method in ("PUT", "POST") else {}
        signed = signed_headers(
            self._key,
            datetime.now(UTC),
            method,
            self._host,
            self._base + path,
            text,
            {**(headers or {}), **length},
            hasher.hexdigest(),
        )
        url = URL(f"{self._root}{path}?{text}" if text else f"{self._root}{path}", encoded=True)
        async with self._open().request(
            method,
            url,
            headers=signed,
            data=_pieces(view) if len(view) > _PIECE else view or None,
            allow_redirects=False,
            proxy=self._proxy,
        ) as answer:
            found = await _text_of(answer)
            # What fails after an answer has begun with 200 is told in it: Amazon sends blanks while it is at work.
            if answer.status >= 300 or (answer.status == 200 and "<Error>" in found):
                raise S3Refusal(500 if answer.status == 200 else answer.status, found)
            return answer.headers, found

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=_TIMEOUT,
                connector=aiohttp.TCPConnector(limit=64),
                headers={"user-agent": f"growi-transfer/{__version__}"},
                skip_auto_headers=("content-type",),
                auto_decompress=False,
            )
        return self._session


def address_of(place: Place) -> tuple[str, str]:
    """The address of a bucket: what stands before the path, and the bucket if the path begins with it.

    Amazon's host names the bucket, unless a dot in its name would make the certificate the wrong one.
    """
    if place.endpoint is not None:
        return place.endpoint, place.bucket
    host = f"s3.{place.region}.amazonaws.com{'.cn' if place.region.startswith('cn-') else ''}"
    return (f"https://{host}", place.bucket) if "." in place.bucket else (f"https://{place.bucket}.{host}", "")


def values(text: str, name: str) -> list[str]:
    """The contents of the elements of an answer that have this name and no others in them, in order."""
    return [html.unescape(found) for found in re.findall(rf"<{name}>([^<]*)</{name}>", text)]


def _proxy_of(root: str) -> str | None:
    """The proxy that the environment names for an address. aiohttp would find it too, but would then look into
    ~/.netrc at each request, and refuse to send one that is signed when the host stands there."""
    parts = urlsplit(root)
    found = getproxies().get(parts.scheme)
    return None if not found or proxy_bypass(parts.hostname or "") else found


async def _text_of(answer: aiohttp.ClientResponse) -> str:
    """All of an answer, in however many pieces it comes."""
    data = bytearray()
    async for piece in answer.content.iter_any():
        data += piece
        if len(data) > _LONGEST_ANSWER:
            raise aiohttp.ClientPayloadError("The answer is longer than any of S3.")
    return data.decode("utf-8", "replace")


async def _pieces(view: memoryview) -> AsyncIterator[memoryview]:
    for start in range(0, len(view), _PIECE):
        yield view[start : start + _PIECE]
