"""Shapes of the jobs API: what an export is asked for, and how every job is shown. docs/jobs.md describes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from growi_transfer.protocol.errors import InvalidRequest
from growi_transfer.protocol.wire import CollectionName, Shape, Text

NAMED_COLLECTIONS = 1000
ERRORS_KEPT = 100
"""Errors that a job keeps; `errors_total` counts all."""


class ExportRequest(Shape):
    """The body of `POST export-jobs`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"format": "bson", "collections": ["pages", "revisions"], "attachments": False}]
        }
    )

    format: Literal["bson", "growi"] = Field("bson", description="growi: what GROWI's own importer takes.")
    collections: Annotated[tuple[CollectionName, ...], Field(min_length=1, max_length=NAMED_COLLECTIONS)] | None = (
        Field(None, description="These only; null: all that move.")
    )
    exclude_collections: Annotated[tuple[CollectionName, ...], Field(max_length=NAMED_COLLECTIONS)] = ()
    attachments: bool | None = Field(
        None, description="With the files; null: yes, if the format has a place for them (bson has, growi has none)."
    )
    on_error: Literal["fail", "continue"] = Field(
        "fail", description="continue: what cannot be had is left out, and stands in the job's errors."
    )

    def check(self) -> ExportRequest:
        """With `attachments` decided. Raises InvalidRequest for files in a format that has no place for them."""
        if self.format == "growi" and self.attachments:
            raise InvalidRequest("An archive in GROWI's format has no attachments.", field="attachments")
        with_files = self.format == "bson" if self.attachments is None else self.attachments
        return self.model_copy(update={"attachments": with_files})


class Counter(Shape):
    done: int
    total: int


class JobProgress(Shape):
    """An import counts what is staged. Totals are what the database tells without reading everything."""

    documents: Counter = Counter(done=0, total=0)
    bytes: Counter = Counter(done=0, total=0)
    files: Counter = Counter(done=0, total=0)


class JobError(Shape):
    item: str
    """Name of a collection, path of a file; empty: the whole job."""
    kind: Literal["collection", "file", "job"]
    code: str
    message: str


class JobFile(Shape):
    """The archive that an export has made."""

    name: str
    bytes: int
    sha256: str
    expires_at: str | None
    """When it will be removed; it may go earlier, when newer ones need the space (`GROWI_TRANSFER_EXPORT_BYTES`)."""
    here: bool = True
    """Whether the server that was asked has it; else that of the job's `node` gives it out."""


class Download(Shape):
    url: str
    """Path and query: whoever has it needs no token until `expires_at`."""
    expires_at: str


class Webhook(Shape):
    state: Literal["pending", "delivered", "failed"]
    tries: int
    status: int | None = None
    """HTTP status of the last answer, if there was one."""


class JobView(Shape):
    """One job, as every route, event and notification shows it."""

    id: str
    type: Literal["export", "import", "transfer"]
    state: Text
    percent: Annotated[int, Field(ge=0, le=100)]
    node: str = ""
    """Name of the machine whose server has it; empty for transfers."""
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    request: dict[str, Any] = Field(default_factory=dict)
    progress: JobProgress = JobProgress()
    errors: tuple[JobError, ...] = ()
    errors_total: int = 0
    silent_since: str | None = None
    """Of one that is not finished: since when no server has taken care of it, if that is so."""
    tries: int = 0
    """How often it was begun: more than once when the server ended in the middle, or the source changed meanwhile."""
    result: dict[str, Any] | None = None
    """What the same command of the command line tells with --json."""
    file: JobFile | None = None
    download: Download | None = None
    transfer_id: str | None = None
    """Of an import: the transfer by which it comes in, for `rollback`."""
    webhook: Webhook | None = None
