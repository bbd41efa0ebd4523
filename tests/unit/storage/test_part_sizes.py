"""How files of any size are cut into what stores take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from growi_transfer.storage.object_store import large, s3_long
from growi_transfer.storage.object_store.large import parts_at_once
from growi_transfer.storage.object_store.parts import PART
from growi_transfer.storage.object_store.s3_long import part_of

GIB, TIB = 1 << 30, 1 << 40
LAST = -(-5 * TIB // PART)
"""The last piece of the largest file that S3 takes."""


@given(some.integers(1, LAST))
def test_pieces_of_the_largest_file_fit_into_the_parts_that_s3_takes(number: int) -> None:
    at, place = part_of(number)
    assert 1 <= at <= 10_000
    assert (at <= s3_long.DIRECT) == (place == 0)
    assert place <= s3_long.IN_SEGMENT
    before = number - max(place, 1)
    assert before == min(at - 1, s3_long.DIRECT) + max(0, at - 1 - s3_long.DIRECT) * s3_long.IN_SEGMENT
    assert part_of(number + 1) in ((at, place + 1), (at + 1, 0), (at + 1, 1))


def test_a_segment_is_one_that_s3_takes_as_a_part() -> None:
    assert PART >= 5 << 20
    assert s3_long.IN_SEGMENT * PART <= 5 * GIB
    assert part_of(LAST)[0] <= 10_000


@pytest.mark.parametrize(("kind", "most"), [("aws", 10_000), ("gcs", 10_000), ("azure", 50_000)])
@given(size=some.integers(1, 5 * TIB))
def test_parts_of_one_size(kind: str, most: int, size: int) -> None:
    length, at_once = parts_at_once(kind, size)
    assert -(-size // length) <= most
    assert PART <= length <= 5 * GIB
    assert 1 <= at_once <= large.IN_FLIGHT
    assert length * at_once <= max(large.IN_FLIGHT * PART, length)
    if size <= 281 * GIB:
        assert length * at_once <= large.IN_FLIGHT * PART
