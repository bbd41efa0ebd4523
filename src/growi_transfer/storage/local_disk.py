"""What LocalStorage does in its threads: plain blocking work on one folder, one call for each operation.

A file is written under a temporary name in the workspace, its data made durable, then renamed over its path, and the
folder made durable. So at any moment, also after a power cut, a path shows a whole file or none.

Raises OSError beside our own errors; LocalStorage translates it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from growi_transfer.protocol.errors import FileNotFound, SizeMismatch, StorageUnavailable, TransferError
from growi_transfer.storage.base import SmallFile, StoredFile
from growi_transfer.storage.local_durable import Durable
from growi_transfer.storage.local_folders import FILE_MODE, Folders, remove_files, set_mode, translated, write_all
from growi_transfer.storage.local_workspace import Workspace
from growi_transfer.storage.paths import OWN_FOLDER, OWN_PREFIX, split_path

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
UPLOADS = (OWN_FOLDER, ".uploads")
"""Folder of partial uploads."""
_PROBE = ".growi-transfer-probe-"
_LAYOUT = (("attachment",), ("user",))
PAGE = 1000


class _Names:
    """The names in one folder, in order. A million of them as text would take 100 MiB: they are kept as bytes, apart by
    their first letters, and become text one part after the other."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parts: dict[str, bytearray] = {}
        for name in names:
            self._parts.setdefault(name[:1], bytearray()).extend(name.encode("utf-8", "surrogateescape") + b"\x00")

    def in_order(self) -> Iterator[str]:
        for letter in sorted(self._parts):
            part = self._parts.pop(letter).decode("utf-8", "surrogateescape")
            yield from sorted(part.split("\x00")[:-1])


class Disk:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = Workspace()

    def reading(self) -> Folders:
        return Folders(self.root, writing=False)

    def writing(self) -> Folders:
        return Folders(self.root, writing=True)

    # --- reading -------------------------------------------------------------------------------------------------

    def open_file(self, path: str) -> int:
        """Descriptor of a file; the caller closes it."""
        parts = split_path(path)
        with self.reading() as folders:
            return folders.open_file(parts)[0]

    def stat_many(self, paths: Sequence[str]) -> list[StoredFile | None]:
        found: list[StoredFile | None] = []
        with self.reading() as folders:
            for path in paths:
                size = folders.file_size(split_path(path))
                found.append(None if size is None else StoredFile(path, size))
        return found

    def read_many(self, paths: Sequence[str], limit: int) -> list[bytes | TransferError]:
        found: list[bytes | TransferError] = []
        with self.reading() as folders:
            for path in paths:
                try:
                    found.append(_read_whole(folders, path, limit))
                except TransferError as error:
                    found.append(error)
                except OSError as error:
                    found.append(translated(error, path))
        return found

    def pages(self, prefix: str) -> Iterator[list[StoredFile]]:
        """All regular files in order of path. Holds the names of one folder at a time (and those above it)."""
        page: list[StoredFile] = []
        for path in self._walk("", prefix):
            try:
                status = (self.root / path).stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                page.append(StoredFile(path, status.st_size, status.st_mtime))
            if len(page) >= PAGE:
                yield page
                page = []
        if page:
            yield page

    def _walk(self, folder: str, prefix: str) -> Iterator[str]:
        try:
            with os.scandir(self.root / folder) as entries:
                # With the slash, folders stand where their files do in the order of paths: `a.txt` before `a/x`.
                names = _Names(
                    entry.name + "/" if entry.is_dir(follow_symlinks=not folder) else entry.name for entry in entries
                )
        except FileNotFoundError:
            if not folder:
                raise StorageUnavailable("The uploads folder does not exist.") from None
            return
        for name in names.in_order():
            path = folder + name
            if _is_ours(folder, name, prefix) or not _is_unicode(name):
                continue
            if name.endswith("/"):
                if path.startswith(prefix) or prefix.startswith(path):
                    yield from self._walk(path, prefix)
            elif path.startswith(prefix):
                yield path

    # --- writing -------------------------------------------------------------------------------------------------

    def write_many(self, files: Sequence[SmallFile]) -> list[TransferError | None]:
        try:
            with self.writing() as folders:
                workspace = self.workspace.open(folders)
                durable = Durable(workspace)
                try:
                    return self._write_many(folders, workspace, durable, files)
                finally:
                    durable.close()
        except TransferError as error:
            return [error] * len(files)
        except OSError as error:
            return [translated(error, writing=True)] * len(files)

    def _write_many(
        self, folders: Folders, workspace: int, durable: Durable, files: Sequence[SmallFile]
    ) -> list[TransferError | None]:
        results: list[TransferError | None] = [None] * len(files)
        waiting: dict[str, tuple[int, tuple[str, ...]]] = {}
        try:
            for index, file in enumerate(files):
                name = self.workspace.new_name()
                try:
                    parts = split_path(file.path)
                    folders.get(parts[:-1], create=True)
                    waiting[name] = index, parts
                    _write_new(workspace, name, file.data)
                except TransferError as error:
                    results[index] = error
                except OSError as error:
                    results[index] = translated(error, file.path, writing=True)
            failed = durable.sync(name for name, (index, _) in waiting.items() if results[index] is None)
            for name, (index, parts) in list(waiting.items()):
                if results[index] is not None:
                    continue
                try:
                    if name in failed:
                        raise failed[name]
                    put(folders, workspace, name, parts)
                    del waiting[name]
                except OSError as error:
                    results[index] = translated(error, files[index].path, writing=True)
            lost = folders.sync()
            for index, file in enumerate(files):
                parent = tuple(file.path.split("/")[:-1])
                if results[index] is None and (reason := _lost(lost, parent)) is not None:
                    results[index] = translated(reason, file.path, writing=True)
            return results
        finally:
            remove_files(workspace, waiting)

    def move(self, source: str, target: str) -> None:
        old, new = split_path(source), split_path(target)
        with self.writing() as folders:
            if folders.file_size(old) is None:
                if folders.file_size(new) is None:
                    raise FileNotFound(path=source)
                return
            os.rename(
                old[-1],
                new[-1],
                src_dir_fd=folders.get(old[:-1]),
                dst_dir_fd=folders.get(new[:-1], create=True),
            )
            folders.changed(new[:-1])
            folders.changed(old[:-1])
            folders.sync_or_raise()
            folders.prune(old[:-1])

    def delete_many(self, paths: Sequence[str]) -> None:
        """The names are gone at once; they may come back after a power cut in the next seconds."""
        emptied: set[tuple[str, ...]] = set()
        with self.writing() as folders:
            for parts in map(split_path, paths):
                if folders.file_size(parts) is not None:
                    os.unlink(parts[-1], dir_fd=folders.get(parts[:-1]))
                    emptied.add(parts[:-1])
            for folder in emptied:
                folders.prune(folder)

    def folds_names(self) -> bool:
        """Whether this disk takes names that differ only by case for one file. Raises OSError."""
        name = f"{_PROBE}Case{os.urandom(8).hex()}"
        probe = self.root / name
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            return (self.root / name.swapcase()).exists()
        finally:
            probe.unlink()

    def probe(self) -> None:
        data = os.urandom(64)
        with self.writing() as folders:
            workspace = self.workspace.open(folders)
            there = [parts for parts in _LAYOUT if _exists(folders, parts)]
            # A folder that is missing would be made in the root, so there it is the root that must be writable.
            for parts in there if len(there) == len(_LAYOUT) else [*there, ()]:
                name = _PROBE + os.urandom(8).hex()
                temporary = self.workspace.new_name()
                try:
                    _write_new(workspace, temporary, data)
                    put(folders, workspace, temporary, (*parts, name))
                    folders.sync_or_raise()
                    if _read_whole(folders, "/".join((*parts, name)), len(data)) != data:
                        raise StorageUnavailable("What was written to the attachment storage was not read back.")
                    os.unlink(name, dir_fd=folders.get(parts))
                finally:
                    remove_files(workspace, (temporary,))
                    remove_files(folders.get(parts), (name,))

    def free_bytes(self) -> int:
        status = os.statvfs(self.root)
        return status.f_bavail * status.f_frsize

    def close(self) -> None:
        try:
            with self.writing() as folders:
                self.workspace.close(folders)
                folders.prune(UPLOADS)
                folders.prune((OWN_FOLDER,))
        except (OSError, TransferError):
            # The root is gone, and with it what was to be removed.
            return


