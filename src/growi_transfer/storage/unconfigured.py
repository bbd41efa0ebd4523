"""The storage of a wiki that has none, or one that this version cannot reach: it tells so when it is used."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from growi_transfer.protocol.errors import StorageNotConfigured, TransferError
from growi_transfer.storage.base import Features, FileMeta, PartialUpload, SmallFile, StoredFile


class UnconfiguredStorage:
    """Holds nothing and takes nothing. `reason` is raised by whatever would read or write a file."""

    def __init__(self, kind: str, reason: StorageNotConfigured) -> None:
        self._kind = kind
        self._reason = reason

    @property
    def features(self) -> Features:
        return Features(kind=self._kind)

    async def open(self, path: str, offset: int = 0) -> AsyncGenerator[bytes, None]:
        for content in await self.read_many([path], 0):
            if isinstance(content, TransferError):
                raise content
            yield content

    async def write(self, path: str, chunks: AsyncIterator[bytes], size: int, meta: FileMeta | None = None) -> None:
        raise self._reason

    async def stat_many(self, paths: Sequence[str]) -> list[StoredFile | None]:
        return [None for _ in paths]

    async def list_files(self, prefix: str = "") -> AsyncIterator[list[StoredFile]]:
        nothing: list[list[StoredFile]] = []
        for page in nothing:
            yield page

    async def delete(self, path: str) -> None:
        return

    async def delete_many(self, paths: Sequence[str]) -> None:
        return

    async def read_many(self, paths: Sequence[str], limit: int) -> list[bytes | TransferError]:
        return [self._reason for _ in paths]

    async def write_many(self, files: Sequence[SmallFile]) -> list[TransferError | None]:
        return [self._reason for _ in files]

    async def partial(self, path: str, upload_id: str, meta: FileMeta | None = None) -> PartialUpload:
        raise self._reason

    async def move(self, source: str, target: str) -> None:
        raise self._reason

    async def probe(self) -> None:
        raise self._reason

    async def free_bytes(self) -> int | None:
        return None

    async def close(self) -> None:
        return
