"""GROWI's archive as a file: what we write, what we take, what we refuse."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import ObjectId

from growi_transfer.archive.growi_archive import (
    GrowiArchiveWriter,
    GrowiMeta,
    encode,
    is_growi_archive,
    losses,
    open_growi_archive,
)
from growi_transfer.archive.sink import FileSink
from growi_transfer.protocol.errors import ArchiveInvalid, BsonInvalid, JsonInvalid, TransferError

META = {"version": "7.3.0", "url": "http://wiki", "passwordSeed": "s3cret", "exportedAt": "x", "envVars": {"A": "b"}}


async def batches(documents: list[dict[str, Any]], size: int = 3) -> AsyncIterator[bytes]:
    for start in range(0, len(documents), size):
        yield b"".join(bson.encode(document) for document in documents[start : start + size])


async def write(collections: Mapping[str, list[dict[str, Any]]], **seed: str) -> bytes:
    file = io.BytesIO()
    writer = GrowiArchiveWriter(FileSink(file))
    for name, documents in collections.items():
        assert await writer.add_collection(name, batches(documents)) == len(documents)
    await writer.finish(GrowiMeta("7.3.0", "http://wiki", "2026-11-21T19:40:16.758Z", {"A": "b"}), **seed)
    return file.getvalue()


def zipped(path: Path, entries: Mapping[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


async def read(path: Path) -> dict[str, list[Any]]:
    async with open_growi_archive(path) as archive:
        return {
            name: [bson.decode(raw) async for batch in archive.documents(name) for raw in batch]
            for name in archive.collections
        }


async def test_what_is_written_is_what_growi_writes() -> None:
    ids = [ObjectId() for _ in range(7)]
    raw = await write({"tags": [{"_id": one, "name": "タグ", "__v": 0} for one in ids], "bookmarks": []})
    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        assert file.namelist() == ["tags.json", "bookmarks.json", "meta.json"]
        assert file.testzip() is None
        expected = ",".join(f'{{"_id":"{one}","name":"タグ","__v":0}}' for one in ids)
        assert file.read("tags.json").decode() == f"[{expected}]"
        assert file.read("bookmarks.json") == b"[]"
        assert file.read("meta.json").decode() == (
            '{"version":"7.3.0","url":"http://wiki","passwordSeed":null,'
            '"exportedAt":"2026-11-21T19:40:16.758Z","envVars":{"A":"b"}}'
        )


async def test_what_is_written_is_read(tmp_path: Path) -> None:
    documents = [{"_id": ObjectId(), "path": f"/{number}", "creator": ObjectId(), "grant": 1} for number in range(2000)]
    path = tmp_path / "wiki.growi.zip"
    path.write_bytes(await write({"pages": documents, "tags": []}))
    assert await is_growi_archive(path)
    assert await read(path) == {"pages": documents, "tags": []}
    async with open_growi_archive(path) as archive:
        assert archive.meta == GrowiMeta("7.3.0", "http://wiki", "2026-11-21T19:40:16.758Z", {"A": "b"})


async def test_the_seed_is_written_only_when_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "wiki.growi.zip"
    path.write_bytes(await write({}, password_seed="s3cret"))
    with zipfile.ZipFile(path) as file:
        assert json.loads(file.read("meta.json"))["passwordSeed"] == "s3cret"
    async with open_growi_archive(path) as archive:
        assert "s3cret" not in repr(archive.meta)


async def test_entries_that_are_no_collections_are_left(tmp_path: Path) -> None:
    entries = {
        "meta.json": json.dumps(META),
        "tags.json": "[]",
        "notes.txt": "x",
        "sessions.json": "[]",
        "a/b.json": "",
    }
    async with open_growi_archive(zipped(tmp_path / "a.zip", entries)) as archive:
        assert archive.collections == ("tags",)
        assert sorted(archive.ignored) == ["a/b.json", "notes.txt", "sessions.json"]


@pytest.mark.parametrize(
    "meta", ["", "[]", "{}", '{"version":7}', '{"version":null}', "nonsense", '{"version":"' + "7" * 2_000_000 + '"}']
)
async def test_without_a_good_meta_json_it_is_none(tmp_path: Path, meta: str) -> None:
    path = zipped(tmp_path / "a.zip", {"meta.json": meta, "tags.json": "[]"})
    with pytest.raises(TransferError):
        async with open_growi_archive(path):
            pass


async def test_a_zip_without_meta_json_is_none(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"tags.json": "[]"})
    assert not await is_growi_archive(path)
    with pytest.raises(ArchiveInvalid):
        async with open_growi_archive(path):
            pass


@pytest.mark.parametrize("content", ["{}", "[", '[{"a":1}', "", "[1]"])
async def test_a_collection_that_is_no_array_is_told(tmp_path: Path, content: str) -> None:
    path = zipped(tmp_path / "a.zip", {"meta.json": json.dumps(META), "tags.json": content})
    with pytest.raises(JsonInvalid):
        await read(path)


@pytest.mark.parametrize("value", [{"a\x00b": 1}, {"a": "x" * (17 << 20)}])
def test_what_mongodb_cannot_hold_is_told(value: dict[str, Any]) -> None:
    with pytest.raises(BsonInvalid, match="tags"):
        encode("tags", value)


def test_losses_of_a_deep_document() -> None:
    value: dict[str, Any] = {"$numberDecimal": "1"}
    for _ in range(20_000):
        value = {"a": value}
    assert list(losses(value)) == ["decimal128"]


def test_losses_are_told_by_kind() -> None:
    value = {
        "a": {"low": 1, "high": 2, "unsigned": False},
        "b": [{"$numberDecimal": "1"}, {"$timestamp": "5"}, {"$numberDecimal": "2", "more": 1}],
        "c": {"d": {"low": 1, "high": 2, "unsigned": False}},
    }
    assert sorted(losses(value)) == ["decimal128", "int64", "int64", "timestamp"]
