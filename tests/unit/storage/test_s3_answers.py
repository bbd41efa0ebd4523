"""Answers of S3 that do not come in one piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from growi_transfer.storage.object_store.s3_requests import S3Refusal, S3Requests, values
from growi_transfer.storage.places import Place


@asynccontextmanager
async def answering(*pieces: bytes) -> AsyncIterator[S3Requests]:
    """A store that answers every request with these, the next one when the one before has been read."""

    over = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % sum(map(len, pieces)))
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                for _ in range(50):
                    await asyncio.sleep(0)
        finally:
            writer.close()
            over.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        requests = S3Requests(
            Place("aws", "wiki", endpoint=endpoint, region="x", access_key_id="k", secret_access_key="s")
        )
        try:
            yield requests
            await over.wait()
        finally:
            await requests.close()


async def test_a_list_is_read_to_its_end() -> None:
    async with answering(b"<Parts><Part>1</Part>", b"<Part>2</Part>", b"<Part>3</Part></Parts>") as requests:
        _, text = await requests.send("GET", "a", {})
    assert values(text, "Part") == ["1", "2", "3"]


async def test_an_error_after_a_good_beginning_is_one() -> None:
    """Amazon answers 200 at once and sends blanks while it copies or puts parts together."""
    blanks = [b" " * 300] * 3
    async with answering(b'<?xml version="1.0"?>', *blanks, b"<Error><Code>InternalError</Code></Error>") as requests:
        with pytest.raises(S3Refusal) as caught:
            await requests.send("POST", "a", {"uploadId": "1"})
    assert (caught.value.status, caught.value.code) == (500, "InternalError")
