from __future__ import annotations

import io
import tracemalloc
import zipfile
from hashlib import sha256

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.raw_bson import DOCUMENTS, damaged
from tests.fakes.zips import Part, build, deflated

from growi_transfer.archive.volume import check, pack, unpack
from growi_transfer.protocol.errors import (
    ArchiveInvalid,
    ArchiveTooLarge,
    BsonInvalid,
    DigestMismatch,
    InvalidRequest,
    JsonInvalid,
    SizeMismatch,
    TransferError,
)
from growi_transfer.protocol.wire import VOLUME_LIMIT, Manifest

ONE = bson.encode({"_id": 1, "body": "text"})
TWO = bson.encode({"_id": 2})


def manifest_of(documents: list[bytes], *, ordered: bool = False) -> Manifest:
    """What protocol.digest defines, computed another way."""
    total = sum(int.from_bytes(sha256(document).digest()) for document in documents) % (1 << 256)
    sequence = sha256(b"".join(documents)).hexdigest()
    return Manifest(
        collection="pages",
        number=7,
        documents=len(documents),
        bytes=sum(map(len, documents)),
        digest=sequence if ordered else f"{total:064x}",
        ordered=ordered,
    )


def volume(documents: list[bytes], *, deflate: bool = True) -> bytes:
    return b"".join(pack(manifest_of(documents), documents, deflate=deflate))


def made_by_hand(manifest: bytes, *, documents: bytes = ONE, first: str = "manifest.json") -> bytes:
    return build([Part(first, manifest), Part("documents.bson", documents)])


