"""The receipt of a transfer: a signed statement of what moved and what was proved (docs/formats/receipt.md).

The signed bytes are the statement as canonical JSON: keys in order of their code points, no spaces, UTF-8, and no
numbers but integers of at most 64 bits, so that no two programs write it differently. Each side signs with a key made
from its own secrets, and so can tell later whether a receipt is the one that it signed.
"""

from __future__ import annotations

import hmac
import json
import zlib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from growi_transfer.protocol.errors import ReceiptInvalid
from growi_transfer.protocol.wire import (
    COLLECTIONS,
    REPORTED,
    AcceptedWarning,
    CollectionName,
    Count,
    FileFault,
    HexDigest,
    Shape,
    Text,
    TransferId,
)

FORMAT: Literal["growi-transfer receipt 1"] = "growi-transfer receipt 1"
ALGORITHM: Literal["hmac-sha256"] = "hmac-sha256"
RECEIPT_LIMIT = 32 << 20
"""Bytes of a receipt that is taken."""
_PURPOSE = b"growi-transfer/receipt-key/1"

Names = Annotated[tuple[Text, ...], Field(max_length=COLLECTIONS)]


def _without_fractions(value: Any) -> Any:
    canonical(value)
    return value


class Side(Shape):
    """One of the two instances."""

    instance_id: Text
    origin: Text = ""
    growi_version: Text = ""
    mongo_version: Text = ""
    file_upload_type: Text = ""
    software: Text = ""


class AfterCommit(Shape):
    """A collection once GROWI's rules had been applied to it, or once it was merged."""

    documents: Count
    digest: HexDigest
    indexes: Annotated[tuple[Text, ...], Field(max_length=1000)] | None = None
    """Of a merge, as the definition: those of the destination."""
    definition: HexDigest | None = None


class CollectionReceipt(Shape):
    name: CollectionName
    kind: Literal["collection", "capped", "clustered", "view"]
    documents: Count
    bytes: Count
    digest: HexDigest
    volumes: Annotated[tuple[Count, ...], Field(max_length=1 << 20)] = ()
    """Capped collections only: documents of each volume, without which the digest cannot be made again."""
    indexes: Annotated[tuple[Text, ...], Field(max_length=1000)] = ()
    definition: HexDigest
    after_commit: AfterCommit | None = None


class AttachmentsReceipt(Shape):
    files: Count
    bytes: Count
    digest: HexDigest
    deep: bool


class Rewrite(Shape):
    """One document that GROWI's rules changed, told by key or id."""

    collection: CollectionName
    action: Text
    reason: Text
    key: Text | None = None
    id: Text | None = None


class FoundDifference(Shape):
    """What a verification before the last one had found; it was sent again."""

    collection: Text
    what: Literal["documents", "indexes", "options", "files"]
    ranges: Count = 0
    files: Count = 0
    found_at: Text = ""


class Times(Shape):
    """When (ISO 8601, empty: not yet) and how long (milliseconds)."""

    begun_at: Text = ""
    received_at: Text = ""
    verified_at: Text = ""
    committed_at: Text = ""
    rolled_back_at: Text = ""
    documents_ms: Count = 0
    attachments_ms: Count = 0
    index_ms: Count = 0
    verify_ms: Count = 0
    commit_ms: Count = 0


class SetUpReceipt(Shape):
    preset: Text
    excluded_collections: Names = ()
    with_attachments: bool
    more: Annotated[dict[str, Any], AfterValidator(_without_fractions)] = Field(default_factory=dict)


class Statement(Shape):
    """What is signed."""

    format: Literal["growi-transfer receipt 1"] = FORMAT
    transfer: TransferId
    version: Annotated[int, Field(ge=1, lt=1 << 31)]
    state: Literal["ready", "completed", "rolled_back"]
    final: bool
    made_at: Text
    setup: SetUpReceipt
    source: Side
    destination: Side
    documents: Count
    document_bytes: Count
    collections: Annotated[tuple[CollectionReceipt, ...], Field(max_length=COLLECTIONS)]
    attachments: AttachmentsReceipt
    accepted_warnings: Annotated[tuple[AcceptedWarning, ...], Field(max_length=REPORTED)] = ()
    skipped: Annotated[tuple[FileFault, ...], Field(max_length=REPORTED)] = ()
    skipped_files: Count = 0
    failed: Annotated[tuple[FileFault, ...], Field(max_length=REPORTED)] = ()
    failed_files: Count = 0
    differences: Annotated[tuple[FoundDifference, ...], Field(max_length=REPORTED)] = ()
    rewritten: Annotated[tuple[Rewrite, ...], Field(max_length=COLLECTIONS)] = ()
    rescued: Annotated[dict[str, Any], AfterValidator(_without_fractions)] = Field(default_factory=dict)
    merged: Annotated[dict[str, Any], AfterValidator(_without_fractions)] = Field(default_factory=dict)
    """Of a merge: what came, and how conflicts were resolved."""
    strays: Names = ()
    files_replaced: Count = 0
    times: Times


