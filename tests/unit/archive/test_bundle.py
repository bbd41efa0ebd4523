from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.raw_bson import damaged

from growi_transfer.archive.bundle import HEADER_LIMIT, MAGIC, hash_contents, read_frames, write_frames
from growi_transfer.protocol.errors import BodyTooLarge, DigestMismatch, FrameInvalid, SizeMismatch, TransferError
from growi_transfer.protocol.wire import BUNDLE_FILES, BUNDLE_LIMIT, AttachmentFile


def attachment(number: int, content: bytes, *, has_page: bool = True, **more: str) -> AttachmentFile:
    return AttachmentFile(
        id=f"{number:024x}",
        file_name=f"{number:032x}.png",
        has_page=has_page,
        size=len(content),
        sha256=sha256(content).hexdigest(),
        **more,
    )


def bundle(files: list[tuple[AttachmentFile, bytes]]) -> bytes:
    return b"".join(write_frames(files))


def frame(header: bytes, content: bytes = b"", *, length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(4, "big") + header + content


ONE = (attachment(1, b"one"), b"one")
TWO = (attachment(2, b"", has_page=False, content_type="text/plain", original_name="日本語.txt"), b"")
FILES = st.lists(st.binary(max_size=60), min_size=1, max_size=5).map(
    lambda contents: [(attachment(number, content), content) for number, content in enumerate(contents)]
)


@given(FILES, st.sampled_from([bytes, bytearray, memoryview]))
def test_files_come_out_as_they_went_in(files: list[tuple[AttachmentFile, bytes]], kind: type) -> None:
    assert read_frames(kind(bundle(files))) == files


def test_every_field_of_a_header_is_kept() -> None:
    assert read_frames(bundle([ONE, TWO])) == [ONE, TWO]


def test_the_bytes_are_those_of_the_format() -> None:
    header = ONE[0].model_dump_json().encode()
    assert bundle([ONE]) == b"growi-transfer bundle 1\n" + frame(header, b"one")


def test_contents_are_neither_copied_on_the_way_out_nor_on_the_way_in() -> None:
    assert write_frames([ONE])[1] is ONE[1]
    body = bundle([ONE])
    ((_, content),) = read_frames(body)
    assert isinstance(content, memoryview)
    assert content.obj is body


def test_hashes_are_those_of_the_contents() -> None:
    assert hash_contents([b"one", memoryview(b"")]) == [sha256(b"one").hexdigest(), sha256(b"").hexdigest()]


def test_a_digest_that_lies_is_the_fault_of_its_file_alone() -> None:
    lie = ONE[0].model_copy(update={"sha256": "0" * 64})
    first, second = read_frames(bundle([(lie, b"one"), TWO]))
    assert first[0] == lie
    assert isinstance(first[1], DigestMismatch)
    assert second == TWO


def test_what_was_not_announced_is_not_written() -> None:
    with pytest.raises(SizeMismatch):
        write_frames([(ONE[0], b"ones")])
    with pytest.raises(FrameInvalid, match="sha256"):
        write_frames([(ONE[0].model_copy(update={"sha256": None}), b"one")])
    with pytest.raises(FrameInvalid, match="twice"):
        write_frames([ONE, ONE])
    with pytest.raises(FrameInvalid):
        write_frames([])


def test_the_same_name_at_another_place_is_another_file() -> None:
    other = attachment(2, b"two", has_page=False).model_copy(update={"file_name": ONE[0].file_name})
    assert read_frames(bundle([ONE, (other, b"two")])) == [ONE, (other, b"two")]


HEADER = ONE[0].model_dump_json().encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        MAGIC[:-1],
        MAGIC,
        MAGIC.replace(b"1", b"2") + frame(HEADER, b"one"),
        b"PK\3\4" + bytes(60),
        MAGIC + b"\0",
        MAGIC + b"\0\0\0",
        MAGIC + frame(HEADER, b"on"),
        MAGIC + frame(HEADER, b"ones"),
        MAGIC + frame(HEADER, b"one") * 2,
        MAGIC + frame(HEADER, b"one", length=len(HEADER) + 1),
        MAGIC + frame(HEADER, b"one", length=len(HEADER) - 1),
        MAGIC + frame(HEADER, b"one", length=0xFFFFFFFF),
        MAGIC + frame(HEADER, b"one", length=0),
        MAGIC + frame(HEADER + b" " * HEADER_LIMIT, b"one"),
        MAGIC + frame(b""),
        MAGIC + frame(b"{}"),
        MAGIC + frame(b"[]"),
        MAGIC + frame(b"\xff\xff"),
        MAGIC + frame(b"[" * 60_000),
        MAGIC + frame(HEADER.replace(b'"size":3', b'"size":-3'), b"one"),
        MAGIC + frame(HEADER.replace(b'"size":3', b'"size":3.0'), b"one"),
        MAGIC + frame(HEADER.replace(b'"size":3', b'"size":"3"'), b"one"),
        MAGIC + frame(HEADER.replace(b'"size":3', b'"size":4611686018427387904'), b"one"),
        MAGIC + frame(HEADER.replace(b'"size":3', b'"size":99999999999999999999999'), b"one"),
        MAGIC + frame(HEADER.replace(b"1.png", b"/../a.png"), b"one"),
        MAGIC + frame(HEADER.replace(b".png", b".png\\u0000"), b"one"),
        MAGIC + frame(HEADER.replace(ONE[0].sha256.encode(), b"0" * 63), b"one"),  # type: ignore[union-attr]
        MAGIC + frame(HEADER.replace(b'"' + ONE[0].sha256.encode() + b'"', b"null"), b"one"),  # type: ignore[union-attr]
    ],
)
def test_broken_framing_refuses_the_whole_bundle(body: bytes) -> None:
    with pytest.raises(FrameInvalid):
        read_frames(body)


def test_two_files_for_one_place_are_refused() -> None:
    same_name = attachment(2, b"two").model_copy(update={"file_name": ONE[0].file_name})
    for other in (same_name, attachment(1, b"two").model_copy(update={"file_name": "b.png"})):
        with pytest.raises(FrameInvalid, match="twice"):
            read_frames(bundle([ONE]) + bundle([(other, b"two")])[len(MAGIC) :])


def test_a_bundle_has_a_limit_of_files() -> None:
    files = [(attachment(number, b"x"), b"x") for number in range(BUNDLE_FILES + 1)]
    assert len(read_frames(bundle(files[:-1]))) == BUNDLE_FILES
    with pytest.raises(FrameInvalid):
        write_frames(files)
    with pytest.raises(FrameInvalid, match="1 to 512"):
        read_frames(bundle(files[:-1]) + bundle(files[-1:])[len(MAGIC) :])


def test_a_bundle_has_a_limit_of_bytes() -> None:
    content = bytes(BUNDLE_LIMIT)
    with pytest.raises(BodyTooLarge):
        write_frames([(attachment(1, content), content)])
    with pytest.raises(BodyTooLarge):
        read_frames(MAGIC + frame(attachment(1, content).model_dump_json().encode(), content))


@given(FILES, st.data())
@settings(max_examples=400)
def test_damage_is_refused_or_shows_or_changes_nothing_of_a_content(
    files: list[tuple[AttachmentFile, bytes]], data: st.DataObject
) -> None:
    sent = {file.sha256: content for file, content in files}
    try:
        frames = read_frames(data.draw(damaged(bundle(files))))
    except TransferError:
        return
    for file, content in frames:
        if isinstance(content, DigestMismatch):
            continue
        assert isinstance(content, memoryview)
        assert sha256(content).hexdigest() == file.sha256
        assert sent.get(file.sha256) == content
