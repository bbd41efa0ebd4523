"""The local storage when things go wrong: a full disk, one that cannot be written to, a process that is killed, any
system call that fails. A path shows the old file or the whole new one, and a later write works."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.storage_faults import FailingCalls, mounted, read_only, small_disk
from tests.fakes.storages import (
    NEW,
    OLD,
    WAYS,
    Bench,
    Way,
    assert_old_or_new,
    content,
    get,
    listed,
    pieces,
    put,
    write_bundle,
    write_one,
    write_parts,
)

import growi_transfer
from growi_transfer.protocol.errors import (
    FileNotFound,
    StorageFull,
    StorageNotWritable,
    StorageUnavailable,
    TransferError,
)
from growi_transfer.storage import local_durable, local_folders
from growi_transfer.storage.base import READ_CHUNK, SmallFile, StoredFile
from growi_transfer.storage.local import LocalStorage

CHILD = """
import asyncio, sys
from pathlib import Path
from growi_transfer.storage.base import SmallFile
from growi_transfer.storage.local import LocalStorage

async def main():
    storage = LocalStorage(Path(sys.argv[1]))
    upload = await storage.partial("attachment/large", "id")
    await upload.write(bytes(3 << 20))
    print("durable", await upload.sync(), flush=True)
    async def endless():
        while True:
            yield bytes(1 << 20)
            await asyncio.sleep(0)
    async def bundles():
        number = 0
        while True:
            await storage.write_many([SmallFile(f"attachment/{number}-{n}", bytes([n]) * 50_000) for n in range(20)])
            print("bundle", number, flush=True)
            number += 1
    await asyncio.gather(storage.write("attachment/a", endless(), 1 << 50), bundles())

asyncio.run(main())
"""


@pytest.mark.parametrize("way", WAYS)
async def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    with small_disk(tmp_path / "disk", monkeypatch) as root:
        storage = LocalStorage(root)
        await storage.write("attachment/a", pieces(OLD), len(OLD))
        with pytest.raises(StorageFull):
            await way(storage)
        assert await get(storage, "attachment/a") == OLD
        assert StoredFile("attachment/a", len(OLD)) in await listed(storage)
        await (await storage.partial("attachment/a", "id")).abort()
        await storage.delete("attachment/a")
        # The room that the failed write took is free again.
        room = content(900_000)
        await storage.write("attachment/c", pieces(room), len(room))
        assert await get(storage, "attachment/c") == room
        await storage.close()


async def test_a_disk_that_becomes_full_within_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk", monkeypatch) as root:
        storage = LocalStorage(root)
        files = [SmallFile(f"attachment/{n:02}", content(100_000, n)) for n in range(14)]
        results = await storage.write_many(files)
        assert results[0] is None
        assert isinstance(results[-1], StorageFull)
        good = [file for file, result in zip(files, results, strict=True) if result is None]
        assert await listed(storage) == [StoredFile(file.path, 100_000) for file in good]
        assert await storage.read_many([file.path for file in good], 100_000) == [file.data for file in good]
        await storage.close()


def test_the_systems_reasons_and_ours() -> None:
    def kind(code: int, **how: bool) -> type[TransferError]:
        return type(local_folders.translated(OSError(code, "reason"), "attachment/a", **how))

    assert {kind(code) for code in (errno.ENOSPC, errno.EDQUOT)} == {StorageFull}
    assert {kind(code) for code in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV)} == {StorageNotWritable}
    assert {kind(code) for code in (errno.EIO, errno.ESTALE, errno.EMFILE)} == {StorageUnavailable}
    assert kind(errno.ENOENT) is FileNotFound
    assert kind(errno.ENOENT, writing=True) is StorageUnavailable


@pytest.fixture
def failing_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingCalls]:
    with FailingCalls(monkeypatch) as calls:
        yield calls


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("reason", [errno.EIO, errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("for_ever", [False, True])
async def test_every_system_call_may_fail(
    tmp_path: Path, failing_calls: FailingCalls, way: Way, reason: int, for_ever: bool
) -> None:
    expected = {errno.EIO: StorageUnavailable, errno.ENOSPC: StorageFull, errno.EROFS: StorageNotWritable}[reason]
    for fail_at in range(1, 100):
        root = tmp_path / str(fail_at)
        root.mkdir()
        storage = LocalStorage(root)
        await storage.write("attachment/a", pieces(OLD), len(OLD))
        failing_calls.reset(fail_at, reason, for_ever=for_ever)
        outcome: Exception | None = None
        try:
            await way(storage)
        except TransferError as error:
            outcome = error
        assert outcome is None or type(outcome) is expected
        if outcome is None:
            # Done although a call failed: it was one that need not succeed, or there were fewer calls.
            assert await get(storage, "attachment/a") == NEW
        failed = failing_calls.failed
        failing_calls.reset()
        await assert_old_or_new(LocalStorage(root))
        await way(LocalStorage(root))
        assert await get(storage, "attachment/a") == NEW
        await storage.close()
        if not failed:
            assert fail_at > 5
            return
    pytest.fail("there are more calls than expected")


async def test_a_process_that_is_killed(tmp_path: Path) -> None:
    root = tmp_path / "uploads"
    root.mkdir()
    storage = LocalStorage(root)
    await storage.write("attachment/a", pieces(OLD), len(OLD))
    await storage.close()
    environment = {**os.environ, "PYTHONPATH": str(Path(growi_transfer.__file__).parents[1])}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(root)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    done = -1
    for line in child.stdout:
        done = int(line.split()[1]) if line.startswith("bundle") else done
        if done >= 3:
            child.send_signal(signal.SIGKILL)
            break
    done = max([done, *(int(line.split()[1]) for line in child.stdout if line.endswith("\n"))])
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    left = list((root / ".growi-transfer").glob(".tmp-*/*"))
    assert left, "the kill came in the middle of a write"

    storage = LocalStorage(root)
    assert await get(storage, "attachment/a") == OLD
    files = {file.path: file.size for file in await listed(storage)}
    assert all(size == 50_000 for path, size in files.items() if path != "attachment/a")
    assert all(f"attachment/{bundle}-{n}" in files for bundle in range(done + 1) for n in range(20))
    upload = await storage.partial("attachment/large", "id")
    assert upload.offset == 3 << 20
    await upload.finish()
    await storage.write("attachment/a", pieces(NEW), len(NEW))
    assert await get(storage, "attachment/a") == NEW
    assert not any(path.exists() for path in left), "what the dead process left is gone"
    await storage.close()
    assert not (root / ".growi-transfer").exists()


@pytest.mark.parametrize("way", [write_one, write_parts])
async def test_a_cancelled_write_ends_after_its_thread(local: Bench, monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    """Else the thread might write through a descriptor that is another file's by then."""
    started, go_on = threading.Event(), threading.Event()
    real = os.pwrite

    def slow(fd: int, data: bytes, offset: int) -> int:
        started.set()
        assert go_on.wait(20)
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    task = asyncio.create_task(way(local.storage))
    await asyncio.to_thread(started.wait, 20)
    task.cancel()
    for _ in range(20):
        await asyncio.sleep(0.005)
        assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await listed(local.storage) == []


