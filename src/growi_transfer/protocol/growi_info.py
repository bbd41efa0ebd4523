"""What a destination tells a source about itself: GROWI's `growi-info` document, and our `transfer` block in it.

Field names are those of GROWI 7.3 and 8.x, which differ: what one of them does not send is None here. Our own
instances send all of them plus `transfer`; a document without that block comes from a real GROWI. Reading is tolerant
of fields nobody knows yet and strict about the types of those we know.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from growi_transfer.protocol.errors import InvalidRequest, JsonInvalid
from growi_transfer.protocol.growi_config import InstanceConfig
from growi_transfer.protocol.wire import PROTOCOL

ENVELOPE = "growiInfo"

Line = Annotated[str, Field(max_length=2000)]
Amount = Annotated[int, Field(ge=0, le=1 << 62)]
Limit = Annotated[int | float, Field(ge=-(1 << 62), le=1 << 62)]
"""JavaScript numbers: GROWI takes them from its environment as they are."""


class _GrowiShape(BaseModel):
    model_config = ConfigDict(
        extra="ignore",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )


class AttachmentInfo(_GrowiShape):
    """The destination's storage. All but the first two fields say where it is, for some types only."""

    type: Line
    """`local`, `gridfs`, `aws`, `gcs`, `azure` or `none`."""
    writable: bool
    bucket: Line | None = None
    custom_endpoint: Line | None = None
    upload_namespace: Line | None = None
    account_name: Line | None = None
    container_name: Line | None = None


def attachment_info_of(config: InstanceConfig, *, writable: bool) -> AttachmentInfo:
    """What a wiki with these settings says of its storage, as GROWI does."""
    values, kind = config.values, config.file_upload_type
    return AttachmentInfo(
        type=kind,
        writable=writable,
        bucket=(values["aws:s3Bucket"] if kind == "aws" else values["gcs:bucket"] if kind == "gcs" else None) or None,
        custom_endpoint=((values["aws:s3CustomEndpoint"] or "").rstrip("/") or None) if kind == "aws" else None,
        upload_namespace=(values["gcs:uploadNamespace"] or None) if kind == "gcs" else None,
        account_name=(values["azure:storageAccountName"] or None) if kind == "azure" else None,
        container_name=(values["azure:storageContainerName"] or None) if kind == "azure" else None,
    )


def is_one_storage(one: AttachmentInfo, other: AttachmentInfo) -> bool:
    """Whether two wikis keep their attachments in the same place of an object store."""
    places = [
        (
            info.type,
            info.bucket,
            (info.custom_endpoint or "").rstrip("/"),
            (info.upload_namespace or "").strip("/"),
            info.account_name,
            info.container_name,
        )
        for info in (one, other)
    ]
    return places[0] == places[1] and bool(one.bucket or one.container_name)


class DestinationCounts(_GrowiShape):
    """Documents that a transfer would replace."""

    users: Amount
    user_groups: Amount
    pages: Amount


class TransferBlock(_GrowiShape):
    """What only our own instances say. Names are ours, so they are not written in camel case."""

    model_config = ConfigDict(alias_generator=None)

    protocol: Annotated[int, Field(ge=1, le=1_000_000)]
    features: Annotated[tuple[Line, ...], Field(max_length=200)] = ()
    limits: Annotated[dict[str, Amount], Field(max_length=200)] = Field(default_factory=dict)
    instance_id: Line = ""
    """Names this database to its own pusher (GROWI's app:serviceInstanceId moves with the wiki and names nothing)."""
    mongo_version: Line = ""
    feature_compatibility_version: Line = ""
    migrations: Annotated[tuple[Line, ...], Field(max_length=5000)] | None = None
    """File names of the schema changes GROWI has applied."""
    free_bytes: Amount | None = None
    """Free space of the attachment storage."""
    database_free_bytes: Amount | None = None
    """Free space of the disk that the database is on."""
    database_bytes: Amount | None = None
    """What the wiki's documents and indexes take on that disk."""
    attachment_bytes: Amount | None = None
    """Sum of the sizes of the attachments that the destination has."""
    now: Annotated[float, Field(ge=0, le=1e12)] | None = None
    """The destination's clock: seconds since 1970 in UTC."""
    unset_acl: Line = ""
    """The canned ACL that GROWI gives new files and that a transfer cannot; empty where there is none."""


class GrowiInfo(_GrowiShape):
    """A `growi-info` document."""

    user_upper_limit: Limit | None = None
    """None: no limit."""
    file_upload_disabled: bool | None = None
    """GROWI 7.3 only."""
    file_upload_total_limit: Limit | None = None
    """Bytes; None: no limit."""
    version: Line
    attachment_info: AttachmentInfo
    destination_counts: DestinationCounts | None = None
    password_seed_fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    loginable_admin_count: Amount | None = None
    session_store_supports_enumeration: bool | None = None
    transfer: TransferBlock | None = None

    @property
    def dialect(self) -> Literal["native", "growi"]:
        return "growi" if self.transfer is None else "native"

    def has_feature(self, name: str) -> bool:
        return self.transfer is not None and self.transfer.protocol == PROTOCOL and name in self.transfer.features

    def to_json(self) -> dict[str, Any]:
        """The document, without the envelope. The two limits are always there, as in GROWI, where null is no limit."""
        document = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        limits = {"userUpperLimit": self.user_upper_limit, "fileUploadTotalLimit": self.file_upload_total_limit}
        return {**limits, **document}


class _Answer(_GrowiShape):
    growi_info: GrowiInfo


def parse_growi_info(body: bytes | str) -> GrowiInfo:
    """The answer of `GET growi-info`, with its envelope. Raises JsonInvalid, or InvalidRequest naming the field."""
    try:
        return _Answer.model_validate_json(body).growi_info
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise JsonInvalid("The answer to growi-info is not valid JSON.") from None
        where = ".".join(str(step) for step in first["loc"]) or ENVELOPE
        raise InvalidRequest(f"The answer to growi-info is not one: {where}: {first['msg']}", field=where) from None