def put(folders: Folders, source: int, name: str, parts: tuple[str, ...]) -> None:
    """Show a whole, durable file of the folder `source` under its path; `folders` is to be synced after it."""
    os.rename(name, parts[-1], src_dir_fd=source, dst_dir_fd=folders.get(parts[:-1], create=True))
    folders.changed(parts[:-1])


def _read_whole(folders: Folders, path: str, limit: int) -> bytes:
    fd, size = folders.open_file(split_path(path))
    try:
        pieces: list[bytes] = []
        room = limit + 1
        # One byte more than the size, so that one read shows the end of a file that did not grow.
        while room > 0 and (piece := os.read(fd, min(room, size + 1))):
            pieces.append(piece)
            room -= len(piece)
    finally:
        os.close(fd)
    if room <= 0:
        raise SizeMismatch(path=path, limit=limit)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _write_new(folder: int, name: str, data: bytes | memoryview) -> None:
    fd = os.open(name, NEW_FILE, FILE_MODE, dir_fd=folder)
    try:
        set_mode(fd, FILE_MODE)
        write_all(fd, data, 0)
    finally:
        os.close(fd)


def _exists(folders: Folders, parts: tuple[str, ...]) -> bool:
    try:
        folders.get(parts)
    except FileNotFoundError:
        return False
    return True


def _lost(lost: dict[tuple[str, ...], OSError], folder: tuple[str, ...]) -> OSError | None:
    """Why a name in `folder` may not be durable: that folder or one above it is not."""
    if not lost:
        return None
    return next((lost[folder[:depth]] for depth in range(len(folder) + 1) if folder[:depth] in lost), None)


def _is_ours(folder: str, name: str, prefix: str) -> bool:
    if name.startswith(_PROBE):
        return True
    if not folder:
        return name == OWN_FOLDER + "/" and not prefix.startswith(OWN_PREFIX)
    return folder == OWN_PREFIX and name.startswith(".")


def _is_unicode(name: str) -> bool:
    """A name in another encoding cannot be a path of ours (Python shows its bytes as lone surrogates)."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