@given(st.lists(DOCUMENTS, max_size=6), st.booleans(), st.booleans(), st.sampled_from([bytes, bytearray, memoryview]))
def test_documents_come_out_as_they_went_in(documents: list[bytes], deflate: bool, ordered: bool, kind: type) -> None:
    manifest = manifest_of(documents, ordered=ordered)
    body = b"".join(pack(manifest, documents, deflate=deflate))
    received, raw = unpack(kind(body))
    assert received == manifest
    assert check(received, raw) == documents


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("size", [10, 100_000])
def test_large_and_small_parts_make_the_same_documents(deflate: bool, size: int) -> None:
    documents = [bson.encode({"_id": number, "body": "wiki text " * (size // 10)}) for number in range(5)]
    body = b"".join(pack(manifest_of(documents), [memoryview(one) for one in documents], deflate=deflate))
    assert check(*unpack(body)) == documents


@pytest.mark.parametrize("deflate", [False, True])
def test_other_programs_read_a_volume(deflate: bool) -> None:
    with zipfile.ZipFile(io.BytesIO(volume([ONE, TWO], deflate=deflate))) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == ["manifest.json", "documents.bson"]
        assert opened.read("documents.bson") == ONE + TWO
        assert Manifest.model_validate_json(opened.read("manifest.json")) == manifest_of([ONE, TWO])
        assert {one.date_time for one in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_volume_of_another_program_is_taken() -> None:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("manifest.json", manifest_of([ONE]).model_dump_json())
        made.writestr("documents.bson", ONE)
    assert check(*unpack(body.getvalue())) == [ONE]


def test_stored_documents_are_not_copied() -> None:
    part = ONE * 1000
    pieces = pack(manifest_of([ONE] * 1000), [part], deflate=False)
    assert any(piece is part for piece in pieces)
    body = b"".join(pieces)
    assert unpack(body)[1].obj is body


def test_the_same_documents_make_the_same_volume() -> None:
    assert volume([ONE, TWO]) == volume([ONE, TWO])


def test_parts_that_are_not_what_the_manifest_says_are_not_packed() -> None:
    with pytest.raises(SizeMismatch):
        pack(manifest_of([ONE]), [ONE, TWO], deflate=False)


def test_the_largest_volume_fits_and_one_byte_more_does_not() -> None:
    manifest = manifest_of([]).model_copy(update={"bytes": 10_000_000})
    room = VOLUME_LIMIT - len(manifest.model_dump_json())
    manifest = manifest.model_copy(update={"bytes": room})
    assert len(unpack(b"".join(pack(manifest, [bytes(room)], deflate=True)))[1]) == room
    with pytest.raises(ArchiveTooLarge):
        pack(manifest.model_copy(update={"bytes": room + 1}), [bytes(room + 1)], deflate=True)


def test_the_largest_bounds_fit_and_larger_ones_do_not() -> None:
    bound = "x" * (24 << 20)
    manifest = manifest_of([ONE]).model_copy(update={"minimum": bound, "maximum": bound})
    assert unpack(b"".join(pack(manifest, [ONE], deflate=False)))[0] == manifest
    with pytest.raises(ArchiveTooLarge):
        pack(manifest.model_copy(update={"uuid": "x" * (1 << 20)}), [ONE], deflate=False)


# what a peer may send


GOOD = manifest_of([ONE]).model_dump_json().encode()
PARTS = [Part("manifest.json", GOOD), Part("documents.bson", ONE)]


def test_the_parts_below_are_a_good_volume() -> None:
    assert check(*unpack(build(PARTS))) == [ONE]


@pytest.mark.parametrize(
    "parts",
    [
        [],
        PARTS[:1],
        PARTS[1:],
        PARTS[::-1],
        [*PARTS, Part("more", b"")],
        [PARTS[0], PARTS[0]],
        [PARTS[0], Part("Documents.bson", ONE)],
        [PARTS[0], Part("x/documents.bson", ONE)],
        [PARTS[0], Part("../documents.bson", ONE)],
    ],
)
def test_other_entries_than_the_two_are_refused(parts: list[Part]) -> None:
    with pytest.raises((ArchiveInvalid, ArchiveTooLarge)):
        unpack(build(parts))


@pytest.mark.parametrize(
    ("manifest", "error"),
    [
        (b"", JsonInvalid),
        (b"{", JsonInvalid),
        (b"\xff", JsonInvalid),
        (b"[" * 100_000, JsonInvalid),
        (b"[]", InvalidRequest),
        (b"{}", InvalidRequest),
        (GOOD.replace(b'"pages"', b'"system.users"'), InvalidRequest),
        (GOOD.replace(b'"pages"', b'"sessions"'), InvalidRequest),
        (GOOD.replace(b'"number":7', b'"number":-7'), InvalidRequest),
        (GOOD.replace(b'"number":7', b'"number":"7"'), InvalidRequest),
        (GOOD.replace(b'"number":7', b'"number":7,"more":1'), InvalidRequest),
        (GOOD.replace(b'"digest":"', b'"digest":"0'), InvalidRequest),
    ],
)
def test_a_manifest_that_is_none_is_refused(manifest: bytes, error: type[TransferError]) -> None:
    with pytest.raises(error):
        unpack(made_by_hand(manifest))


@pytest.mark.parametrize("size", [0, len(ONE) - 1, len(ONE) + 1, 1 << 40])
def test_a_size_that_lies_is_refused(size: int) -> None:
    lie = manifest_of([ONE]).model_copy(update={"bytes": size}).model_dump_json().encode()
    with pytest.raises(SizeMismatch):
        unpack(made_by_hand(lie))


def test_a_count_that_lies_is_refused() -> None:
    for count in (0, 2):
        manifest = manifest_of([ONE]).model_copy(update={"documents": count})
        with pytest.raises(SizeMismatch):
            check(manifest, ONE)
    with pytest.raises(SizeMismatch):
        check(manifest_of([ONE]).model_copy(update={"bytes": 1}), ONE)


@pytest.mark.parametrize("ordered", [False, True])
def test_a_digest_that_lies_is_refused(ordered: bool) -> None:
    manifest = manifest_of([ONE, TWO], ordered=ordered)
    assert check(manifest, ONE + TWO) == [ONE, TWO]
    changed = ONE.replace(b"text", b"texT")
    with pytest.raises(DigestMismatch):
        check(manifest, changed + TWO)


def test_order_counts_only_where_it_should() -> None:
    assert check(manifest_of([ONE, TWO]), TWO + ONE) == [TWO, ONE]
    with pytest.raises(DigestMismatch):
        check(manifest_of([ONE, TWO], ordered=True), TWO + ONE)


def test_documents_that_are_cut_are_refused() -> None:
    whole = manifest_of([ONE])
    with pytest.raises(BsonInvalid):
        check(whole.model_copy(update={"bytes": len(ONE) - 1}), ONE[:-1])


def bomb(name: str, claim: int, packed: bytes, data: bytes = b"") -> Part:
    said = {"size": claim}
    return Part(name, data, deflate=True, stored_as=packed, local=said, central=said)


def bombs() -> dict[str, bytes]:
    size = VOLUME_LIMIT + (8 << 20)
    zeros = deflated(bytes(size), 9)
    manifest = Part("manifest.json", GOOD)
    return {
        "honest": build([manifest, bomb("documents.bson", size, zeros)]),
        "lying": build([manifest, bomb("documents.bson", len(ONE), zeros, ONE)]),
        "huge claim": build([manifest, bomb("documents.bson", 0xFFFFFFFE, b"\3\0")]),
        "in the manifest": build([bomb("manifest.json", size, zeros), Part("documents.bson", ONE)]),
        "lying in the manifest": build([bomb("manifest.json", len(GOOD), zeros, GOOD), Part("documents.bson", ONE)]),
    }


@pytest.mark.parametrize("what", ["honest", "lying", "huge claim", "in the manifest", "lying in the manifest"])
def test_bombs_are_refused_and_take_no_memory(what: str) -> None:
    body = bombs()[what]
    tracemalloc.start()
    try:
        with pytest.raises((ArchiveInvalid, ArchiveTooLarge)):
            unpack(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20


@given(st.lists(DOCUMENTS, max_size=4), st.booleans(), st.data())
@settings(max_examples=400)
def test_damage_is_refused_or_changes_nothing(documents: list[bytes], deflate: bool, data: st.DataObject) -> None:
    body = data.draw(damaged(volume(documents, deflate=deflate)))
    try:
        manifest, raw = unpack(body)
        found = check(manifest, raw)
    except TransferError:
        return
    assert manifest == manifest_of(documents)
    assert found == documents