async def test_what_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    one, other = LocalStorage(tmp_path), LocalStorage(tmp_path)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(2 * READ_CHUNK)
        reached.set()
        await go_on.wait()

    writing = asyncio.create_task(one.write("attachment/a", slow(), 2 * READ_CHUNK))
    await reached.wait()
    await other.write_many([SmallFile("attachment/b", b"b")])
    await other.close()
    go_on.set()
    await writing
    assert await get(one, "attachment/a") == bytes(2 * READ_CHUNK)
    await one.close()


async def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "none")
    for way in (write_one, write_bundle, write_parts, lambda storage: storage.probe()):
        with pytest.raises(StorageNotWritable, match="does not exist"):
            await way(storage)
    with pytest.raises(StorageUnavailable, match="does not exist"):
        await listed(storage)
    with pytest.raises(StorageUnavailable, match="does not exist"):
        await storage.stat_many(["attachment/a"])
    await storage.close()
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("way", [*WAYS, lambda storage: storage.probe()])
async def test_a_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    root = tmp_path / "uploads"
    (root / "attachment").mkdir(parents=True)
    (root / "attachment" / "a").write_bytes(OLD)
    storage = LocalStorage(root)
    with read_only(root, monkeypatch):
        with pytest.raises(StorageNotWritable):
            await way(storage)
        assert await get(storage, "attachment/a") == OLD
        assert await listed(storage) == [StoredFile("attachment/a", len(OLD))]
        await storage.close()


async def test_an_admin_tidies_up_below_us(local: Bench) -> None:
    await write_one(local.storage)
    for path in (local.root / ".growi-transfer").iterdir():
        path.rmdir()
    (local.root / ".growi-transfer").rmdir()
    await write_bundle(local.storage)
    assert await get(local.storage, "attachment/a") == NEW


@pytest.mark.parametrize("last", ["bundle", "bundle without syncfs", "one", "parts", "sync", "move"])
async def test_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    """A copy of the raw disk, made while it is in use, is what a power cut would leave: all that we said is there."""
    disk, copy, folder = tmp_path / "disk", tmp_path / "copy", tmp_path / "mounted"
    folder.mkdir()
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    if shutil.which("mkfs.ext4") is None or subprocess.run(["mkfs.ext4", "-q", str(disk)], check=False).returncode:
        pytest.skip("mkfs.ext4 is needed to make a disk")
    if last == "bundle without syncfs":
        monkeypatch.setattr(local_durable, "_LIBC", None)
    want = {"attachment/a": OLD}
    with mounted(folder, ["-o", "loop", str(disk)]) as is_real:
        if not is_real:
            pytest.skip("only root may mount a disk, and only where there are loop devices")
        storage = LocalStorage(folder)
        await put(storage, "attachment/a", OLD)
        if last == "one":
            await put(storage, "user/b", NEW)
            want["user/b"] = NEW
        elif last == "parts":
            await write_parts(storage)
            want["attachment/a"] = NEW
        elif last == "sync":
            upload = await storage.partial("attachment/a", "id")
            await upload.write(NEW)
            assert await upload.sync() == len(NEW)
        elif last == "move":
            await storage.move("attachment/a", ".growi-transfer/former/1/a")
            want = {".growi-transfer/former/1/a": OLD}
        else:
            files = [SmallFile(f"user/{n:02}", content(20_000, n)) for n in range(40)]
            assert await storage.write_many(files) == [None] * 40
            want.update({file.path: bytes(file.data) for file in files})
        shutil.copyfile(disk, copy)
        if last == "sync":
            await upload.close()
        await storage.close()
    with mounted(folder, ["-o", "loop", str(copy)]) as is_real:
        assert is_real
        storage = LocalStorage(folder)
        for path, data in want.items():
            assert await get(storage, path) == data
        if last == "sync":
            upload = await storage.partial("attachment/a", "id")
            assert upload.offset == len(NEW)
            assert await upload.sha256() == sha256(NEW).digest()
            await upload.close()
        await storage.close()


