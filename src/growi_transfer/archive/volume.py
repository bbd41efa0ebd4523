"""A volume: the documents of one range as a small zip, `manifest.json` and `documents.bson` and nothing else.

All functions are pure and work in memory. They are meant for a thread: checksums, packing and hashing of anything
long run without the interpreter lock. docs/formats/archive.md has the format.
"""

from __future__ import annotations

from collections.abc import Sequence

from isal import isal_zlib

from growi_transfer.archive import zip_format as zf
from growi_transfer.archive.directory import Entry, MemorySource, read_directory
from growi_transfer.archive.entries import LEVEL, RAW_DEFLATE, Packer, read_whole
from growi_transfer.protocol.digest import ordered_digest, set_digest
from growi_transfer.protocol.documents import split
from growi_transfer.protocol.errors import ArchiveInvalid, ArchiveTooLarge, DigestMismatch, SizeMismatch
from growi_transfer.protocol.wire import VOLUME_LIMIT, Manifest, parse

MANIFEST_NAME = "manifest.json"
DOCUMENTS_NAME = "documents.bson"
MANIFEST_LIMIT = (48 << 20) + (64 << 10)
"""Bytes: two bounds of the largest possible `_id` in base64, and the rest."""

_WORTH_A_CALL = 32 << 10
"""Bytes. Many smaller pieces are joined first: a call for each costs more than the copy."""


def pack(manifest: Manifest, parts: Sequence[bytes | memoryview], *, deflate: bool) -> list[bytes | memoryview]:
    """The volume as pieces to be sent one after another; stored parts are not copied.

    `parts` together are the documents. Raises SizeMismatch if they are not `manifest.bytes` long, ArchiveTooLarge if
    no receiver would take the volume.
    """
    text = manifest.model_dump_json().encode()
    size = sum(len(part) for part in parts)
    if size != manifest.bytes:
        raise SizeMismatch("The documents are not as long as their manifest says.", size=size, announced=manifest.bytes)
    if size + len(text) > VOLUME_LIMIT or len(text) > MANIFEST_LIMIT:
        raise ArchiveTooLarge(f"The volume has more than {VOLUME_LIMIT} bytes.", bytes=size + len(text))
    if len(parts) > 1 and size < len(parts) * _WORTH_A_CALL:
        parts = [b"".join(parts)]
    data, crc = _packed(parts, deflate=deflate)
    packed = sum(len(piece) for piece in data)
    first = zf.Record(
        MANIFEST_NAME.encode(), zf.UTF8_FLAG, zf.STORED, isal_zlib.crc32(text), len(text), len(text), offset=0
    )
    head = zf.local_header(first) + text
    method = zf.DEFLATED if deflate else zf.STORED
    second = zf.Record(DOCUMENTS_NAME.encode(), zf.UTF8_FLAG, method, crc, packed, size, offset=len(head))
    head += zf.local_header(second)
    directory = zf.central_record(first) + zf.central_record(second)
    return [head, *data, directory + zf.directory_end(2, len(directory), len(head) + packed)]


def unpack(body: bytes | bytearray | memoryview) -> tuple[Manifest, memoryview]:
    """The manifest and the documents' raw BSON (a view into `body` if they are stored).

    Everything about the container is checked; the documents themselves are what `check` is for. Never takes more
    memory than VOLUME_LIMIT beside `body`, whatever is claimed. Raises ArchiveInvalid, ArchiveTooLarge, SizeMismatch,
    JsonInvalid or InvalidRequest.
    """
    source = MemorySource(body)
    entries = read_directory(source, max_entries=2, max_bytes=VOLUME_LIMIT)
    if [entry.name for entry in entries] != [MANIFEST_NAME, DOCUMENTS_NAME]:
        raise ArchiveInvalid(f"A volume is exactly {MANIFEST_NAME} and {DOCUMENTS_NAME}.")
    manifest = _manifest(source, entries[0])
    if entries[1].size != manifest.bytes:
        raise SizeMismatch(
            "The documents are not as long as their manifest says.", size=entries[1].size, announced=manifest.bytes
        )
    return manifest, memoryview(read_whole(source, entries[1], VOLUME_LIMIT))


def check(manifest: Manifest, raw: bytes | memoryview) -> list[memoryview]:
    """The documents in `raw`, proved to be those that the manifest announces: number, bytes and digest.

    Raises BsonInvalid, SizeMismatch or DigestMismatch.
    """
    documents = split(raw)
    if len(raw) != manifest.bytes or len(documents) != manifest.documents:
        raise SizeMismatch(
            "There are not as many documents as their manifest says.",
            documents=len(documents),
            announced=manifest.documents,
        )
    digest = ordered_digest([raw]) if manifest.ordered else set_digest(documents)
    if digest.hex() != manifest.digest:
        raise DigestMismatch(collection=manifest.collection, number=manifest.number)
    return documents


def _manifest(source: MemorySource, entry: Entry) -> Manifest:
    return parse(Manifest, bytes(read_whole(source, entry, MANIFEST_LIMIT)))


def _packed(parts: Sequence[bytes | memoryview], *, deflate: bool) -> tuple[list[bytes | memoryview], int]:
    """The parts packed, and the CRC of what they were."""
    if deflate and len(parts) == 1:
        # One call takes the interpreter lock back less often than a packer that is fed.
        return [isal_zlib.compress(parts[0], LEVEL, RAW_DEFLATE)], isal_zlib.crc32(parts[0])
    packer = Packer(deflate=deflate)
    data = [packer.feed(part) for part in parts]
    return [*data, packer.finish()], packer.crc
