"""What a source reads of the answers of a destination: shapes as for what comes in, because a peer may be hostile.

Fields that are not read are not looked at: another version may tell more.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from growi_transfer.protocol.wire import BUNDLE_FILES, PLAN_FILES, REPORTED, AttachmentId, Shape, Text

_Seconds = Annotated[float, Field(ge=0, le=1e9)]
_Count = Annotated[int, Field(ge=0, lt=1 << 53)]


class Answer(Shape):
    model_config = ConfigDict(extra="ignore")


class Planned(Answer):
    """Of announced attachments: what is missing over there, and what is there in the same size."""

    missing: Annotated[tuple[AttachmentId, ...], Field(max_length=PLAN_FILES)]
    same_size: Annotated[tuple[AttachmentId, ...], Field(max_length=PLAN_FILES)]


class FileResult(Answer):
    """What became of one file of a bundle."""

    id: AttachmentId
    ok: bool
    code: Text = "internal_error"
    message: Text = "The destination does not say why."
    retryable: bool = False


class BundleResults(Answer):
    results: Annotated[tuple[FileResult, ...], Field(max_length=BUNDLE_FILES)]


class ProofError(Answer):
    code: Text
    message: Text


class ProofDifference(Answer):
    collection: Text
    what: Text
    ranges: Annotated[tuple[_Count, ...], Field(max_length=REPORTED)] = ()


class ProofOutcome(Answer):
    """What a proof found."""

    ok: bool
    index_seconds: _Seconds
    verify_seconds: _Seconds
    differences: Annotated[tuple[ProofDifference, ...], Field(max_length=REPORTED)] = ()
    files_missing: Annotated[tuple[Any, ...], Field(max_length=REPORTED)] = ()
    files_missing_total: _Count | None = None


class HeldProof(Answer):
    error: ProofError | None = None
    working: bool = False
    verify: ProofOutcome | None = None
    peak_rss_mib: Annotated[float, Field(ge=0)] | None = None


class State(Answer):
    state: Text = ""


class Proof(Answer):
    """The answer to `verify`."""

    transfer: State = State()
    held: HeldProof


class HeldCommit(Answer):
    told: dict[Text, Any] | None = None
    rollback_until: Text | None = None


class Commit(Answer):
    """The answer to `commit`."""

    transfer: State = State()
    held: HeldCommit


class Stored(Answer):
    """The answer to a volume."""

    seconds: _Seconds = 0.0
