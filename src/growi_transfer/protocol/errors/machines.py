"""A database, a storage, a disk or a peer does not do its part (503, 507, 500)."""

from __future__ import annotations

from growi_transfer.protocol.errors.tree import InsufficientSpace, OperatorFault, Unavailable


class StorageUnavailable(Unavailable):
    """The attachment storage does not answer."""

    code = "storage_unavailable"


class DatabaseUnavailable(Unavailable):
    """MongoDB does not answer."""

    code = "database_unavailable"


class PeerUnavailable(Unavailable):
    """The other instance does not answer."""

    code = "peer_unavailable"


class OwnerSilent(Unavailable):
    """The process that has this transfer does not answer."""

    code = "owner_silent"


class CursorLost(Unavailable):
    """A collection was dropped or renamed, or its oldest documents overwritten, while it was read."""

    code = "cursor_lost"


class SnapshotExpired(Unavailable):
    """The moment at which the database was read has become too old."""

    code = "snapshot_expired"


class StorageFull(InsufficientSpace):
    """The attachment storage is full."""

    code = "storage_full"


class DatabaseFull(InsufficientSpace):
    """MongoDB has no space left."""

    code = "database_full"


class StorageNotWritable(OperatorFault):
    """The attachment storage cannot be written to."""

    code = "storage_not_writable"


class StorageRefused(OperatorFault):
    """The attachment storage refuses to be read: the credentials, their rights or the name of the bucket are wrong."""

    code = "storage_refused"


class StorageNotConfigured(OperatorFault):
    """No attachment storage is configured (FILE_UPLOAD is none)."""

    code = "storage_not_configured"


class MongodUnavailable(OperatorFault):
    """No mongod was found. Set MONGOD_BINARY, put `mongod` on PATH, or set MONGO_URI."""

    code = "mongod_unavailable"


class FolderInUse(OperatorFault):
    """Another process uses this data folder."""

    code = "folder_in_use"


class DatabaseRefused(OperatorFault):
    """MongoDB refuses the operation."""

    code = "database_refused"


class QueueFull(Unavailable):
    """Too many jobs are waiting; ask again when some are done."""

    code = "queue_full"


class JobInterrupted(Unavailable):
    """The server ended several times while this job ran; it is not begun again by itself."""

    code = "job_interrupted"


class JobAbandoned(Unavailable):
    """No server has taken care of this job for too long; its folder is not served any more. Ask for it anew."""

    code = "job_abandoned"
