"""What goes over the line between two instances in the native dialect: paths, headers, and the shapes of JSON bodies.

Every shape refuses unknown fields, wrong types and lengths beyond its limits; `parse` turns whatever a peer sent into
a value or raises one of our errors. docs/protocol.md describes the same shapes for people.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, ValidationError

from growi_transfer.protocol.errors import InvalidRequest, JsonInvalid, TransferError
from growi_transfer.protocol.names import (
    check_attachment_id,
    check_collection,
    check_file_name,
    check_file_path,
    check_transfer_id,
)
from growi_transfer.protocol.page_paths import PATTERNS, check_pattern
from growi_transfer.protocol.places import Naming

PROTOCOL = 1
API = "/_api/v3"
PREFIX = API + "/g2g-transfer"
KEY_HEADER = "x-growi-transfer-key"
EPOCH_HEADER = "x-growi-transfer-epoch"
DIGEST_HEADER = "x-growi-transfer-sha256"
"""Hex SHA-256 of the whole file, with the last PATCH of a large one."""
OFFSET_HEADER = "upload-offset"
LENGTH_HEADER = "upload-length"
COMPLETE_HEADER = "upload-complete"
META_HEADER = "x-growi-transfer-file"
"""Base64 of the JSON of an `AttachmentFile`, with the first request of a large file."""

RANGE_BYTES = 8 << 20
"""Raw BSON in one range; one document may exceed it."""
BUNDLE_BYTES = 8 << 20
"""Body bytes in one bundle; a bundle has at least one file."""
BUNDLE_FILES = 512
LARGE_FILE_BYTES = 4 << 20
"""Files over this go alone, by offset."""
CHUNK_BYTES = 256 << 20
"""Body of one PATCH of a large file."""
VOLUME_LIMIT = 80 << 20
"""The largest volume a receiver takes, unpacked: a range that grew, or one that ends with a 16 MiB document."""
BUNDLE_LIMIT = 32 << 20
PROBE_LIMIT = 8 << 20
"""The largest body of POST preflight-probe: what a volume usually has."""
PLAN_FILES = 2000
COPY_FILES = 200
"""Files that one request has copied by the store."""
MERGE_ITEMS = 20_000
MERGE_KEYS = 2000
"""Users, groups, pages or accounts on one page of a merge's dry run."""
JSON_LIMIT = 32 << 20

COLLECTIONS = 100_000
VALUES_LIMIT = 200_000
"""Commas in one JSON body: right ones have some thousand. It bounds what reading and refusing a wrong one costs."""
_FAULTS_LISTED = 1000
REPORTED = 1000
"""Entries of one list in a report or a receipt; totals stand beside it."""

DOCUMENT_LIMIT = 16 << 20
"""Bytes of the largest BSON document that MongoDB stores (exactly 16,777,216)."""


class _Refused(ValueError):
    """A check of ours says no."""

    def __init__(self, error: TransferError) -> None:
        super().__init__(error.message)
        self.error = error


def _wrap(check: Any) -> Any:
    def checked(value: str) -> str:
        try:
            return str(check(value))
        except TransferError as error:
            raise _Refused(error) from None

    return AfterValidator(checked)


def _plain_json(value: Any) -> Any:
    """Numbers that JSON as we keep and send it can hold: finite, and integers of at most 64 bits."""
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)
        elif isinstance(one, float) and not math.isfinite(one):
            raise ValueError("numbers must be finite")
        elif isinstance(one, int) and not -(1 << 63) <= one < 1 << 63:
            raise ValueError("integers must fit into 64 bits")
    return value


TransferId = Annotated[str, _wrap(check_transfer_id)]
AttachmentId = Annotated[str, _wrap(check_attachment_id)]
CollectionName = Annotated[str, _wrap(check_collection)]
FileName = Annotated[str, _wrap(check_file_name)]
FilePath = Annotated[str, _wrap(check_file_path)]
PagePattern = Annotated[str, _wrap(check_pattern)]
HexDigest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=1 << 62)]
Text = Annotated[str, Field(max_length=2000)]
CollectionNumber = Annotated[int, Field(ge=0, lt=COLLECTIONS)]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class SourceInfo(Shape):
    """What the destination may know of the source. The seed itself is never sent."""

    version: Text | None = None
    mongo_version: Text = ""
    password_seed_fingerprint: HexDigest | None = None
    file_upload_type: Text = "none"
    instance_id: Text = ""


