"""Who asks may not (403), or what is asked for is not here (404)."""

from __future__ import annotations

from growi_transfer.protocol.errors.tree import Forbidden, NotFound


class TransferKeyInvalid(Forbidden):
    """Invalid transfer key"""

    # One answer for a wrong, expired, revoked or foreign key: a stranger learns nothing from it. GROWI's own code.
    code = "invalid_transfer_key"


class AdminRequired(Forbidden):
    """This needs the admin token."""

    code = "admin_required"


class WatchLinkEnded(Forbidden):
    """This link is not valid any more: its time is over, or it was revoked."""

    # One answer for a wrong token too: a stranger learns nothing from it.
    code = "watch_link_ended"


class TransferNotFound(NotFound):
    """There is no transfer with this id."""

    code = "transfer_not_found"


class JobNotFound(NotFound):
    """There is no job with this id."""

    code = "job_not_found"


class ExportExpired(NotFound):
    """The file of this export was removed: its time was over, or newer ones needed the space. Export again."""

    code = "export_expired"


class LinkInvalid(Forbidden):
    """The download link has ended, or is not one that this server made. Ask for the job again."""

    code = "link_invalid"


class KeyNotFound(NotFound):
    """There is no transfer key with this id."""

    code = "key_not_found"


class FileNotFound(NotFound):
    """The file is not in the storage."""

    code = "file_not_found"


class CollectionNotFound(NotFound):
    """The collection is not part of this transfer."""

    code = "collection_not_found"


class ReceiptNotFound(NotFound):
    """There is no receipt yet: a transfer has one from `ready` on."""

    code = "receipt_not_found"
