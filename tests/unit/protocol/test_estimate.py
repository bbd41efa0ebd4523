"""The expected time grows with the work and falls with the speed of the line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.estimate import expected_seconds

amounts = st.integers(0, 1 << 45)
rates = st.floats(1.0, 1e11)


def seconds(documents: int, document_bytes: int, files: int, file_bytes: int, rate: float) -> float:
    found = expected_seconds(
        documents=documents,
        document_bytes=document_bytes,
        files=files,
        file_bytes=file_bytes,
        bytes_per_second=rate,
    )
    assert found is not None
    return found


@given(amounts, amounts, amounts, amounts, rates, amounts)
def test_more_of_anything_never_takes_less(a: int, b: int, c: int, d: int, rate: float, more: int) -> None:
    base = seconds(a, b, c, d, rate)
    assert base > 0
    assert seconds(a + more, b, c, d, rate) >= base
    assert seconds(a, b + more, c, d, rate) >= base
    assert seconds(a, b, c + more, d, rate) >= base
    assert seconds(a, b, c, d + more, rate) >= base


@given(amounts, amounts, st.floats(1e3, 5e7), st.floats(1.0, 10.0))
def test_a_faster_line_of_its_kind_never_takes_longer(size: int, files: int, rate: float, times: float) -> None:
    faster = min(rate * times, 5e7)
    assert seconds(0, size, files, size, faster) <= seconds(0, size, files, size, rate)


def test_a_line_that_was_not_measured() -> None:
    about = {"documents": 1, "document_bytes": 1, "files": 1, "file_bytes": 1}
    assert expected_seconds(**about, bytes_per_second=None) is None
    assert expected_seconds(**about, bytes_per_second=0.0) is None


def test_a_slow_line_sets_the_pace() -> None:
    assert 100 < seconds(0, 0, 10, 100 << 20, 1 << 20) < 110
