"""Archives of other programs, and such as pretend to be ours."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.archives import (
    CAPPED,
    LARGE,
    METADATA,
    ONE,
    TWO,
    Wiki,
    archive_of,
    attachment,
    read,
)

from growi_transfer.archive.reader import ArchiveReader, in_thread, open_archive
from growi_transfer.protocol.errors import (
    ArchiveInvalid,
    ArchiveTooLarge,
    BsonInvalid,
    DigestMismatch,
    TransferError,
)


def dump(folder: Path, collections: dict[str, tuple[str, bytes | None]]) -> Path:
    """A mongodump directory: file name -> metadata, documents."""
    folder.mkdir(parents=True)
    for stem, (metadata, documents) in collections.items():
        (folder / f"{stem}.metadata.json").write_text(metadata)
        if documents is not None:
            (folder / f"{stem}.bson").write_bytes(documents)
    return folder


def dumped(name: str, sort: str = "collection", options: str = "") -> str:
    return f'{{{options}"indexes":[],"uuid":"{"b" * 32}","collectionName":"{name}","type":"{sort}"}}'


def zipped(folder: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder.parent / "dump.zip"
    with zipfile.ZipFile(path, "w", method) as made:
        for one in sorted(folder.rglob("*")):
            made.write(one, one.relative_to(folder))
    return path


GROWI = {
    "pages": (dumped("pages"), ONE + TWO),
    "log": (dumped("log", options='"options":{"capped":true},'), TWO),
    "v": (dumped("v", "view", '"options":{"viewOn":"pages","pipeline":[]},'), None),
    "a+b": (dumped("a b"), b""),
}


async def opened(path: Path, use: Callable[[ArchiveReader], Any] = lambda archive: archive.contents) -> Any:
    async with open_archive(path) as archive:
        return use(archive)


@pytest.mark.parametrize("below", ["growi", "dump/growi"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zipped_mongodump_is_read(tmp_path: Path, below: str, method: int) -> None:
    dump(tmp_path / "d" / below, GROWI)
    (tmp_path / "d" / below / "prelude.json").write_text('{"ServerVersion":"6.0.5"}')
    path = zipped(tmp_path / "d", method)
    wiki = asyncio.run(read(path))
    assert {name: (kind, documents) for name, (kind, _, documents) in wiki.collections.items()} == {
        "pages": ("collection", [ONE, TWO]),
        "log": ("capped", [TWO]),
        "v": ("view", []),
        "a b": ("collection", []),
    }
    assert wiki.collections["log"][1] == '{"options":{"capped":true},"indexes":[]}'
    contents = asyncio.run(opened(path))
    assert (contents.database, contents.manifest, contents.ignored) == ("growi", None, ())
    assert {one.uuid for one in contents.collections} == {"b" * 32}


def test_what_zip_makes_of_a_mongodump_is_read(tmp_path: Path) -> None:
    dump(tmp_path / "growi", GROWI)
    try:
        subprocess.run(["zip", "-qr", "dump.zip", "growi"], cwd=tmp_path, check=True)
    except FileNotFoundError:
        pytest.skip("no `zip` on PATH")
    assert asyncio.run(read(tmp_path / "dump.zip")).collections["pages"][2] == [ONE, TWO]


def test_what_is_never_imported_is_named(tmp_path: Path) -> None:
    server = {"system.version": (dumped("system.version"), ONE)}
    dump(tmp_path / "d" / "admin", server)
    more = {name: (dumped(name), ONE) for name in ("sessions", "system.js", "vault_state", "growi_transfer_keys")}
    dump(tmp_path / "d" / "growi", {**GROWI, **more, "%24admin.system.users": (dumped("$admin.system.users"), ONE)})
    contents = asyncio.run(opened(zipped(tmp_path / "d")))
    assert {one.name for one in contents.collections} == {"pages", "log", "v", "a b"}
    assert sorted(line.split(":")[0] for line in contents.ignored) == [
        "%24admin.system.users", "admin", "growi_transfer_keys", "sessions", "system.js", "vault_state",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("collections", "message"),
    [
        ({"pages": ('{"indexes":[]', b"")}, "JSON"),
        ({"pages": ("[]", b"")}, "JSON"),
        ({"pages": ('{"options":{}}', b"")}, "indexes"),
        ({"pages": ('{"options":[],"indexes":[]}', b"")}, "options"),
        ({"pages": (dumped("users"), b"")}, "another collection"),
        ({"pages": (dumped("pages"), None)}, "lacks the documents"),
        ({"v": (dumped("v", "view"), b"")}, "lacks the documents"),
        ({"a$b": (dumped("a$b"), b"")}, "does not allow"),
        ({"t": (dumped("t", "timeseries"), None)}, "kind"),
        ({"e": (dumped("e", options='"options":{"encryptedFields":{}},'), b"")}, "kind"),
        ({"system.buckets.t": (dumped("system.buckets.t"), b"")}, "time series"),
        ({"a+b": (dumped("a b"), b""), "a%20b": (dumped("a b"), b"")}, "twice"),
    ],
)
def test_a_dump_with_a_collection_that_is_not_right_is_refused(
    tmp_path: Path, collections: dict[str, tuple[str, bytes | None]], message: str
) -> None:
    dump(tmp_path / "d" / "growi", collections)
    with pytest.raises(TransferError, match=message):
        asyncio.run(opened(zipped(tmp_path / "d")))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("growi/pages.bson.gz", "--gzip"),
        ("oplog.bson", "--oplog"),
        ("growi/readme.txt", "does not belong"),
        ("growi/.bson", "does not belong"),
        ("growi/.metadata.json", "does not belong"),
        ("growi/deep/pages.bson", "does not belong"),
        ("readme.txt", "does not belong"),
        ("attachments/attachment/a.png", "does not belong"),
        ("other/pages.bson", "exactly one database"),
        ("growi/users.bson", "no metadata"),
        ("meta.json", "does not belong"),
    ],
)
def test_a_dump_with_more_than_collections_is_refused(tmp_path: Path, name: str, message: str) -> None:
    dump(tmp_path / "d" / "growi", GROWI)
    extra = tmp_path / "d" / name
    extra.parent.mkdir(parents=True, exist_ok=True)
    extra.write_bytes(b"")
    with pytest.raises(ArchiveInvalid, match=message):
        asyncio.run(opened(zipped(tmp_path / "d")))


def test_documents_of_a_dump_that_are_cut_are_refused(tmp_path: Path) -> None:
    dump(tmp_path / "d" / "growi", {"pages": (dumped("pages"), ONE + TWO[:-1])})
    with pytest.raises(BsonInvalid):
        asyncio.run(read(zipped(tmp_path / "d")))


# archives that pretend to be ours


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The archive unpacked, changed and packed again, so that only our own checks can find what is wrong."""
    with zipfile.ZipFile(path) as before:
        entries = {name: before.read(name) for name in before.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w") as after:
        for name, data in entries.items():
            after.writestr(name, data)
    return path


OWN = Wiki(
    {"pages": ("collection", METADATA, [ONE, TWO]), "log": ("capped", CAPPED, [ONE, TWO])}, {"a": b"one", "b": b"two"}
)


def replace(name: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(entries: dict[str, bytes]) -> None:
        assert old in entries[name]
        entries[name] = entries[name].replace(old, new, 1)

    return change


def move(old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    return lambda entries: entries.__setitem__(new, entries.pop(old))


STRUCTURE: dict[str, tuple[str, Callable[[dict[str, bytes]], Any]]] = {
    "a document lost": ("something else", lambda entries: entries.update({"growi/pages.bson": ONE})),
    "a collection lost": (
        "does not have the collections",
        lambda entries: (entries.pop("growi/pages.bson"), entries.pop("growi/pages.metadata.json")),
    ),
    "a collection more": (
        "does not have the collections",
        lambda entries: entries.update({"growi/x.bson": b"", "growi/x.metadata.json": METADATA.encode()}),
    ),
    "a collection renamed in the manifest": (
        "does not have the collections",
        replace("manifest.json", b'"name":"log"', b'"name":"pages"'),
    ),
    "a collection twice in the manifest": (
        "does not have the collections",
        lambda entries: entries.update(
            {"manifest.json": entries["manifest.json"].replace(b"}]", b"}," + _last_collection(entries) + b"]", 1)}
        ),
    ),
    "another kind": ("something else", replace("manifest.json", b'"kind":"capped"', b'"kind":"collection"')),
    "metadata lost": ("no metadata", lambda entries: entries.pop("growi/pages.metadata.json")),
    "another database": ("does not belong", replace("manifest.json", b'"database":"growi"', b'"database":"other"')),
    "a file longer": ("attachments that its manifest", replace("attachments/attachment/a", b"one", b"ones")),
    "a file lost": ("attachments that its manifest", lambda entries: entries.pop("attachments/attachment/a")),
    "a file more": (
        "attachments that its manifest",
        lambda entries: entries.update({"attachments/attachment/c": b""}),
    ),
    "a file of another folder": ("attachment/<fileName>", move("attachments/attachment/a", "attachments/other/a")),
    "a file in a folder of its own": (
        "attachments that its manifest",
        move("attachments/attachment/a", "attachments/attachment/a/a"),
    ),
    "a file elsewhere": ("does not belong", move("attachments/attachment/a", "x/attachment/a")),
    "a file with a bad name": ("begins or ends", move("attachments/attachment/a", "attachments/attachment/-a")),
    "two files that differ in case": ("case", move("attachments/attachment/b", "attachments/attachment/A")),
    "the listing lost": ("lacks attachments.jsonl", lambda entries: entries.pop("attachments.jsonl")),
    "the listing not known": (
        "lacks attachments.jsonl",
        lambda entries: entries.update(
            {"manifest.json": re.sub(rb'"files_sha256":"\w+"', b'"files_sha256":null', entries["manifest.json"])}
        ),
    ),
    "no listing known and none there": (
        "lacks attachments.jsonl",
        lambda entries: (
            entries.pop("attachments.jsonl"),
            entries.update(
                {"manifest.json": re.sub(rb'"files_sha256":"\w+"', b'"files_sha256":null', entries["manifest.json"])}
            ),
        ),
    ),
    "a newer format": ("newer version", replace("manifest.json", b'"version":1', b'"version":2')),
    "another format": ("not that of", replace("manifest.json", b"growi-transfer-archive", b"another")),
    "an unknown field": ("not valid: more", replace("manifest.json", b"{", b'{"more":1,')),
    "no manifest": ("does not belong", lambda entries: entries.pop("manifest.json")),
    "a broken manifest": ("not valid", lambda entries: entries.update({"manifest.json": b"{"})),
    "a manifest that is not text": ("UTF-8", lambda entries: entries.update({"manifest.json": b"\xff"})),
    "something at the top": ("does not belong", lambda entries: entries.update({"readme.txt": b""})),
    "half a collection": ("lacks the documents", lambda entries: entries.pop("growi/pages.bson")),
}
CONTENT: dict[str, Callable[[dict[str, bytes]], Any]] = {
    "a document changed": replace("growi/pages.bson", b"wiki", b"wikI"),
    "a document of a sequence changed": replace("growi/log.bson", b"wiki", b"wikI"),
    "a sequence in another order": lambda entries: entries.update({"growi/log.bson": TWO + ONE}),
    "two documents for one": replace("manifest.json", b'"documents":2', b'"documents":3'),
    "a file changed": replace("attachments/attachment/a", b"one", b"onE"),
    "a file renamed": move("attachments/attachment/a", "attachments/attachment/c"),
    "the listing changed": replace("attachments.jsonl", b'"content_type":""', b'"content_type":"x"'),
}
LISTING: dict[str, tuple[str, Callable[[list[bytes]], list[bytes]]]] = {
    "a line twice": ("does not fit", lambda lines: [lines[0], lines[0], lines[1]]),
    "a line lost": ("does not name", lambda lines: lines[:1]),
    "a line cut": ("not valid", lambda lines: [lines[0][:-9] + b"\n", lines[1]]),
    "a line without an end": ("does not end", lambda lines: [lines[0], lines[1][:-1]]),
    "an empty line": ("not valid", lambda lines: [*lines, b"\n"]),
    "a line too long": ("too long", lambda lines: [b" " * 70_000 + lines[0], lines[1]]),
    "a line much too long": ("too long", lambda lines: [b" " * 3_000_000 + lines[0], lines[1]]),
    "a line without digest": ("does not fit", lambda lines: [re.sub(rb'"\w{64}"', b"null", lines[0]), lines[1]]),
    "a size in a line": ("does not fit", lambda lines: [lines[0].replace(b'"size":3', b'"size":4'), lines[1]]),
    "a file that is not there": ("does not fit", lambda lines: [lines[0].replace(b'"a"', b'"c"'), lines[1]]),
    "a file of another folder": ("does not fit", lambda lines: [lines[0].replace(b"true", b"false"), lines[1]]),
}


def _last_collection(entries: dict[str, bytes]) -> bytes:
    """The text of one collection in the manifest."""
    found = re.findall(rb'\{"name":[^}]*\}', entries["manifest.json"])
    return bytes(found[-1])


def test_an_archive_that_is_packed_again_is_still_good(tmp_path: Path) -> None:
    path = rewritten(archive_of(OWN, tmp_path / "wiki.zip"), lambda entries: None)
    assert asyncio.run(read(path)) == OWN


@pytest.mark.parametrize("lie", STRUCTURE)
def test_what_the_manifest_contradicts_is_refused_on_opening(tmp_path: Path, lie: str) -> None:
    message, change = STRUCTURE[lie]
    path = rewritten(archive_of(OWN, tmp_path / "wiki.zip"), change)
    with pytest.raises(TransferError, match=message):
        asyncio.run(opened(path))


@pytest.mark.parametrize("lie", CONTENT)
def test_what_the_manifest_contradicts_is_refused_at_the_end_of_reading(tmp_path: Path, lie: str) -> None:
    path = rewritten(archive_of(OWN, tmp_path / "wiki.zip"), CONTENT[lie])
    assert asyncio.run(opened(path))
    with pytest.raises(TransferError):
        asyncio.run(read(path))


@pytest.mark.parametrize("lie", LISTING)
def test_a_listing_that_does_not_fit_is_refused_even_if_the_manifest_announces_it(tmp_path: Path, lie: str) -> None:
    message, change = LISTING[lie]

    def relist(entries: dict[str, bytes]) -> None:
        before = sha256(entries["attachments.jsonl"]).hexdigest().encode()
        entries["attachments.jsonl"] = b"".join(change(entries["attachments.jsonl"].splitlines(keepends=True)))
        after = sha256(entries["attachments.jsonl"]).hexdigest().encode()
        replace("manifest.json", before, after)(entries)

    path = rewritten(archive_of(OWN, tmp_path / "wiki.zip"), relist)
    with pytest.raises(ArchiveInvalid, match=message):
        asyncio.run(read(path))


def test_all_metadata_together_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive_of(OWN, tmp_path / "wiki.zip")
    with zipfile.ZipFile(path) as archive:
        total = sum(one.file_size for one in archive.infolist() if one.filename.endswith(".metadata.json"))
    monkeypatch.setattr("growi_transfer.archive.contents.METADATA_LIMIT", total)
    assert asyncio.run(opened(path))
    monkeypatch.setattr("growi_transfer.archive.contents.METADATA_LIMIT", total - 1)
    with pytest.raises(ArchiveTooLarge):
        asyncio.run(opened(path))


def test_a_file_that_is_not_good_is_told_alone(tmp_path: Path) -> None:
    async def run() -> list[bytes | TransferError]:
        async with open_archive(archive_of_own) as archive:
            (page,) = [page async for page in archive.files()]
            digest = page[1].model_copy(update={"sha256": "0" * 64})
            size = page[1].model_copy(update={"size": 2})
            with pytest.raises(DigestMismatch):
                assert [piece async for piece in archive.read_file(digest)] == [b"two"]
            with pytest.raises(ArchiveInvalid):
                archive.read_file(size)
            found = await archive.read_files([page[0], digest, size, attachment(9, b""), page[1]], 3)
            return found + await archive.read_files(page, 2)

    archive_of_own = archive_of(OWN, tmp_path / "wiki.zip")
    found = asyncio.run(run())
    assert (found[0], found[4]) == (b"one", b"two")
    errors = (DigestMismatch, ArchiveInvalid, ArchiveInvalid, ArchiveTooLarge, ArchiveTooLarge)
    for error, kind in zip(found[1:4] + found[5:], errors, strict=True):
        assert isinstance(error, kind)


def test_a_file_that_shrinks_while_it_is_read_is_told(tmp_path: Path) -> None:
    path = archive_of(LARGE, tmp_path / "wiki.zip", deflate=False)

    async def run() -> None:
        async with open_archive(path) as archive:
            (pages,) = [one for one in archive.contents.collections if one.name == "pages"]
            os.truncate(path, 100)
            async for _ in archive.documents(pages):
                pass

    with pytest.raises(ArchiveInvalid, match="truncated"):
        asyncio.run(run())


# steps in a thread


async def test_a_step_is_made_ahead_and_none_is_under_way_after_the_end() -> None:
    made: list[int] = []
    go_on = threading.Event()

    def steps() -> Iterator[int]:
        for number in range(1, 5):
            if number == 3:
                go_on.wait(30)
            made.append(number)
            yield number

    async with asyncio.timeout(30):
        items = in_thread(steps())
        assert await anext(items) == 1
        while made != [1, 2]:
            await asyncio.sleep(0.005)
        assert await anext(items) == 2
        closing = asyncio.ensure_future(items.aclose())  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        assert not closing.done(), "the third step is under way"
        go_on.set()
        await closing
    assert made == [1, 2, 3]


async def test_all_steps_come_and_then_the_error() -> None:
    def steps() -> Iterator[int]:
        yield 1
        yield 2
        raise ArchiveInvalid("broken")

    items = in_thread(steps())
    assert [await anext(items), await anext(items)] == [1, 2]
    with pytest.raises(ArchiveInvalid):
        await anext(items)
