"""Which files a GROWI says it has: its answer to `GET files`, kept as numbers, so that a million of them fit."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from hashlib import blake2b

import orjson

from growi_transfer.protocol.errors import InvalidRequest, JsonInvalid


class Listing:
    """Names and sizes. GROWI compares the last part of a name and the size, and so do we."""

    def __init__(self, files: Iterable[tuple[str, int]]) -> None:
        self._known = array("Q", sorted(_number(name, size) for name, size in files))

    def __len__(self) -> int:
        return len(self._known)

    def has(self, file_name: str, size: int) -> bool:
        """Whether a file of this name and size is there. 64 bits of a digest stand for the two: a false yes comes once
        in 10^13 questions of a million files."""
        number = _number(file_name, size)
        at = bisect_left(self._known, number)
        return at < len(self._known) and self._known[at] == number

    def has_one(self, paths: Iterable[str], size: int) -> bool:
        """Whether a file is there under one of these, whose last part counts."""
        return any(self.has(path.rpartition("/")[2], size) for path in paths)


def parse_listing(body: bytes) -> Listing:
    """An answer `{"files": [{"name", "size"}]}`. Raises JsonInvalid or InvalidRequest."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise JsonInvalid("The answer to `files` is not valid JSON.") from None
    files = answer.get("files") if isinstance(answer, dict) else None
    if not isinstance(files, list):
        raise InvalidRequest("The answer to `files` has no list of files.", field="files")
    found: list[tuple[str, int]] = []
    for file in files:
        name, size = (file.get("name"), file.get("size")) if isinstance(file, dict) else (None, None)
        if not isinstance(name, str) or isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise InvalidRequest("The answer to `files` has an entry that is no file.", field="files")
        found.append((name.rpartition("/")[2], size))
    return Listing(found)


def _number(name: str, size: int) -> int:
    digest = blake2b(f"{size}/{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
