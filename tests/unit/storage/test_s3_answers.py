"""Requests to S3 on their way: answers that do not come in one piece, and what the environment says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from growi_transfer.storage.object_store.s3_requests import S3Refusal, S3Requests, values
from growi_transfer.storage.places import Place


def place_at(endpoint: str) -> Place:
    return Place("aws", "wiki", endpoint=endpoint, region="x", access_key_id="k", secret_access_key="s")


@asynccontextmanager
async def serving(seen: list[bytes], *pieces: bytes) -> AsyncIterator[str]:
    """The address of a store that answers every request with these, the next one when the one before has been read."""
    over = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
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
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await over.wait()


@asynccontextmanager
async def answering(*pieces: bytes) -> AsyncIterator[S3Requests]:
    async with serving([], *pieces) as endpoint:
        requests = S3Requests(place_at(endpoint))
        try:
            yield requests
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


async def test_what_stands_in_netrc_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen: list[bytes] = []
    async with serving(seen, b"<a/>") as endpoint:
        requests = S3Requests(place_at(endpoint))
        await requests.send("GET", "a", {})
        await requests.close()
    assert b"AWS4-HMAC-SHA256" in seen[0]
    assert b"Basic" not in seen[0]


async def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    async with serving(seen, b"<a/>") as proxy:
        monkeypatch.setenv("http_proxy", proxy.replace("//", "//somebody:something@"))
        monkeypatch.setenv("no_proxy", "inside.invalid")
        requests = S3Requests(place_at("http://store.invalid"))
        assert S3Requests(place_at("http://inside.invalid"))._proxy is None
        await requests.send("GET", "a", {})
        await requests.close()
    assert seen[0].startswith(b"GET http://store.invalid/wiki/a HTTP/1.1")
    assert b"Proxy-Authorization: Basic c29tZWJvZHk6c29tZXRoaW5n" in seen[0]
