from __future__ import annotations

import asyncio
import fcntl
import io
import os
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from tests.fakes.asgi import CUT

from growi_transfer.protocol.errors import ArchiveTooLarge, BodyCut, BodyTooLarge, InsufficientSpace
from growi_transfer.web import uploads
from growi_transfer.web.uploads import BodyStream, clear_spool, read_body, spooled, streamed


def request(chunks: Iterable[Any], length: int | None = None, asked: list[Any] | None = None) -> Request:
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        chunk = left.pop(0) if left else b""
        if asked is not None:
            asked.append(chunk)
        if chunk is CUT:
            left.insert(0, CUT)
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": bool(left)}

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return Request({"type": "http", "headers": headers}, receive)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


# whole bodies


@given(data=st.binary(max_size=5000), places=st.lists(st.integers(0, 5000), max_size=8), announced=st.booleans())
def test_a_body_arrives_as_it_was_sent(data: bytes, places: list[int], announced: bool) -> None:
    body = asyncio.run(read_body(request(cut(data, places), len(data) if announced else None), 5000))
    assert type(body) is bytes
    assert body == data


@given(size=st.integers(0, 300), limit=st.integers(0, 300), announced=st.booleans(), step=st.integers(1, 50))
def test_the_limit_is_exact(size: int, limit: int, announced: bool, step: int) -> None:
    chunks = [b"x" * min(step, size - start) for start in range(0, size, step)]
    asked: list[Any] = []
    body = read_body(request(chunks, size if announced else None, asked), limit)
    if size <= limit:
        assert len(asyncio.run(body)) == size
    else:
        with pytest.raises(BodyTooLarge) as caught:
            asyncio.run(body)
        assert caught.value.details["limit"] == limit
        # An announced body is refused unread, another one with the first byte over the limit.
        assert sum(map(len, asked)) <= (0 if announced else limit + step)


@pytest.mark.parametrize("length", [None, 10])
async def test_a_cut_body_is_an_error(length: int | None) -> None:
    with pytest.raises(BodyCut) as caught:
        await read_body(request([b"abc", CUT], length), 100)
    assert caught.value.details == {"received": 3}


async def test_fewer_bytes_than_announced_are_an_error() -> None:
    with pytest.raises(BodyCut):
        await read_body(request([b"abc"], 10), 100)


# streams


@given(
    data=st.binary(max_size=3000),
    places=st.lists(st.integers(0, 3000), max_size=30),
    buffer=st.integers(1, 700),
)
def test_a_stream_is_regrouped(data: bytes, places: list[int], buffer: int) -> None:
    chunks: list[bytes] = []
    asyncio.run(take(request(cut(data, places)), 3000, chunks, buffer=buffer))
    assert b"".join(chunks) == data
    assert all(type(chunk) is bytes and len(chunk) == buffer for chunk in chunks[:-1])
    assert all(chunks)


async def test_a_stream_asks_for_nothing_before_its_first_step() -> None:
    asked: list[Any] = []
    async with streamed(request([b"abc"], None, asked), 10):
        await asyncio.sleep(0)
    assert asked == []


async def test_one_buffer_is_read_ahead_and_no_more() -> None:
    asked: list[Any] = []
    async with streamed(request([b"x" * 10] * 10, None, asked), 1000, buffer=20) as stream:
        assert len(await anext(stream)) == 20
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(asked) == 4
        assert len(await anext(stream)) == 20


async def take(incoming: Request, limit: int, taken: list[bytes], **options: Any) -> None:
    async with streamed(incoming, limit, **options) as stream:
        async for chunk in stream:
            taken.append(chunk)  # what came before an error counts


async def test_a_stream_over_its_limit() -> None:
    with pytest.raises(BodyTooLarge):
        await take(request([b"x" * 10] * 3), 25, [], buffer=10)
    taken: list[bytes] = []
    with pytest.raises(ArchiveTooLarge):
        await take(request([b"x"], 26), 25, taken, too_large=ArchiveTooLarge)
    assert taken == []


async def test_what_came_before_a_cut_is_given_out() -> None:
    taken: list[bytes] = []
    with pytest.raises(BodyCut) as caught:
        await take(request([b"abc", b"de", CUT], 100), 100, taken)
    assert taken == [b"abcde"]
    assert caught.value.details == {"received": 5}


