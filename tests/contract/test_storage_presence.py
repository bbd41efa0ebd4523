"""How many requests it takes to see which files are there."""

from __future__ import annotations

import pytest
from tests.fakes.storages import Bench, Benches, small

from growi_transfer.storage.base import StoredFile
from growi_transfer.storage.object_store import presence
from growi_transfer.storage.object_store.bucket import Bucket

THERE = [f"attachment/{number:03}" for number in range(60)]
ASKED = [*THERE[::-1], *(f"attachment/{number:03}+" for number in range(60)), "user/000", "user/none"]


@pytest.fixture
async def full(benches: Benches, monkeypatch: pytest.MonkeyPatch) -> tuple[Bench, list[str]]:
    """A storage with THERE and `user/000`, and the paths that are asked for one by one from now on."""
    bench = await benches.make("aws")
    assert await bench.storage.write_many(small([*THERE, "user/000"])) == [None] * 61
    # The first object that is not there would have the bucket itself looked at, if none had been found before.
    assert await bench.storage.stat_many(["user/000"]) == [StoredFile("user/000", 100)]
    asked: list[str] = []
    head = Bucket.head

    async def counted(bucket: Bucket, path: str) -> object:
        asked.append(path)
        return await head(bucket, path)

    monkeypatch.setattr(Bucket, "head", counted)
    return bench, asked


def expected() -> list[StoredFile | None]:
    return [StoredFile(path, 100) if path in {*THERE, "user/000"} else None for path in ASKED]


async def test_a_folder_with_few_files_is_listed(full: tuple[Bench, list[str]]) -> None:
    bench, asked = full
    assert await bench.storage.stat_many(ASKED) == expected()
    assert sorted(asked) == ["user/000", "user/none"]


async def test_files_of_a_large_folder_are_asked_for_one_by_one(
    full: tuple[Bench, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, asked = full
    monkeypatch.setattr(presence, "PAGE", 10)
    monkeypatch.setattr(presence, "_EACH", 0.1)
    listed: list[str] = []
    pages = Bucket.pages
    monkeypatch.setattr(Bucket, "pages", lambda bucket, folder: (listed.append(folder), pages(bucket, folder))[1])
    for _ in range(2):
        assert await bench.storage.stat_many(ASKED) == expected()
    assert listed == ["attachment/"]
    # What the listing has told by then is not asked for; the second time it is known to be of no use.
    assert len(asked) == (122 - 60) + 122
