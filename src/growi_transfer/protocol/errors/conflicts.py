"""Right, but not now, not together with what is here (409), or more than the limit (413)."""

from __future__ import annotations

from growi_transfer.protocol.errors.tree import Conflict, TooLarge


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


class CopyRefused(Conflict):
    """The store does not copy this file from the source's bucket; it has to be sent."""

    code = "copy_refused"


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


class VersionIncompatible(Conflict):
    """The archive is of another version of GROWI than this wiki."""

    code = "version_incompatible"


class CommitFailed(Conflict):
    """The commit could not be done and was undone; the destination shows its former data."""

    code = "commit_failed"


class DestinationChanged(Conflict):
    """The wiki was written to while a merge into it was made, so the commit was undone. Close it, and commit again."""

    code = "destination_changed"


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


class ReceiptDataChanged(Conflict):
    """The receipt is genuine, and the data are no longer what it says."""

    code = "receipt_data_changed"


class NameCollision(Conflict):
    """Two attachments have names that differ only by case or Unicode form, and the storage takes them for one file."""

    code = "name_collision"