async def test_leaving_a_stream_early_leaves_no_task() -> None:
    never = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not first:
            await never.wait()
        return {"type": "http.request", "body": first.pop(), "more_body": True}

    first = [b"x" * 20]
    stream = BodyStream(receive, limit=100, buffer=20)
    assert await anext(stream) == b"x" * 20
    waiting = asyncio.create_task(anext(stream))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await stream.close()
    assert len(asyncio.all_tasks()) == 1


async def test_a_step_that_is_cancelled_loses_nothing() -> None:
    """A receiver may stop waiting for bytes and still want those that come."""
    more = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await more.wait()
        return {"type": "http.request", "body": b"abc", "more_body": False}

    stream = BodyStream(receive, limit=100, buffer=10)
    waiting = asyncio.create_task(anext(stream))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    more.set()
    assert [chunk async for chunk in stream] == [b"abc"]
    await stream.close()


# spooled bodies


@pytest.fixture
def spool(tmp_path: Path) -> Callable[[], list[Path]]:
    return lambda: list((tmp_path / "spool").iterdir())


async def test_a_spooled_body_is_a_private_file_that_goes(tmp_path: Path, spool: Callable[[], list[Path]]) -> None:
    data = os.urandom(9 << 20)
    chunks = cut(data, [1000 * step for step in range(60)])
    async with spooled(request(chunks), tmp_path, limit=len(data), spare=0) as path:
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert spool() == [path]
    assert spool() == []


@pytest.mark.parametrize(
    ("chunks", "length", "error"),
    [
        ([b"x" * 100, CUT], None, BodyCut),
        ([b"x" * 100, CUT], 1000, BodyCut),
        ([b"x" * 600, b"x" * 600], None, ArchiveTooLarge),
        ([b"x"], 1001, ArchiveTooLarge),
    ],
)
async def test_a_body_that_fails_leaves_nothing(
    tmp_path: Path, spool: Callable[[], list[Path]], chunks: list[Any], length: int | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        async with spooled(request(chunks, length), tmp_path, limit=1000, spare=0):
            pytest.fail("the body is not whole")
    assert spool() == []


async def test_an_error_of_the_import_leaves_nothing(tmp_path: Path, spool: Callable[[], list[Path]]) -> None:
    with pytest.raises(RuntimeError, match="import"):
        async with spooled(request([b"abc"]), tmp_path, limit=10, spare=0):
            raise RuntimeError("import")
    assert spool() == []


async def test_a_disk_without_room_refuses_before_it_reads(tmp_path: Path) -> None:
    asked: list[Any] = []
    with pytest.raises(InsufficientSpace) as caught:
        async with spooled(request([b"x"], 1, asked), tmp_path, limit=1 << 70, spare=1 << 60):
            pytest.fail("there is no such disk")
    assert asked == []
    assert caught.value.details["needed"] == (1 << 60) + 1


async def test_a_disk_that_fills_up_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: Callable[[], list[Path]]
) -> None:
    def full(_file: io.FileIO, _data: object) -> int:
        raise OSError(28, "No space left on device")

    class Full(io.FileIO):
        write = full  # type: ignore[assignment]

    monkeypatch.setattr(uploads.io, "FileIO", Full)
    with pytest.raises(InsufficientSpace):
        async with spooled(request([b"abc"]), tmp_path, limit=10, spare=0):
            pytest.fail("nothing could be written")
    assert spool() == []


async def test_free_space_is_looked_at_while_an_unannounced_body_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_CHECK_SPACE_EVERY", 1 << 20)
    looks: list[int] = []
    check = uploads.check_space
    monkeypatch.setattr(uploads, "check_space", lambda folder, needed: (looks.append(needed), check(folder, needed)))
    async with spooled(request([b"x" * (1 << 20)] * 12), tmp_path, limit=1 << 30, spare=5):
        assert looks == [5] * 4


async def test_only_what_nobody_uses_is_cleared(tmp_path: Path, spool: Callable[[], list[Path]]) -> None:
    clear_spool(tmp_path)
    left = tmp_path / "spool" / "archive-left.zip"
    left.write_bytes(b"left by a process that was killed")
    async with spooled(request([b"abc"]), tmp_path, limit=10, spare=0) as path:
        clear_spool(tmp_path)
        assert spool() == [path]
        with path.open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
