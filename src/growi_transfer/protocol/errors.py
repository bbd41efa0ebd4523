"""Every error a user, a peer or a script can meet, with a stable code.

    TransferError
    ├── InvalidRequest      what was sent is wrong; sending it again will not help        400
    ├── Forbidden           who is asking may not                                         403
    ├── NotFound            no such thing here                                            404
    ├── Conflict            right, but not now or not together with what is here          409
    ├── TooLarge            over a limit that is told in `growi-info`                     413
    ├── Unavailable         a part does not answer at the moment; retrying helps          503
    ├── InsufficientSpace   the disk or a quota is full                                   507
    ├── OperatorFault       the set-up of this machine is wrong (settings, folders)       500
    └── PeerRefused         the other instance answered with an error of its own          502

Each leaf has a `code` that never changes, a docstring a user can read, and says whether sending the very same
thing again can help (`retryable`). Only two places translate them: `web/errors.py` (HTTP status) and
`cli/main.py` (exit code). `details` holds plain JSON values for programs; it never holds a secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar


class TransferError(Exception):
    """Something went wrong; the message says what and, where we know, what to do."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str = "", **details: Any) -> None:
        self.message = message or (type(self).__doc__ or "").split("\n")[0]
        self.details: Mapping[str, Any] = details
        super().__init__(self.message)


class InvalidRequest(TransferError):
    """The request is not of the form this route takes."""

    code = "invalid_request"


class Forbidden(TransferError):
    """You may not do this."""

    code = "forbidden"


class NotFound(TransferError):
    """There is no such thing here."""

    code = "not_found"


class Conflict(TransferError):
    """This cannot be done in the present state."""

    code = "conflict"


class TooLarge(TransferError):
    """This is larger than the limit."""

    code = "too_large"


class Unavailable(TransferError):
    """A part does not answer at the moment; try again."""

    code = "unavailable"
    retryable = True


class InsufficientSpace(TransferError):
    """There is not enough space."""

    code = "insufficient_space"


class OperatorFault(TransferError):
    """The set-up of this machine needs a change."""

    code = "operator_fault"


# --- 400 ---------------------------------------------------------------------------------------------------------


class JsonInvalid(InvalidRequest):
    """The body is not valid JSON."""

    code = "json_invalid"


class BsonInvalid(InvalidRequest):
    """The documents are not valid BSON: cut, too deep or too large."""

    code = "bson_invalid"


class NameIllegal(InvalidRequest):
    """The name of a file is not one that GROWI could have made."""

    code = "name_illegal"


class CollectionIllegal(InvalidRequest):
    """The collection has a name that MongoDB does not allow or that is never transferred."""

    code = "collection_illegal"


class ArchiveInvalid(InvalidRequest):
    """The archive is not a zip we can trust: damaged, truncated, or with names it must not have."""

    code = "archive_invalid"


class FrameInvalid(InvalidRequest):
    """The bundle of attachments is not made of whole frames."""

    code = "frame_invalid"


class SizeMismatch(InvalidRequest):
    """The body has more or fewer bytes than was announced."""

    code = "size_mismatch"


class BodyCut(InvalidRequest):
    """The connection ended before the whole body was here."""

    code = "body_cut"
    retryable = True


class SiteUrlInvalid(InvalidRequest):
    """appSiteUrl may be wrong"""

    # GROWI's own code and text, of POST generate-key.
    code = "failed_to_generate_key_string"


class DigestMismatch(InvalidRequest):
    """What arrived is not what was announced: the digest differs."""

    code = "digest_mismatch"
    retryable = True


class TransferKeyMalformed(InvalidRequest):
    """The transfer key is not complete. Copy the whole key from the destination's page."""

    code = "transfer_key_invalid"


class DocumentNotStorable(InvalidRequest):
    """The destination's MongoDB refuses a document."""

    code = "document_not_storable"


class CollectionKindUnsupported(InvalidRequest):
    """A collection of this kind cannot be moved. Exclude it to move the others."""

    code = "collection_kind_unsupported"


class SettingInvalid(InvalidRequest):
    """A setting is unknown or has a wrong value."""

    code = "setting_invalid"


class DestinationNotAllowed(InvalidRequest):
    """The key points to an address that is not allowed. GROWI_TRANSFER_ALLOWED_DESTINATIONS may name it."""

    code = "destination_not_allowed"


# --- 403, 404 ----------------------------------------------------------------------------------------------------


