from __future__ import annotations

import hashlib
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.digest import EMPTY, combine, document_digest, ordered_digest, set_digest

DOCUMENTS = st.lists(st.binary(max_size=5000), max_size=12)


def naive(documents: list[bytes]) -> bytes:
    """The definition, in the plainest words: add SHA-256 sums byte by byte, forget the last carry."""
    total = [0] * 32
    for document in documents:
        carry = 0
        digest = hashlib.sha256(document).digest()
        for place in range(31, -1, -1):
            carry += total[place] + digest[place]
            total[place], carry = carry & 255, carry >> 8
    return bytes(total)


@given(DOCUMENTS)
def test_it_is_what_the_definition_says(documents: list[bytes]) -> None:
    assert set_digest(documents) == naive(documents)


@given(DOCUMENTS, st.randoms(use_true_random=False))
def test_order_does_not_matter(documents: list[bytes], source: random.Random) -> None:
    shuffled = list(documents)
    source.shuffle(shuffled)
    assert set_digest(shuffled) == set_digest(documents)


@given(DOCUMENTS, st.lists(st.integers(0, 12), max_size=5))
def test_the_whole_is_the_sum_of_its_parts_however_they_are_cut(documents: list[bytes], cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(documents)) for cut in cuts), len(documents)]
    parts = [set_digest(documents[start:end]) for start, end in itertools.pairwise(edges)]
    assert combine(parts) == set_digest(documents)


@pytest.mark.parametrize(
    "size", [0, 1, 1983, 1984, 1985, 2047, 2048, 3967, 3968, 3969, 20_000, (128 << 10) - 1, 128 << 10, 300_000]
)
def test_documents_of_every_size_have_their_sha256(size: int) -> None:
    document = random.Random(size).randbytes(size)
    assert document_digest(document) == hashlib.sha256(document).digest()
    around = memoryview(b"xx" + document + b"x")
    assert document_digest(around[2 : 2 + size]) == hashlib.sha256(document).digest()


def test_nothing_has_the_digest_zero() -> None:
    assert set_digest([]) == combine([]) == EMPTY == bytes(32)
    assert combine([EMPTY, set_digest([b"a"])]) == set_digest([b"a"])


def test_a_document_twice_counts_twice() -> None:
    assert set_digest([b"a", b"a"]) != set_digest([b"a"])
    assert set_digest([b"a", b"a"]) != EMPTY


def test_the_sum_starts_again_at_two_to_the_256() -> None:
    assert combine([b"\xff" * 32, (1).to_bytes(32, "big")]) == EMPTY


@given(st.binary(min_size=1, max_size=4000), st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_one_changed_byte_changes_the_digest(document: bytes, place: int, change: int) -> None:
    other = bytearray(document)
    other[place % len(document)] ^= change
    assert set_digest([bytes(other)]) != set_digest([document])


def test_the_digest_of_a_sequence_depends_on_the_order() -> None:
    assert ordered_digest([b"ab", b"c"]) == hashlib.sha256(b"abc").digest()
    assert ordered_digest([b"ab", b"c"]) != ordered_digest([b"c", b"ab"])
    assert ordered_digest([]) == hashlib.sha256().digest()