MERGE_KINDS: dict[str, tuple[str, ...]] = {
    "users": ("match", "map", "rename", "skip"),
    "groups": ("map", "rename", "skip"),
    "pages": ("skip", "overwrite", "rename"),
    "external_accounts": ("map", "skip"),
    "documents": ("skip", "overwrite"),
}
"""What may be in the way of a merge, and how each may be resolved; the first one is the default."""


def _merge_items(items: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    for kind, resolutions in items.items():
        if kind not in MERGE_KINDS or kind == "documents":
            raise ValueError("items are of users, groups, pages or external_accounts")
        for resolution in resolutions.values():
            if resolution not in MERGE_KINDS[kind]:
                raise ValueError(f"{kind} may be resolved by {', '.join(MERGE_KINDS[kind])}")
    if sum(map(len, items.values())) > MERGE_ITEMS:
        raise ValueError(f"there may be {MERGE_ITEMS} items")
    return items


class MergeRules(Shape):
    """How a merge resolves what is in its way."""

    users: Literal["match", "map", "rename", "skip"] = "match"
    """`match`: map those whose name and e-mail address are both equal, rename the others."""
    groups: Literal["map", "rename", "skip"] = "map"
    pages: Literal["skip", "overwrite", "rename"] = "skip"
    external_accounts: Literal["map", "skip"] = "map"
    documents: Literal["skip", "overwrite"] = "skip"
    """Of all other collections: insert only, or upsert."""
    substitute: Text = ""
    """Name of the destination's user who takes the place of users that are skipped; empty: nobody."""
    items: Annotated[dict[Text, dict[Text, Text]], AfterValidator(_merge_items)] = Field(default_factory=dict)
    """Resolutions of single ones, by kind and name (user name, group name, page path, `type:id` of an account)."""

    def resolution(self, kind: str, name: object) -> str:
        """How a conflict of this kind and name is resolved."""
        by_name = self.items.get(kind, {}).get(name) if isinstance(name, str) else None
        return by_name or str(getattr(self, kind))


class SetUp(Shape):
    """What a transfer is. It never changes; a resume under another one is refused."""

    protocol: Annotated[int, Field(ge=PROTOCOL, le=PROTOCOL)] = PROTOCOL
    preset: Literal["replace", "merge", "growi"] = "replace"
    """`growi`: what an unmodified GROWI sent, with a mode for each collection; never set by a peer of our own."""
    merge: MergeRules | None = None
    """With preset `merge` only."""
    modes: Annotated[dict[CollectionName, Literal["insert", "upsert", "flushAndInsert"]], Field(max_length=10_000)] = (
        Field(default_factory=dict)
    )
    """With preset `growi` only."""
    source: SourceInfo
    excluded_collections: Annotated[tuple[CollectionName, ...], Field(max_length=COLLECTIONS), FailFast()] = ()
    excluded_paths: Annotated[tuple[PagePattern, ...], Field(max_length=PATTERNS), FailFast()] = ()
    """Pages whose attachments' files stay behind (their documents move). Syntax: `protocol.page_paths`."""
    with_attachments: bool = True
    upload_settings: Annotated[dict[str, Any], AfterValidator(_plain_json)] = Field(default_factory=dict)
    """The source's upload settings, taken only when the destination has none (GROWI's `uploadConfigs`)."""


class Collection(Shape):
    """One collection to be staged. `metadata` is canonical Extended JSON: {"options": {...}, "indexes": [...]}."""

    number: CollectionNumber
    name: CollectionName
    kind: Literal["collection", "capped", "clustered", "view"]
    uuid: Annotated[str, Field(pattern=r"^([0-9a-f]{32})?$")] = ""
    metadata: Annotated[str, Field(max_length=JSON_LIMIT)]
    documents: Count = 0
    bytes: Count = 0


class PutTransfer(Shape):
    """PUT transfers/{id}: the set-up, and the source's present list of collections (the set-up cannot change; the
    list can: a collection that is gone is unstaged, one that was re-created is staged anew)."""

    setup: SetUp
    collections: Annotated[tuple[Collection, ...], Field(max_length=COLLECTIONS), FailFast()]
    files_total: Count = 0
    file_bytes_total: Count = 0


class Claim(Shape):
    """POST transfers/{id}/claim: a new key takes over a transfer that was begun with this set-up."""

    setup: SetUp


class Manifest(Shape):
    """`manifest.json` of a volume. Bounds are base64 of a BSON document {"_id": value}; None is open."""

    collection: CollectionName
    number: Annotated[int, Field(ge=0, lt=1 << 31)]
    uuid: Annotated[str, Field(pattern=r"^([0-9a-f]{32})?$")] = ""
    minimum: Annotated[str, Field(max_length=24 << 20)] | None = None
    maximum: Annotated[str, Field(max_length=24 << 20)] | None = None
    documents: Count
    bytes: Count
    digest: HexDigest
    ordered: bool = False
    """Capped collections: volumes follow one another in natural order; the digest is that of a sequence."""


class AttachmentFile(Shape):
    """One attachment as it is announced: in a plan page, in a frame, in META_HEADER."""

    id: AttachmentId
    file_name: FileName
    has_page: bool
    size: Count
    sha256: HexDigest | None = None
    content_type: Text = ""
    original_name: Text = ""
    is_export: bool = False
    """An export of pages, which some storages have in a folder of its own."""
    file_path: Literal[""] | FilePath = ""
    """The document's `filePath` (GROWI 3.3 and older), under which some storages have the file; empty for none."""

    @property
    def naming(self) -> Naming:
        """What says where the file goes, together with the kind of storage: see `protocol.places`."""
        return Naming(self.file_name, self.has_page, self.is_export, self.file_path)


class PlanPage(Shape):
    files: Annotated[tuple[AttachmentFile, ...], Field(max_length=PLAN_FILES), FailFast()]
    gone: Annotated[tuple[AttachmentId, ...], Field(max_length=PLAN_FILES), FailFast()] = ()
    """Attachments that the source has removed: what was sent of their files goes."""


class CopyOffer(Shape):
    """A file of the source that the destination's store may copy, under its key, while it has this ETag."""

    file: AttachmentFile
    key: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]+$")]
    etag: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")]


