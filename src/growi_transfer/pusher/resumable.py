"""The headers of a resumable upload, on the sending side.

Names and meanings are those of the IETF draft on resumable uploads (draft-ietf-httpbis-resumable-upload); the
description of the file and its digest are our own (docs/protocol.md).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from growi_transfer.protocol.wire import (
    COMPLETE_HEADER,
    DIGEST_HEADER,
    LENGTH_HEADER,
    META_HEADER,
    OFFSET_HEADER,
    AttachmentFile,
)


@dataclass(frozen=True, slots=True)
class UploadState:
    """Where a large file is at the receiver: durable bytes, the announced size if known, whether it is complete."""

    offset: int
    length: int | None
    complete: bool


def upload_headers(
    offset: int, complete: bool, digest: str | None = None, file: AttachmentFile | None = None
) -> dict[str, str]:
    """Headers of a PATCH. `digest` goes out with the last one only."""
    headers = {
        "content-type": "application/partial-upload",
        OFFSET_HEADER: str(offset),
        COMPLETE_HEADER: "?1" if complete else "?0",
    }
    if digest is not None and complete:
        headers[DIGEST_HEADER] = digest
    if file is not None:
        headers[LENGTH_HEADER] = str(file.size)
        headers[META_HEADER] = base64.b64encode(file.model_dump_json().encode()).decode("ascii")
    return headers


def read_state(headers: Mapping[str, str]) -> UploadState | None:
    """What an answer says; None when it does not say where the upload is."""
    offset, length = headers.get(OFFSET_HEADER, ""), headers.get(LENGTH_HEADER, "")
    if not _is_size(offset) or not (length == "" or _is_size(length)):
        return None
    return UploadState(int(offset), int(length) if length else None, headers.get(COMPLETE_HEADER) == "?1")


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 19
