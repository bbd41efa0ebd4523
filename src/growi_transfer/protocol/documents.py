"""Cuts a run of raw BSON into documents without decoding them.

Raw BSON is documents one after another, as they stand in a volume, in `<collection>.bson` and in a reply of the
server: four bytes of length (little endian, itself included), the elements, one NUL. Only this frame is checked here;
what is inside a document (types, depth, text) is the server's to judge.

Every function takes what a peer sent and raises nothing but BsonInvalid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct

from growi_transfer.protocol.errors import BsonInvalid
from growi_transfer.protocol.wire import DOCUMENT_LIMIT, RANGE_BYTES

SMALLEST = 5
"""Bytes of the empty document."""

_read_length = Struct("<i").unpack_from


def split(raw: bytes | bytearray | memoryview) -> list[memoryview]:
    """The documents of `raw`, as views into it, in order. Raises BsonInvalid unless it is whole documents only."""
    view = memoryview(raw)
    documents, end = _whole_documents(view)
    if end != len(view):
        raise BsonInvalid("The documents are cut: the last one is not whole.", offset=end)
    return documents


def regroup(chunks: Iterable[bytes | memoryview], batch_bytes: int = RANGE_BYTES) -> Iterator[list[memoryview]]:
    """Documents of a stream that is cut anywhere, in batches of about `batch_bytes` (a last one may be smaller, and
    one grows to hold a larger document). No batch is empty. Raises BsonInvalid if the stream is not whole documents.

    Keeps at most a batch, one document and one chunk in memory, as long as the caller drops a batch before the next.
    """
    pieces: list[bytes | memoryview] = []
    held = 0
    wanted = batch_bytes
    for chunk in chunks:
        pieces.append(chunk)
        held += len(chunk)
        if held < wanted:
            continue
        view = memoryview(b"".join(pieces))
        documents, end = _whole_documents(view)
        rest = view[end:]
        # A document longer than a batch is waited for, instead of being joined again with every chunk.
        wanted = max(batch_bytes, _length_at(rest, 0) if len(rest) >= 4 else 0)
        pieces, held = [bytes(rest)], len(rest)
        if documents:
            yield documents
        del view, rest, documents
    if held:
        yield split(b"".join(pieces))


def _whole_documents(view: memoryview) -> tuple[list[memoryview], int]:
    """The documents that are there in full, and where the first one that is not begins."""
    documents: list[memoryview] = []
    append = documents.append
    read_length = _read_length
    position = 0
    total = len(view)
    last_header = total - 4
    while position <= last_header:
        (length,) = read_length(view, position)
        if length < SMALLEST or length > DOCUMENT_LIMIT:
            raise _bad_length(length, position)
        end = position + length
        if end > total:
            break
        if view[end - 1]:
            raise BsonInvalid("A document does not end where its length says.", offset=position)
        append(view[position:end])
        position = end
    return documents, position


def _length_at(view: memoryview, position: int) -> int:
    (length,) = _read_length(view, position)
    return int(length)


def _bad_length(length: int, position: int) -> BsonInvalid:
    if length > DOCUMENT_LIMIT:
        return BsonInvalid(f"A document is longer than {DOCUMENT_LIMIT} bytes.", length=length, offset=position)
    return BsonInvalid("The length of a document is not possible.", length=length, offset=position)