class Signature(Shape):
    """The mark of one side."""

    role: Literal["receiver", "pusher"]
    instance_id: Text
    algorithm: Literal["hmac-sha256"] = ALGORITHM
    value: HexDigest


class Receipt(Shape):
    """The document: the statement and the marks of both sides."""

    receipt: Statement
    signatures: Annotated[tuple[Signature, ...], Field(max_length=2)] = ()

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    def signed(self, signature: Signature) -> Receipt:
        """With this mark, in place of an older one of the same side."""
        others = tuple(one for one in self.signatures if one.role != signature.role)
        marks = sorted((*others, signature), key=lambda one: one.role, reverse=True)
        return Receipt(receipt=self.receipt, signatures=tuple(marks))


class CounterSignature(Shape):
    """POST transfers/{id}/receipt: the source has found the receipt right and signed it."""

    version: Annotated[int, Field(ge=1, lt=1 << 31)]
    signature: Signature


def packed(receipt: Receipt) -> bytes:
    """As a ledger keeps it."""
    return zlib.compress(canonical(receipt.to_json()))


def read_receipt(body: bytes, *, packed: bool = False) -> Receipt:
    """A receipt out of a file, a peer's answer, or (`packed`) a ledger. Raises ReceiptInvalid."""
    if packed:
        body = zlib.decompress(body)
    elif len(body) > RECEIPT_LIMIT:
        raise ReceiptInvalid("This is too large to be a receipt.")
    try:
        receipt = Receipt.model_validate_json(body)
        canonical(receipt.receipt.model_dump(mode="json"))
        if len({mark.role for mark in receipt.signatures}) != len(receipt.signatures):
            raise ValueError("one side has signed twice")
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])[:200]
        raise ReceiptInvalid(f"This is not a receipt: {where or 'the file'}: {first['msg']}.") from None
    except ValueError as error:
        raise ReceiptInvalid(f"This is not a receipt: {error}.") from None
    return receipt


def canonical(value: Any) -> bytes:
    """Canonical JSON. Raises ValueError for numbers with a fraction, which have no one spelling."""
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, float):
            raise ValueError("a receipt has no numbers with a fraction")
        pending.extend(one.values() if isinstance(one, Mapping) else one if isinstance(one, list | tuple) else ())
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()


def without_fractions(value: Any) -> Any:
    """The same JSON value with every fraction as text."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else repr(value)
    if isinstance(value, Mapping):
        return {str(key): without_fractions(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_fractions(one) for one in value]
    return value


class Signer:
    """One instance's mark. `secrets`: newest last; receipts signed with an older one stay good while it is kept."""

    def __init__(self, secrets: Sequence[str], instance_id: str) -> None:
        self._keys = [hmac.digest(secret.encode(), _PURPOSE, "sha256") for secret in secrets]
        self.instance_id = instance_id

    def sign(self, statement: Statement, role: Literal["receiver", "pusher"]) -> Signature:
        value = hmac.digest(self._keys[-1], _signed_bytes(statement, role), "sha256").hex()
        return Signature(role=role, instance_id=self.instance_id, value=value)

    def is_mine(self, signature: Signature) -> bool:
        """Whether the mark says that it is ours."""
        return signature.instance_id == self.instance_id

    def is_good(self, statement: Statement, signature: Signature) -> bool:
        """Whether we made this mark under exactly this statement."""
        body = _signed_bytes(statement, signature.role)
        found = [hmac.digest(key, body, "sha256").hex() for key in self._keys]
        return self.is_mine(signature) and any(hmac.compare_digest(one, signature.value) for one in found)


def _signed_bytes(statement: Statement, role: str) -> bytes:
    # The role is signed too: the mark of one side cannot be shown as that of the other.
    return f"{FORMAT}\n{role}\n".encode() + canonical(statement.model_dump(mode="json"))


def fingerprint(receipt: Receipt) -> str:
    """SHA-256 of the statement, to compare two copies by eye."""
    return sha256(canonical(receipt.receipt.model_dump(mode="json"))).hexdigest()
