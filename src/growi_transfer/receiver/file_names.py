"""Names that a storage takes for one file, because its disk ignores case or Unicode forms: the first one stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        announced = {file.id: file for file in files}
        owners = await self.owners(transfer_id, {file.id: path_of(file, self._storage) for file in files})
        rows = await self._ledger.get_files(Role.RECEIVER, transfer_id, list(owners.values()))
        found: dict[str, TransferError] = {}
        for identity, owner in owners.items():
            digest = announced[identity].sha256
            if digest is None or _digest(rows.get(owner), announced.get(owner)) != digest:
                found[identity] = collision(path_of(announced[identity], self._storage))
        return found

    async def owners(self, transfer_id: str, paths: Mapping[str, str]) -> dict[str, str]:
        """For those of these attachments (path by id) whose name another one has, written otherwise: whose it is. The
        names of the others belong to them from now on."""
        if not self._storage.features.folds_names:
            return {}
        known = await self._known(transfer_id)
        # Decided before anything is awaited again: of two requests at once, one is the first.
        first = {identity: known.setdefault(_key(path), (identity, hash(path))) for identity, path in paths.items()}
        return {
            identity: owner
            for identity, (owner, name) in first.items()
            if owner != identity and name != hash(paths[identity])
        }

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


def collision(path: str) -> NameCollision:
    """The error of a file whose name another one has."""
    return NameCollision(f"To the storage, {path} is the name of another attachment too.", file=path)


def _key(path: str) -> int:
    return hash(collision_key(path))


def _digest(row: FileRow | None, announced: AttachmentFile | None) -> str:
    """Of the one that has the name; empty while it is not known."""
    if announced is not None:
        return announced.sha256 or ""
    return row.digest.hex() if row is not None else ""
