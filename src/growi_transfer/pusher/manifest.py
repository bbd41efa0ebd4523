"""The manifest of a volume."""

from __future__ import annotations

from base64 import b64encode

from growi_transfer.ledger.base import CollectionRow, RangeRow
from growi_transfer.protocol.wire import Manifest


def manifest_of(row: CollectionRow, one: RangeRow) -> Manifest:
    """What a volume says about the range it carries."""
    return Manifest(
        collection=row.name,
        number=one.number,
        uuid=row.source_uuid,
        minimum=_text(one.minimum),
        maximum=_text(one.maximum),
        documents=one.documents,
        bytes=one.bytes,
        digest=one.digest.hex(),
        ordered=row.kind == "capped",
    )


def _text(bound: bytes | None) -> str | None:
    return None if bound is None else b64encode(bound).decode()
