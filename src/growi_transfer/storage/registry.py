"""From GROWI's word for a storage to the storage: the only place that names the implementations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from growi_transfer.protocol.errors import StorageNotConfigured
from growi_transfer.storage.base import BucketCopies, Leftovers, Storage
from growi_transfer.storage.places import ObjectKind, ObjectStoreSettings, place_of

if TYPE_CHECKING:
    from growi_transfer.storage.gridfs_bucket import Commands

KINDS = ("local", "gridfs", "aws", "gcs", "azure")
"""What this version can do. GROWI writes `mongodb` for gridfs in FILE_UPLOAD."""


def open_storage(
    kind: str,
    *,
    uploads_dir: Path | None = None,
    commands: Commands | None = None,
    objects: ObjectStoreSettings | None = None,
) -> Storage:
    """The storage of GROWI's setting `app:fileUploadType`.

    `uploads_dir` is needed for `local`, `commands` (the wiki's database) for `gridfs`, `objects` for the object stores.
    Nothing is read or written yet. Raises StorageNotConfigured.
    """
    if kind == "local":
        if uploads_dir is None:
            raise StorageNotConfigured(
                "Attachments are kept in a folder (FILE_UPLOAD is local). "
                "Set GROWI_TRANSFER_UPLOADS_DIR to GROWI's public/uploads."
            )
        from growi_transfer.storage.local import LocalStorage

        return LocalStorage(uploads_dir)
    if kind in ("gridfs", "mongodb"):
        if commands is None:
            raise StorageNotConfigured("Attachments are kept in MongoDB (FILE_UPLOAD is mongodb). Set MONGO_URI.")
        from growi_transfer.storage.gridfs import GridFsStorage

        return GridFsStorage(commands)
    if kind in ("aws", "gcs", "azure"):
        return _object_storage(cast("ObjectKind", kind), objects or ObjectStoreSettings({}))
    if kind == "none":
        raise StorageNotConfigured()
    raise StorageNotConfigured(
        f"FILE_UPLOAD is {kind}; this version can do {', '.join(KINDS)}.", kind=kind[:80], kinds=list(KINDS)
    )


def _object_storage(kind: ObjectKind, settings: ObjectStoreSettings) -> Storage:
    place = place_of(kind, settings)
    try:
        from growi_transfer.storage.object_store.storage import ObjectStorage
    except ModuleNotFoundError as error:
        if error.name != "obstore":
            raise
        raise StorageNotConfigured(
            f"FILE_UPLOAD is {kind}, which needs a package that is not installed: "
            "pip install 'growi-transfer[object-storage]'",
            kind=kind,
        ) from None
    return ObjectStorage(place)


def leftovers_of(storage: Storage) -> Leftovers | None:
    """Where a storage may have parts of files that were never finished, what finds and removes them."""
    if storage.features.kind == "gridfs":
        from growi_transfer.storage.gridfs import GridFsStorage

        if isinstance(storage, GridFsStorage):
            return storage.orphans
    if storage.features.kind in ("aws", "gcs", "azure"):
        from growi_transfer.storage.object_store.storage import ObjectStorage

        if isinstance(storage, ObjectStorage):
            return storage.unfinished
    return None


def copies_of(storage: Storage) -> BucketCopies | None:
    """Where the store itself can copy from another bucket, what has it done."""
    if storage.features.kind in ("aws", "gcs", "azure"):
        from growi_transfer.storage.object_store.storage import ObjectStorage

        if isinstance(storage, ObjectStorage):
            return storage.copies
    return None