class TransferKeyInvalid(Forbidden):
    """Invalid transfer key"""

    # One answer for a wrong, expired, revoked or foreign key: a stranger learns nothing from it. GROWI's own code.
    code = "invalid_transfer_key"


class AdminRequired(Forbidden):
    """This needs the admin token."""

    code = "admin_required"


class TransferNotFound(NotFound):
    """There is no transfer with this id."""

    code = "transfer_not_found"


class KeyNotFound(NotFound):
    """There is no transfer key with this id."""

    code = "key_not_found"


class FileNotFound(NotFound):
    """The file is not in the storage."""

    code = "file_not_found"


class CollectionNotFound(NotFound):
    """The collection is not part of this transfer."""

    code = "collection_not_found"


# --- 409, 413 ----------------------------------------------------------------------------------------------------


class StateConflict(Conflict):
    """The transfer is in a state in which this cannot be done."""

    code = "state_conflict"


class DestinationBusy(Conflict):
    """Another transfer into this wiki is under way."""

    code = "destination_busy"


class SameInstance(Conflict):
    """Source and destination are the same wiki."""

    code = "same_instance"


class KeyClaimed(Conflict):
    """The key already belongs to another transfer."""

    code = "key_claimed"


class Superseded(Conflict):
    """Another process has taken this transfer over."""

    code = "superseded"


class TransferOwned(Conflict):
    """Another process is running this transfer."""

    code = "transfer_owned"


class SetupDiffers(Conflict):
    """The transfer exists with another set-up; start a new one instead."""

    code = "setup_differs"


class OffsetMismatch(Conflict):
    """The upload does not go on where it stopped; ask for the offset and go on there."""

    code = "offset_mismatch"


class RangeMismatch(Conflict):
    """The range does not fit with the ranges stored before."""

    code = "range_mismatch"


class SourceChanged(Conflict):
    """A collection was dropped, renamed or re-created at the source while it was read."""

    code = "source_changed"
    retryable = True


class VerificationFailed(Conflict):
    """What was read back is not what was sent."""

    code = "verification_failed"


class AttachmentsIncomplete(Conflict):
    """Some attachments could not be transferred."""

    code = "attachments_incomplete"


class Blocked(Conflict):
    """The preflight found reasons why this transfer cannot be made."""

    code = "blocked"


class Incompatible(Conflict):
    """The two instances do not fit together."""

    code = "growi_incompatible_to_transfer"


class CommitFailed(Conflict):
    """The commit could not be done and was undone; the destination shows its former data."""

    code = "commit_failed"


class NotRestorable(Conflict):
    """The former data are no longer kept, so they cannot be restored."""

    code = "not_restorable"


class BodyTooLarge(TooLarge):
    """The body is larger than this route takes."""

    code = "body_too_large"


class ArchiveTooLarge(TooLarge):
    """The archive has more entries or bytes than the limit."""

    code = "archive_too_large"


class RateLimited(Conflict):
    """Too many wrong attempts; wait a little."""

    code = "rate_limited"
    retryable = True


# --- 503, 507, 500 -----------------------------------------------------------------------------------------------


class StorageUnavailable(Unavailable):
    """The attachment storage does not answer."""

    code = "storage_unavailable"


class DatabaseUnavailable(Unavailable):
    """MongoDB does not answer."""

    code = "database_unavailable"


class PeerUnavailable(Unavailable):
    """The other instance does not answer."""

    code = "peer_unavailable"


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


class PeerRefused(TransferError):
    """The other instance refused.

    `code` of an instance is the one that the peer gave, so that scripts see the same word on both sides.
    """

    code = "peer_refused"

    def __init__(self, message: str, *, code: str, status: int, retryable: bool = False, **details: Any) -> None:
        super().__init__(message, **details)
        self.peer_code = code
        self.status = status
        self.peer_retryable = retryable


def code_of(error: BaseException) -> str:
    """The stable code of any error; `internal_error` for one that is not ours."""
    if isinstance(error, PeerRefused):
        return error.peer_code
    return error.code if isinstance(error, TransferError) else TransferError.code


def is_retryable(error: BaseException) -> bool:
    """Whether sending the same thing again can help."""
    if isinstance(error, PeerRefused):
        return error.peer_retryable
    return isinstance(error, TransferError) and error.retryable


def all_errors() -> Iterator[type[TransferError]]:
    """Every error class, for the tests of the edges and of docs/errors.md."""
    pending: list[type[TransferError]] = [TransferError]
    while pending:
        kind = pending.pop()
        yield kind
        pending.extend(kind.__subclasses__())