class CopyPage(Shape):
    bucket: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")]
    """The source's."""
    offers: Annotated[tuple[CopyOffer, ...], Field(max_length=COPY_FILES), FailFast()]


class CollectionProof(Shape):
    """What the pusher's last pass found in one collection."""

    number: CollectionNumber
    documents: Count
    digest: HexDigest


class AcceptedWarning(Shape):
    """A warning under which the operator let the transfer go on."""

    code: Text
    message: Annotated[str, Field(max_length=20_000)] = ""
    details: Annotated[dict[str, Any], AfterValidator(_plain_json)] = Field(default_factory=dict)
    accepted_at: Text = ""


class FileFault(Shape):
    """An attachment that did not move, and why."""

    item: Text
    """Its path, or its id where the path is unknown."""
    reason: Text
    """A code of docs/errors.md, or `attachment_removed`."""
    bytes: Count = 0


class SourceReport(Shape):
    """What only the source knows of the transfer, for the receipt."""

    software: Text = ""
    origin: Text = ""
    accepted_warnings: Annotated[tuple[AcceptedWarning, ...], Field(max_length=REPORTED)] = ()
    skipped: Annotated[tuple[FileFault, ...], Field(max_length=REPORTED)] = ()
    """The first ones; `skipped_files` counts all."""
    skipped_files: Count = 0
    failed: Annotated[tuple[FileFault, ...], Field(max_length=REPORTED)] = ()
    failed_files: Count = 0
    begun_at: Text = ""
    documents_ms: Count = 0
    attachments_ms: Count = 0


class Verify(Shape):
    """POST transfers/{id}/verify: what staging must be equal to."""

    collections: Annotated[tuple[CollectionProof, ...], Field(max_length=COLLECTIONS), FailFast()]
    files: Count
    skipped_files: Count = 0
    seconds: Annotated[float, Field(ge=0, le=60)] = 0
    """How long the answer may wait for the end of the verification."""
    deep: bool = False
    """Read every stored file again from the storage, and hash it."""
    report: SourceReport = SourceReport()


S = TypeVar("S", bound=Shape)


def parse(shape: type[S], body: bytes | str) -> S:
    """A peer's JSON as a value. Raises JsonInvalid, InvalidRequest which names the first wrong field, or what the check
    of that field raises."""
    commas = body.count(b",") if isinstance(body, bytes) else body.count(",")
    if commas > VALUES_LIMIT:
        raise InvalidRequest("The body has more values than any that this route takes.", field="body")
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        faults = error.error_count()
        if faults > _FAULTS_LISTED:
            # Listing them takes seconds and much memory.
            raise InvalidRequest(f"The body has {faults} wrong fields.", field="body", errors=faults) from None
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise JsonInvalid() from None
        where = ".".join(str(step) for step in first["loc"])[:200] or "body"
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, _Refused):
            details = {**cause.error.details, "field": where, "errors": faults}
            raise type(cause.error)(f"{where}: {cause.error.message}", **details) from None
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidRequest(f"{where}: {message}", field=where, errors=faults) from None