@pytest.mark.parametrize("how", ["syncfs", "fsync"])
async def test_data_is_durable_before_the_name_is(local: Bench, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """The order of the steps, as the system sees them."""
    steps: list[str] = []

    def recorded(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            steps.append(name)
            return real(*arguments, **named)

        return call

    for name in ("rename", "fsync", "fdatasync"):
        monkeypatch.setattr(os, name, recorded(name, getattr(os, name)))
    if how == "fsync":
        monkeypatch.setattr(local_durable, "_LIBC", None)
    else:
        sync = local_durable._sync_file_system

        def sync_file_system(fd: int) -> bool:
            steps.append("syncfs")
            assert sync(fd), "this test needs ext4, XFS, btrfs or tmpfs, and Linux 5.12"
            return True

        monkeypatch.setattr(local_durable, "_sync_file_system", sync_file_system)
    await local.storage.write_many([SmallFile("attachment/warm", b"up")])
    steps.clear()
    await local.storage.write_many([SmallFile(f"attachment/{n}", b"x") for n in range(3)])
    data = ["syncfs"] if how == "syncfs" else ["fsync"] * 3
    assert steps == [*data, *["rename"] * 3, "fsync"]
    steps.clear()
    await local.storage.write("attachment/a", pieces(NEW), len(NEW))
    assert steps == ["fsync", "rename", "fsync"]
    steps.clear()
    upload = await local.storage.partial("attachment/a", "id")
    await upload.write(NEW)
    assert set(steps) == {"fsync"}, "the names of the partial upload and of its folder"
    steps.clear()
    await upload.sync()
    assert steps == ["fdatasync"]
    steps.clear()
    await upload.finish()
    assert steps == ["fsync", "rename", "fsync", "fsync"]
    steps.clear()
    await local.storage.move("attachment/a", "attachment/b")
    assert steps == ["rename", "fsync"]


async def test_a_sync_of_the_whole_system_that_fails_is_made_good(
    local: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then each file is synced by itself, and the one that is damaged is told from the others."""

    class Libc:
        def fstatfs(self, fd: int, status: Any) -> int:
            status[0] = 0xEF53
            return 0

        def syncfs(self, fd: int) -> int:
            return -1

    monkeypatch.setattr(local_durable, "_LIBC", Libc())
    assert await local.storage.write_many([SmallFile("attachment/a", b"a")]) == [None]
    real, seen = os.fsync, []

    def fsync(fd: int) -> None:
        seen.append(fd)
        if len(seen) == 2:
            raise OSError(errno.EIO, "damaged")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    results = await local.storage.write_many([SmallFile(f"attachment/{n}", b"x") for n in range(3)])
    assert [type(result) for result in results] == [type(None), StorageUnavailable, type(None)]
    assert [file.path for file in await listed(local.storage)] == ["attachment/0", "attachment/2", "attachment/a"]


async def test_a_reading_that_is_cancelled_while_it_opens_closes_its_file(local: Bench) -> None:
    """What nobody closes is closed by chance, with a warning."""
    await write_one(local.storage)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        for turns in range(60):
            task = asyncio.create_task(get(local.storage, "attachment/a"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await local.storage.close()
        gc.collect()
    assert [str(one.message) for one in told] == []


async def test_no_descriptor_is_left_open(local: Bench) -> None:
    async def work() -> None:
        await write_one(local.storage)
        await write_bundle(local.storage)
        await write_parts(local.storage)
        await get(local.storage, "attachment/a")
        await local.storage.read_many(["attachment/a", "attachment/none"], 10)
        await listed(local.storage)
        await local.storage.probe()
        with contextlib.suppress(FileNotFound):
            await get(local.storage, "attachment/none")
        stream = local.storage.open("attachment/a")
        await anext(stream)
        await stream.aclose()
        for _ in range(10):
            task = asyncio.create_task(get(local.storage, "attachment/a"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            task = asyncio.create_task(write_one(local.storage))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    await work()
    before = descriptors()
    for _ in range(3):
        await work()
    deadline = asyncio.get_running_loop().time() + 5
    while descriptors() > before and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.01)
    assert descriptors() <= before
