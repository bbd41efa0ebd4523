"""The rows of incoming files: where each is written, and where what it replaces is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from growi_transfer.ledger.base import FileRow, ItemState, Ledger, Role
from growi_transfer.protocol.errors import TransferError, code_of
from growi_transfer.protocol.places import storage_path
from growi_transfer.protocol.wire import AttachmentFile
from growi_transfer.storage.base import Storage
from growi_transfer.storage.paths import OWN_FOLDER


def aside_path(transfer_id: str, path: str) -> str:
    """Where a file with an occupied name waits for the commit."""
    return f"{OWN_FOLDER}/aside/{transfer_id}/{path}"


def former_path(transfer_id: str, path: str) -> str:
    """Where a file that a commit replaced is kept for rollback."""
    return f"{OWN_FOLDER}/former/{transfer_id}/{path}"


def path_of(file: AttachmentFile, storage: Storage) -> str:
    """Where GROWI looks for this attachment in a storage of this kind."""
    return storage_path(file.naming, storage.features.kind)


def place_of(row: FileRow) -> str:
    """Where the bytes of this row are, or will be, until the commit."""
    return str(row.facts.get("aside") or row.path)


def target_of(row: FileRow) -> str:
    """Where the file of this row is after the commit: a merge gives another name to one whose name is taken."""
    return str(row.facts.get("to") or row.path)


def is_unwanted(row: FileRow) -> bool:
    """Whether a merge leaves the attachment of this file out."""
    return bool(row.facts.get("unwanted"))


def upload_id(transfer_id: str, attachment_id: str) -> str:
    """The name of the partial upload of a large file."""
    return f"{transfer_id}-{attachment_id}"


def is_stored(row: FileRow) -> bool:
    """Whether the whole file is here, durable and checked."""
    return row.state in (ItemState.STORED, ItemState.VERIFIED)


def new_row(
    transfer_id: str, file: AttachmentFile, path: str, state: ItemState, *, created: bool, aside: str = ""
) -> FileRow:
    """A row for an announced file, and the path it gets."""
    return FileRow(
        role=Role.RECEIVER,
        transfer_id=transfer_id,
        attachment_id=file.id,
        path=path,
        size=file.size,
        state=state,
        digest=bytes.fromhex(file.sha256 or ""),
        facts={"created": created, "aside": aside},
    )


def fault_of(file: AttachmentFile, error: TransferError) -> dict[str, Any]:
    """The result of one file of a bundle that could not be stored."""
    return {
        "id": file.id,
        "ok": False,
        "code": code_of(error),
        "message": error.message,
        "retryable": error.retryable,
    }


async def pages(ledger: Ledger, transfer_id: str, size: int = 1000) -> AsyncIterator[list[FileRow]]:
    """All file rows of a transfer, some at a time."""
    page: list[FileRow] = []
    async for row in ledger.files(Role.RECEIVER, transfer_id):
        page.append(row)
        if len(page) >= size:
            yield page
            page = []
    if page:
        yield page
