"""Attachments in memory: the reference implementation of the contract, and the fast storage of tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from hashlib import sha256

from growi_transfer.protocol.errors import (
    FileNotFound,
    SizeMismatch,
    StorageFull,
    StorageNotWritable,
    StorageUnavailable,
    TransferError,
)
from growi_transfer.protocol.names import collision_key
from growi_transfer.storage.base import READ_CHUNK, Features, FileMeta, SmallFile, StoredFile
from growi_transfer.storage.paths import OWN_PREFIX, check_upload_id, split_path

_PAGE = 1000


class MemoryStorage:
    """Files in a dictionary. `capacity` (bytes) and `writable` may be changed at any time to bring faults about.
    `folds_names`: as a disk that ignores case. `kind`: the storage whose layout GROWI would use here. `clock`: seconds
    since 1970, for listings."""

    def __init__(
        self,
        *,
        capacity: int | None = None,
        writable: bool = True,
        folds_names: bool = False,
        kind: str = "memory",
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._folds_names = folds_names
        self._kind = kind
        self._clock = clock
        self.modified: dict[str, float] = {}
        self.capacity = capacity
        self.writable = writable
        self.files: dict[str, bytes] = {}
        self.uploads: dict[str, bytearray] = {}

    @property
    def features(self) -> Features:
        return Features(kind=self._kind, durable=False, folds_names=self._folds_names)

    async def open(self, path: str, offset: int = 0) -> AsyncGenerator[bytes, None]:
        data = self._get(path)
        for start in range(offset, len(data), READ_CHUNK):
            yield data[start : start + READ_CHUNK]

    async def write(self, path: str, chunks: AsyncIterator[bytes], size: int, meta: FileMeta | None = None) -> None:
        split_path(path)
        data = bytearray()
        async for chunk in chunks:
            data += chunk
            if len(data) > size:
                break
            self.check_room(len(data))
        if len(data) != size:
            raise SizeMismatch(path=path, expected=size)
        self.put(path, bytes(data))

    async def stat_many(self, paths: Sequence[str]) -> list[StoredFile | None]:
        for path in paths:
            split_path(path)
        names = map(self._name, paths)
        return [
            StoredFile(path, len(self.files[name])) if name in self.files else None
            for path, name in zip(paths, names, strict=True)
        ]

    async def list_files(self, prefix: str = "") -> AsyncIterator[list[StoredFile]]:
        hidden = "" if prefix.startswith(OWN_PREFIX) else OWN_PREFIX
        names = sorted(
            path for path in self.files if path.startswith(prefix) and not (hidden and path.startswith(hidden))
        )
        for start in range(0, len(names), _PAGE):
            page = names[start : start + _PAGE]
            yield [
                StoredFile(path, len(self.files[path]), self.modified.get(path)) for path in page if path in self.files
            ]

    async def delete(self, path: str) -> None:
        split_path(path)
        self.check_room(0)
        self.files.pop(self._name(path), None)

    async def delete_many(self, paths: Sequence[str]) -> None:
        for path in paths:
            await self.delete(path)

    async def read_many(self, paths: Sequence[str], limit: int) -> list[bytes | TransferError]:
        found: list[bytes | TransferError] = []
        for path in paths:
            try:
                data = self._get(path)
                found.append(data if len(data) <= limit else SizeMismatch(path=path, limit=limit))
            except TransferError as error:
                found.append(error)
        return found

    async def write_many(self, files: Sequence[SmallFile]) -> list[TransferError | None]:
        results: list[TransferError | None] = []
        for file in files:
            try:
                split_path(file.path)
                self.put(file.path, bytes(file.data))
                results.append(None)
            except TransferError as error:
                results.append(error)
        return results

    async def partial(self, path: str, upload_id: str, meta: FileMeta | None = None) -> MemoryPartialUpload:
        split_path(path)
        return MemoryPartialUpload(self, path, check_upload_id(upload_id))

    async def move(self, source: str, target: str) -> None:
        split_path(source)
        split_path(target)
        self.check_room(0)
        if self._name(source) in self.files:
            data = self.files.pop(self._name(source))
            self.files.pop(self._name(target), None)
            self.files[target] = data
        elif self._name(target) not in self.files:
            raise FileNotFound(path=source)

    async def probe(self) -> None:
        self.check_room(1)

    async def free_bytes(self) -> int | None:
        return None if self.capacity is None else max(0, self.capacity - self._used())

    async def close(self) -> None:
        """Nothing is held."""

    def check_room(self, size: int) -> None:
        """Raises StorageNotWritable, or StorageFull when `size` more bytes have no room."""
        if not self.writable:
            raise StorageNotWritable()
        if self.capacity is not None and self._used() + size > self.capacity:
            raise StorageFull()

    def put(self, path: str, data: bytes) -> None:
        """Make a whole file visible."""
        self.check_room(len(data))
        self.files[self._name(path)] = data
        if self._clock is not None:
            self.modified[self._name(path)] = self._clock()

    def _name(self, path: str) -> str:
        """The name under which a file is there, or would be."""
        if not self._folds_names or path in self.files:
            return path
        key = collision_key(path)
        return next((name for name in self.files if collision_key(name) == key), path)

    def _get(self, path: str) -> bytes:
        split_path(path)
        try:
            return self.files[self._name(path)]
        except KeyError:
            raise FileNotFound(path=path) from None

    def _used(self) -> int:
        return sum(map(len, self.files.values())) + sum(map(len, self.uploads.values()))


class MemoryPartialUpload:
    def __init__(self, storage: MemoryStorage, path: str, upload_id: str) -> None:
        self._storage = storage
        self._path = path
        self._id = upload_id
        self._over = False

    @property
    def offset(self) -> int:
        return len(self._storage.uploads.get(self._id, b""))

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self._check_open()
        self._storage.check_room(len(data))
        self._storage.uploads.setdefault(self._id, bytearray()).extend(data)

    async def sync(self) -> int:
        self._check_open()
        return self.offset

    async def sha256(self) -> bytes:
        self._check_open()
        return sha256(self._storage.uploads.get(self._id, b"")).digest()

    async def finish(self) -> None:
        self._check_open()
        self._storage.check_room(0)
        self._storage.put(self._path, bytes(self._storage.uploads.pop(self._id, b"")))
        self._over = True

    async def abort(self) -> None:
        if not self._over:
            self._storage.uploads.pop(self._id, None)
        self._over = True

    async def close(self) -> None:
        self._over = True

    def _check_open(self) -> None:
        if self._over:
            raise StorageUnavailable("The upload was finished, aborted or closed.")
