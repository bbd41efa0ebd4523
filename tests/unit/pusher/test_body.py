from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.errors import FileNotFound, SizeMismatch
from growi_transfer.pusher.body import PIECE_BYTES, Body, Chunk, joined


class Socket:
    """Takes pieces, and may stop taking them."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()

    async def write(self, piece: memoryview) -> None:
        await self.open.wait()
        self.pieces.append(bytes(piece))

    @property
    def taken(self) -> bytes:
        return b"".join(self.pieces)


async def each(*chunks: Chunk) -> AsyncIterator[Chunk]:
    for chunk in chunks:
        yield chunk


def never() -> bool:
    return False


def body_of(*chunks: Chunk, length: int | None = None, idle: float = 10.0) -> Body:
    size = sum(map(len, chunks)) if length is None else length
    return Body(lambda: each(*chunks), size, None, idle)


async def test_a_body_goes_out_in_pieces() -> None:
    socket, data = Socket(), bytes(range(256)) * 4096
    await body_of(data, b"", b"end").send(socket.write, never)
    assert socket.taken == data + b"end"
    assert [len(piece) for piece in socket.pieces] == [PIECE_BYTES] * 4 + [3]


async def test_a_body_can_be_sent_again() -> None:
    body = body_of(b"one", bytearray(b"two"), memoryview(b"three"))
    for _ in range(2):
        socket = Socket()
        await body.send(socket.write, never)
        assert socket.taken == b"onetwothree"


@pytest.mark.parametrize(("length", "sent"), [(5, b"abc"), (2, b""), (0, b"")])
async def test_a_source_of_another_length_is_told(length: int, sent: bytes) -> None:
    socket, body = Socket(), body_of(b"abc", length=length)
    with pytest.raises(SizeMismatch):
        await body.send(socket.write, never)
    assert isinstance(body.failure, SizeMismatch)
    assert socket.taken == sent


async def test_what_the_source_raises_is_kept() -> None:
    async def failing() -> AsyncIterator[Chunk]:
        yield b"first"
        raise FileNotFound()

    socket, body = Socket(), Body(failing, 100, None, 10.0)
    with pytest.raises(FileNotFound):
        await body.send(socket.write, never)
    assert isinstance(body.failure, FileNotFound)
    assert socket.taken == b"first"


async def test_a_failing_line_is_not_the_fault_of_the_source() -> None:
    async def broken(piece: memoryview) -> None:
        raise BrokenPipeError

    body = body_of(b"abc")
    with pytest.raises(BrokenPipeError):
        await body.send(broken, never)
    assert body.failure is None


async def test_a_line_that_takes_nothing_is_given_up() -> None:
    socket, body = Socket(), body_of(b"abc", idle=0.02)
    socket.open.clear()
    with pytest.raises(TimeoutError):
        await body.send(socket.write, never)
    assert body.failure is None


async def test_the_pace_decides_how_much_goes_at_once() -> None:
    asked: list[int] = []

    async def pace(wanted: int) -> int:
        asked.append(wanted)
        return min(wanted, 4)

    socket = Socket()
    await Body(lambda: each(b"abcdefghij", b"kl"), 12, pace, 10.0).send(socket.write, never)
    assert socket.pieces == [b"abcd", b"efgh", b"ij", b"kl"]
    assert asked == [10, 6, 2, 2]


async def test_an_answer_is_read_before_more_is_written() -> None:
    socket = Socket()
    waiting = [True] * 5
    await body_of(b"abc").send(socket.write, lambda: bool(waiting and waiting.pop()))
    assert waiting == []
    assert socket.taken == b"abc"


async def test_an_answer_that_nobody_reads_does_not_stop_the_body() -> None:
    socket = Socket()
    async with asyncio.timeout(5):
        await body_of(b"abc").send(socket.write, lambda: True)
    assert socket.taken == b"abc"


async def test_ending_waits_until_the_source_is_left_alone() -> None:
    left = asyncio.Event()

    async def waits() -> AsyncIterator[Chunk]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            left.set()

    source, socket = waits(), Socket()
    body = Body(lambda: source, 100, None, 10.0)
    await body.end()
    sending = asyncio.create_task(body.send(socket.write, never))
    while not socket.pieces:
        await asyncio.sleep(0)
    await body.end()
    assert left.is_set()
    assert sending.cancelled()
    await body.end()
    await source.aclose()


@given(st.lists(st.sampled_from([0, 1, 100, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1]), max_size=6))
def test_small_parts_are_joined_and_large_ones_are_not_copied(sizes: list[int]) -> None:
    async def run() -> list[Chunk]:
        return [chunk async for chunk in joined(parts)]

    parts = [bytes([number]) * size for number, size in enumerate(sizes)]
    chunks = asyncio.run(run())
    assert b"".join(chunks) == b"".join(parts)
    for part in parts:
        assert (len(part) < PIECE_BYTES) or any(chunk is part for chunk in chunks)
    for first, second in itertools.pairwise(chunks):
        assert len(first) >= PIECE_BYTES or len(second) >= PIECE_BYTES
    assert all(len(chunk) < 2 * PIECE_BYTES for chunk in chunks)


async def test_a_second_cancel_waits_for_who_reads_the_source_too() -> None:
    """As of an upload whose file comes from another server: what was asked for ahead takes a while to be given up."""
    reading, given_up, let_go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def source() -> AsyncIterator[Chunk]:
        yield b"x"
        try:
            reading.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            given_up.set()
            await let_go.wait()
            raise

    async def upload() -> None:
        chunks = source()
        body = Body(lambda: chunks, 2, None, 10.0)
        sending = asyncio.ensure_future(body.send(Socket().write, never))
        async with aclosing(chunks):  # type: ignore[type-var]
            try:
                await asyncio.wait([sending])
            finally:
                await body.end()

    task = asyncio.ensure_future(upload())
    await reading.wait()
    task.cancel()
    await given_up.wait()
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
