"""What is left in a connection after it broke, as an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.pusher.early_answer import Line, parse_answer

WHOLE = b"HTTP/1.1 413 Too Large\r\nContent-Type: text/plain\r\nRetry-After: 7\r\ncontent-length: 4\r\n\r\nmuch"


def test_a_whole_answer() -> None:
    assert parse_answer(WHOLE) == (
        413,
        {"content-type": "text/plain", "retry-after": "7", "content-length": "4"},
        b"much",
    )
    chunked = b"HTTP/1.1 502 Bad\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"
    assert parse_answer(chunked) == (502, {"transfer-encoding": "chunked"}, b"no")


@pytest.mark.parametrize("cut", range(len(WHOLE)))
def test_a_part_of_an_answer_is_none(cut: int) -> None:
    assert parse_answer(WHOLE[:cut]) is None


@given(st.binary(max_size=300), st.sampled_from([b"", b"HTTP/1.1 400 x\r\n", b"HTTP/1.1 "]))
def test_anything_can_be_left_over(rest: bytes, start: bytes) -> None:
    answer = parse_answer(start + rest)
    assert answer is None or 100 <= answer[0] < 1000


def test_where_there_is_no_connection_nothing_is_left() -> None:
    line = Line(None)
    assert not line.has_answer()
    assert line.left_over() == b""
    line.close()
