"""Digests of documents and files.

The digest of a set of documents is the sum modulo 2^256 of SHA-256 over each document's raw BSON, as 32 bytes big
endian: it does not depend on the order, and the digest of a collection is the sum of those of its ranges, however
they were cut. A capped collection has an order worth proving, so there the digest of a volume is SHA-256 over the
concatenated documents. The digest of a file is SHA-256 of its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

_MODULUS = 1 << 256
EMPTY = bytes(32)
_PIECE = 1984
"""Bytes. hashlib gives the interpreter lock away for inputs of 2048 bytes and more, and a thread that gave it away
waits up to a switch interval (5 ms) for it while another one computes: 100,000 documents then take a minute instead
of half a second. Smaller pieces, here a multiple of SHA-256's block, keep the lock for about a tenth more work."""
_LARGE = 128 << 10
"""Bytes from which the hash itself is long enough to be worth giving the lock away."""


def document_digest(document: bytes | memoryview) -> bytes:
    """SHA-256 of one document's raw BSON. Several threads are no faster than one: see `_PIECE`."""
    if len(document) <= _PIECE or len(document) >= _LARGE:
        return sha256(document).digest()
    view = memoryview(document)
    hasher = sha256()
    for start in range(0, len(view), _PIECE):
        hasher.update(view[start : start + _PIECE])
    return hasher.digest()


def set_digest(documents: Iterable[bytes | memoryview]) -> bytes:
    """Digest of a set of documents (see the module)."""
    total = 0
    for document in documents:
        total += int.from_bytes(document_digest(document), "big")
    return (total % _MODULUS).to_bytes(32, "big")


def ordered_digest(documents: Iterable[bytes | memoryview]) -> bytes:
    """Digest of a sequence of documents whose order counts."""
    hasher = sha256()
    for document in documents:
        hasher.update(document)
    return hasher.digest()


def files_digest(files: Iterable[tuple[str, int, bytes]]) -> bytes:
    """Digest of a set of files, each a path, a size in bytes and the SHA-256 of the content: the sum as above, over
    SHA-256 of path, size and hexadecimal digest joined by line feeds (UTF-8)."""
    return combine(sha256(f"{path}\n{size}\n{digest.hex()}".encode()).digest() for path, size, digest in files)


def combine(digests: Iterable[bytes]) -> bytes:
    """Digest of the union of sets that have these digests."""
    return (sum(int.from_bytes(digest, "big") for digest in digests) % _MODULUS).to_bytes(32, "big")
