"""Very many files held against their documents: memory is that of a page of each, however many there are."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

from growi_transfer.storage.base import Features, Storage, StoredFile
from growi_transfer.storage.matching import matches

FILES, PAGE = 100_000, 1000
EVERY = 4
"""One file in so many has a document; and as many documents have no file."""


class Bucket:
    """As much of a storage as is asked for its files."""

    features = Features(kind="gridfs")

    async def list_files(self, prefix: str = "") -> AsyncIterator[list[StoredFile]]:
        for start in range(0, FILES, PAGE):
            yield [StoredFile(f"attachment/{n:08}", 7) for n in range(start, start + PAGE)]

    async def stat_many(self, paths: Sequence[str]) -> list[StoredFile | None]:
        return [None] * len(paths)


async def documents() -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    for start in range(0, FILES, PAGE):
        names = [f"{n:08}{odd}" for n in range(start, start + PAGE, EVERY) for odd in ("", "x")]
        yield [{"_id": name, "fileName": name, "path": f"attachment/{name}"} for name in names]


async def test_memory_does_not_grow_with_the_number_of_files() -> None:
    orphans = matched = missing = 0
    blocks: list[int] = []
    """Blocks of memory that are in use, now and then."""
    async for match in matches(cast("Storage", Bucket()), documents()):
        orphans += match.document is None
        matched += match.document is not None and match.file is not None
        missing += match.file is None
        if orphans % 5000 == 1:
            blocks.append(sys.getallocatedblocks())
    assert (orphans, matched, missing) == (FILES - FILES // EVERY, FILES // EVERY, FILES // EVERY)
    # One that is kept of each file would be more than FILES blocks.
    assert max(blocks) - min(blocks) < FILES // 4
