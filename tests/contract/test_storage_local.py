"""What holds for the local storage alone: the files in GROWI's folder, and what else lies there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.fakes.storages import (
    Bench,
    get,
    listed,
    pieces,
    write_bundle,
    write_one,
    write_parts,
)

from growi_transfer.protocol.errors import (
    FileNotFound,
    StorageNotWritable,
    TransferError,
)
from growi_transfer.storage.base import StoredFile


async def test_no_symbolic_link_leads_a_write_out_of_the_root(local: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"victim")
    (local.root / "attachment").symlink_to(outside)
    (local.root / "user").mkdir()
    (local.root / "user" / "victim").symlink_to(outside / "victim")
    for way in (write_one, write_bundle, write_parts):
        with pytest.raises(StorageNotWritable):
            await way(local.storage)
    with pytest.raises(StorageNotWritable):
        await local.storage.delete("attachment/victim")
    with pytest.raises(StorageNotWritable):
        await local.storage.probe()
    # A link in place of a file is replaced, not followed.
    await local.storage.write("user/victim", pieces(b"new"), 3)
    assert (local.root / "user" / "victim").read_bytes() == b"new"
    assert sorted(path.name for path in outside.iterdir()) == ["victim"]
    assert (outside / "victim").read_bytes() == b"victim"


async def test_a_linked_folder_is_read_as_growi_reads_it(local: Bench, tmp_path: Path) -> None:
    disk = tmp_path / "large_disk"
    disk.mkdir()
    (disk / "a").write_bytes(b"a")
    (local.root / "attachment").symlink_to(disk)
    assert await listed(local.storage) == [StoredFile("attachment/a", 1)]
    assert await get(local.storage, "attachment/a") == b"a"
    assert await local.storage.read_many(["attachment/a"], 1) == [b"a"]
    assert await local.storage.stat_many(["attachment/a"]) == [StoredFile("attachment/a", 1)]


async def test_only_regular_files_are_files(local: Bench) -> None:
    folder = local.root / "attachment"
    folder.mkdir()
    (folder / "file").write_bytes(b"file")
    (folder / "link").symlink_to(folder / "file")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / os.fsdecode(b"latin\xff")).write_bytes(b"not a name of ours")
    for name in ("link", "folder", "pipe"):
        path = f"attachment/{name}"
        assert await local.storage.stat_many([path]) == [None]
        with pytest.raises((FileNotFound, StorageNotWritable)):
            await get(local.storage, path)
        (found,) = await local.storage.read_many([path], 100)
        assert isinstance(found, TransferError)
    assert await listed(local.storage) == [StoredFile("attachment/file", 4)]
    with pytest.raises(StorageNotWritable):
        await local.storage.write("attachment/folder", pieces(b""), 0)


async def test_order_of_paths_across_folders(local: Bench) -> None:
    names = ["attachment/a", "attachment/a.txt", "attachment/a-b", "attachment-old/x", "user/z", "user/y", ".keep"]
    for name in [*names, "attachment/sub/x", "attachment/sub.txt", "attachment/sub-x"]:
        path = local.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    found = [file.path for file in await listed(local.storage)]
    assert found == sorted(found)
    assert len(found) == 10
    for prefix in ("attachment", "attachment/", "attachment/sub", "user/z", ".k"):
        some = [file.path for file in await listed(local.storage, prefix)]
        assert some == [path for path in found if path.startswith(prefix)]


async def test_files_have_growis_mode_whatever_our_umask_is(local: Bench) -> None:
    umask = os.umask(0o077)
    try:
        await write_bundle(local.storage)
        await local.storage.write("user/c", pieces(b"c"), 1)
        upload = await local.storage.partial("page-bulk-export/d", "id")
        await upload.write(b"d")
        await upload.finish()
    finally:
        os.umask(umask)
    for name in ("attachment/a", "attachment/b", "user/c", "page-bulk-export/d"):
        assert (local.root / name).stat().st_mode & 0o777 == 0o644
        assert (local.root / name).parent.stat().st_mode & 0o777 == 0o755
    assert (local.root / ".growi-transfer").stat().st_mode & 0o777 == 0o700
