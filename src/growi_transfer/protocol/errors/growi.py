"""Refusals in GROWI's own words, for a GROWI that pushes: its page shows them."""

from __future__ import annotations

from growi_transfer.protocol.errors.tree import Conflict, InvalidRequest, NotFound, TransferError


class GrowiParseFailed(InvalidRequest):
    """Failed to parse request body."""

    code = "parse_failed"


class TransferDataInvalid(InvalidRequest):
    """Failed to validate transfer data file."""

    code = "validation_failed"


class ImportSettingsInvalid(InvalidRequest):
    """Import settings are invalid. See GROWI docs about details."""

    code = "import_settings_invalid"


class ProtectedCollectionIncluded(InvalidRequest):
    """The transfer has collections that must never be transferred."""

    code = "protected_collection_included"


class MixedImportModes(InvalidRequest):
    """Some collections would be replaced and others appended to; a transfer does one of the two."""

    code = "mixed_import_modes"


class GrowiImportFailed(TransferError):
    """Failed to import MongoDB collections"""

    code = "mongo_collection_import_failure"


class ImportAlreadyInProgress(Conflict):
    """Another import into this wiki is not finished."""

    code = "import_already_in_progress"


class GrowiDataConflict(Conflict):
    """Users or groups of the source have names or addresses that others here have."""

    code = "growi_data_conflict"


class MetadataInvalid(InvalidRequest):
    """The attachment's metadata is not valid."""

    code = "invalid_metadata"


class AttachmentNotFound(NotFound):
    """Attachment not found in collection."""

    code = "attachment_not_found"


class UploadFailed(TransferError):
    """Failed to upload."""

    code = "upload_failed"
