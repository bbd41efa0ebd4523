"""Names that a storage takes for one file, because its disk ignores case or Unicode forms: the first one stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from growi_transfer.ledger.base import FileRow, Ledger, Role
from growi_transfer.protocol.errors import NameCollision, TransferError
from growi_transfer.protocol.names import collision_key
from growi_transfer.protocol.wire import AttachmentFile
from growi_transfer.receiver.file_rows import path_of
from growi_transfer.storage.base import Storage

_Owner: TypeAlias = tuple[str, int]
"""Attachment id, and hash of the path as it was announced."""


class FileNames:
    """Who has which name, by transfer. Only where the storage folds names is anything kept: about 150 bytes a file."""

    def __init__(self, storage: Storage, ledger: Ledger) -> None:
        self._storage = storage
        self._ledger = ledger
        self._owners: dict[str, dict[int, _Owner]] = {}
        """By hash of the name as the storage sees it; only of the transfer at hand."""

    async def collisions(self, transfer_id: str, files: Sequence[AttachmentFile]) -> dict[str, TransferError]:
        """The error, by attachment id, of files that would be written over another attachment with another content.
        The names of the others belong to them from now on."""
        if not self._storage.features.folds_names:
            return {}
        owners = await self._known(transfer_id)
        # Decided before anything is awaited again: of two requests at once, one is the first.
        paths = {file.id: path_of(file, self._storage) for file in files}
        first = [owners.setdefault(_key(path), (identity, hash(path))) for identity, path in paths.items()]
        others = [
            (file, owner)
            for file, (owner, name) in zip(files, first, strict=True)
            if owner != file.id and name != hash(paths[file.id])
        ]
        rows = await self._ledger.get_files(Role.RECEIVER, transfer_id, [owner for _, owner in others])
        announced = {file.id: file for file in files}
        found: dict[str, TransferError] = {}
        for file, owner in others:
            if file.sha256 is None or _digest(rows.get(owner), announced.get(owner)) != file.sha256:
                found[file.id] = NameCollision(
                    f"To the storage, {paths[file.id]} is the name of another attachment too.", file=paths[file.id]
                )
        return found

    async def _known(self, transfer_id: str) -> dict[int, _Owner]:
        known = self._owners.get(transfer_id)
        if known is None:
            known = {}
            async for row in self._ledger.files(Role.RECEIVER, transfer_id):
                known.setdefault(_key(row.path), (row.attachment_id, hash(row.path)))
            if transfer_id not in self._owners:  # else another request was faster
                # One transfer at a time comes in; what was kept of an earlier one is not needed any more.
                self._owners = {transfer_id: known}
        return self._owners[transfer_id]


def _key(path: str) -> int:
    return hash(collision_key(path))


def _digest(row: FileRow | None, announced: AttachmentFile | None) -> str:
    """Of the one that has the name; empty while it is not known."""
    if announced is not None:
        return announced.sha256 or ""
    return row.digest.hex() if row is not None else ""
