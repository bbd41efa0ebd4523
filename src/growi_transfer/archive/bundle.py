"""Attachments in one request: a line that names the format, then frames, until the body ends.

    bundle = magic *frame
    magic  = "growi-transfer bundle 1" LF                      ; 24 bytes
    frame  = length header content
    length = 4 bytes, big endian: bytes of the header, 2 to 65,536
    header = JSON of protocol.wire.AttachmentFile, `sha256` not null
    content = `size` bytes

A bundle has 1 to BUNDLE_FILES frames, no two for one id or one place in the storage, and at most BUNDLE_LIMIT bytes.

Where the framing is lost (a cut, a header that is not one) nothing of the bundle can be trusted, so all of it is
refused. A content that is not what its header's digest says is an error of that file alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from struct import Struct

from growi_transfer.protocol.errors import (
    BodyTooLarge,
    DigestMismatch,
    FrameInvalid,
    InvalidRequest,
    SizeMismatch,
    TransferError,
)
from growi_transfer.protocol.wire import BUNDLE_FILES, BUNDLE_LIMIT, AttachmentFile, parse

MAGIC = b"growi-transfer bundle 1\n"
HEADER_LIMIT = 64 << 10
_LENGTH = Struct(">L")


def hash_contents(contents: Iterable[bytes | memoryview]) -> list[str]:
    """Hex SHA-256 of each, in one call for a thread: long ones are hashed without the interpreter lock."""
    return [sha256(content).hexdigest() for content in contents]


def write_frames(files: Sequence[tuple[AttachmentFile, bytes | memoryview]]) -> list[bytes | memoryview]:
    """The bundle as pieces to be sent one after another; contents are not copied, and not hashed again.

    Raises SizeMismatch if a content is not as long as its file says, FrameInvalid if there is no file, one without
    `sha256`, or one twice, BodyTooLarge if no receiver would take the bundle.
    """
    pieces: list[bytes | memoryview] = []
    seen: set[tuple[str, ...]] = set()
    before = MAGIC
    total = 0
    for file, content in files:
        _check_once(file, seen)
        if len(content) != file.size:
            raise SizeMismatch(file_name=file.file_name, size=len(content), announced=file.size)
        header = file.model_dump_json().encode()
        pieces += [before + _LENGTH.pack(len(header)) + header, content]
        total += len(pieces[-2]) + len(content)
        before = b""
    _check_count(len(files))
    if total > BUNDLE_LIMIT:
        raise _too_large()
    return pieces


def read_frames(body: bytes | bytearray | memoryview) -> list[tuple[AttachmentFile, memoryview | TransferError]]:
    """The files of a bundle in order: each with its content as a view into `body`, or with the error it has.

    Every content is hashed here, so this is for a thread. Raises FrameInvalid (see the module) or BodyTooLarge.
    """
    view = memoryview(body)
    if len(view) > BUNDLE_LIMIT:
        raise _too_large()
    if view[: len(MAGIC)] != MAGIC:
        raise FrameInvalid("This is not a bundle of attachments.")
    frames: list[tuple[AttachmentFile, memoryview | TransferError]] = []
    seen: set[tuple[str, ...]] = set()
    position = len(MAGIC)
    while position < len(view):
        if len(frames) == BUNDLE_FILES:
            _check_count(BUNDLE_FILES + 1)
        file, position = _header(view, position)
        _check_once(file, seen)
        content = view[position : position + file.size]
        if len(content) != file.size:
            raise FrameInvalid("A content is shorter than its header says.", file_name=file.file_name)
        position += file.size
        frames.append((file, _proved(file, content)))
    _check_count(len(frames))
    return frames


def _header(view: memoryview, position: int) -> tuple[AttachmentFile, int]:
    """A frame's header, and where its content begins."""
    start = position + _LENGTH.size
    if start > len(view):
        raise FrameInvalid("The bundle is cut in the length of a header.", offset=position)
    (length,) = _LENGTH.unpack_from(view, position)
    end = start + length
    if length < 2 or length > HEADER_LIMIT or end > len(view):
        raise FrameInvalid("A header is cut, or its length is not possible.", offset=position, length=length)
    try:
        return parse(AttachmentFile, bytes(view[start:end])), end
    except InvalidRequest as error:
        raise FrameInvalid(f"A header is not one: {error.message}", offset=position) from None


def _check_once(file: AttachmentFile, seen: set[tuple[str, ...]]) -> None:
    if file.sha256 is None:
        raise FrameInvalid("A file in a bundle needs its sha256.", file_name=file.file_name)
    for key in (("id", file.id), ("path", str(file.has_page), file.file_name), ("filePath", file.file_path)):
        if key == ("filePath", ""):
            continue
        if key in seen:
            raise FrameInvalid("A file is twice in the bundle.", file_name=file.file_name)
        seen.add(key)


def _check_count(count: int) -> None:
    if not 1 <= count <= BUNDLE_FILES:
        raise FrameInvalid(f"A bundle has 1 to {BUNDLE_FILES} files.", files=count)


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"A bundle has at most {BUNDLE_LIMIT} bytes.")


def _proved(file: AttachmentFile, content: memoryview) -> memoryview | TransferError:
    if sha256(content).hexdigest() == file.sha256:
        return content
    return DigestMismatch(file_name=file.file_name)
