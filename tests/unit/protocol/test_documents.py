from __future__ import annotations

import tracemalloc
from struct import pack

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.raw_bson import DOCUMENTS, damaged

from growi_transfer.protocol.documents import regroup, split
from growi_transfer.protocol.errors import BsonInvalid
from growi_transfer.protocol.wire import DOCUMENT_LIMIT

EMPTY_DOCUMENT = b"\x05\x00\x00\x00\x00"
MANY = st.lists(DOCUMENTS, max_size=8)


def of_size(size: int) -> bytes:
    """A document of exactly this many bytes."""
    return bson.encode({"_id": 1, "body": "x" * (size - len(bson.encode({"_id": 1, "body": ""})))})


@given(MANY, st.sampled_from([bytes, bytearray, memoryview]))
def test_documents_come_out_as_they_went_in(documents: list[bytes], kind: type) -> None:
    assert split(kind(b"".join(documents))) == documents


def test_nothing_is_no_documents() -> None:
    assert split(b"") == []


@given(MANY.flatmap(lambda documents: damaged(b"".join(documents))))
def test_damaged_input_is_refused_or_is_whole_documents(raw: bytes) -> None:
    try:
        documents = split(raw)
    except BsonInvalid:
        return
    assert b"".join(documents) == raw
    for document in documents:
        assert int.from_bytes(document[:4], "little") == len(document)
        assert document[-1] == 0


@given(st.lists(DOCUMENTS, min_size=1, max_size=4), st.data())
def test_a_cut_anywhere_but_between_documents_is_refused(documents: list[bytes], data: st.DataObject) -> None:
    raw = b"".join(documents)
    cut = data.draw(st.integers(0, len(raw)))
    edges = {sum(map(len, documents[:number])) for number in range(len(documents) + 1)}
    if cut in edges:
        assert b"".join(split(raw[:cut])) == raw[:cut]
    else:
        with pytest.raises(BsonInvalid):
            split(raw[:cut])


def test_the_largest_document_is_taken_and_one_byte_more_is_not() -> None:
    assert len(split(of_size(DOCUMENT_LIMIT) + EMPTY_DOCUMENT)) == 2
    with pytest.raises(BsonInvalid, match="longer than 16777216"):
        split(of_size(DOCUMENT_LIMIT + 1))


@pytest.mark.parametrize("length", [4, 3, 1, 0, -1, -(2**31), 2**31 - 1, DOCUMENT_LIMIT + 1])
def test_impossible_lengths_are_refused(length: int) -> None:
    with pytest.raises(BsonInvalid):
        split(EMPTY_DOCUMENT + pack("<i", length) + bytes(64))


def test_a_document_that_does_not_end_with_nul_is_refused() -> None:
    with pytest.raises(BsonInvalid, match="does not end"):
        split(EMPTY_DOCUMENT + b"\x05\x00\x00\x00\x01")


@given(MANY, st.integers(1, 64), st.data())
def test_a_stream_cut_anywhere_gives_the_same_documents(
    documents: list[bytes], batch: int, data: st.DataObject
) -> None:
    raw = b"".join(documents)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    chunks = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    batches = list(regroup(chunks, batch))
    assert [document for one in batches for document in one] == documents
    assert all(batches)


@given(MANY.flatmap(lambda documents: damaged(b"".join(documents))), st.integers(1, 40))
def test_a_damaged_stream_is_judged_as_the_whole_is(raw: bytes, size: int) -> None:
    def outcome(run: object) -> object:
        try:
            return b"".join(bytes(document) for document in run())  # type: ignore[operator]
        except BsonInvalid:
            return BsonInvalid

    chunks = [raw[start : start + size] for start in range(0, len(raw), size)]
    assert outcome(lambda: [d for batch in regroup(chunks, 50) for d in batch]) == outcome(lambda: split(raw))


def test_batches_are_about_as_large_as_asked_for() -> None:
    document = of_size(1000)
    sizes = [sum(map(len, batch)) for batch in regroup([document * 100] * 20, 150_000)]
    assert sum(sizes) == 2_000_000
    assert all(150_000 <= size <= 300_000 for size in sizes[:-1])


@pytest.mark.timeout(15)
def test_a_large_document_in_small_chunks_is_joined_once() -> None:
    document = of_size(DOCUMENT_LIMIT)
    view = memoryview(document)
    chunks = (view[start : start + 1024] for start in range(0, len(view), 1024))
    tracemalloc.start()
    try:
        ((only,),) = regroup(chunks, 1024)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert only == view
    # The views of the chunks take some, too. Joining with every chunk would copy 130 GB, and meet the time limit.
    assert peak < 1.5 * DOCUMENT_LIMIT


def test_a_long_stream_is_held_one_batch_at_a_time() -> None:
    chunk = of_size(1000) * 1000
    peak = 0
    tracemalloc.start()
    try:
        count = 0
        for batch in regroup((bytes(bytearray(chunk)) for _ in range(60)), 4_000_000):
            count += len(batch)
            del batch
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 60_000
    assert peak < 14_000_000
