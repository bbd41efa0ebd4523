"""What was sent, or set, is wrong; sending it again will not help (400)."""

from __future__ import annotations

from growi_transfer.protocol.errors.tree import InvalidRequest


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


class FormInvalid(InvalidRequest):
    """The body is not a multipart form of the kind this route takes."""

    code = "form_invalid"


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


class KeyNotKept(InvalidRequest):
    """The key of this transfer is no longer kept here. Give it again, or ask the destination for a new one."""

    code = "key_not_kept"


class TransferKeyMalformed(InvalidRequest):
    """The transfer key is not complete. Copy the whole key from the destination's page."""

    code = "transfer_key_invalid"


class DocumentNotStorable(InvalidRequest):
    """The destination's MongoDB refuses a document."""

    code = "document_not_storable"


class CollectionKindUnsupported(InvalidRequest):
    """A collection of this kind cannot be moved. Exclude it to move the others."""

    code = "collection_kind_unsupported"


class PagePatternInvalid(InvalidRequest):
    """A pattern of page paths begins with a slash and has no empty segment."""

    code = "page_pattern_invalid"


class SettingInvalid(InvalidRequest):
    """A setting is unknown or has a wrong value."""

    code = "setting_invalid"


class DestinationNotAllowed(InvalidRequest):
    """The key points to an address that is not allowed. GROWI_TRANSFER_ALLOWED_DESTINATIONS may name it."""

    code = "destination_not_allowed"


class ReceiptInvalid(InvalidRequest):
    """This is not a receipt, or not one as we signed it: it was changed, or it is of other instances."""

    code = "receipt_invalid"
