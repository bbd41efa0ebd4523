"""Operations on jobs: docs/jobs.md."""

from __future__ import annotations

from growi_transfer.ledger.jobs import JobState
from growi_transfer.protocol.job_shapes import ExportRequest
from growi_transfer.protocol.wire import API
from growi_transfer.web.openapi.operation import (
    CHANGE,
    EVENTS,
    NUMBER,
    ROW,
    TEXT,
    ZIP,
    Json,
    Operation,
    header,
    named,
    query,
    whole,
)

TAG = "jobs"
_STATES = "|".join(state.value for state in JobState)
_PAGE = (query("page", whole(1, 1_000_000, 1)), query("size", whole(1, 100, 20)))
_STATUS = query(
    "status", {"type": "string", "pattern": f"^({_STATES})(,({_STATES}))*$"}, "Some states, with commas between them."
)
_FILE_HEADERS = ("ETag", "Last-Modified", "Accept-Ranges", "Content-Disposition", "Repr-Digest", "Digest")
_RANGES = (
    header("Range", {"type": "string", "examples": ["bytes=0-1023"]}, "One range of bytes."),
    header("If-Range", TEXT, "An ETag: the whole file if it is another one."),
    header("If-None-Match", TEXT),
)


def _file(method: str) -> Operation:
    content: dict[int, Json | None] = {200: {}, 206: {}} if method == "GET" else {200: None, 206: None}
    return Operation(
        method,
        f"{API}/export-jobs/{{job_id}}/download",
        "The archive that an export has made",
        "download",
        TAG,
        {**content, 304: None},
        query=(query("link", TEXT, "From the job's `download.url`: opens this file without a token."),),
        headers=_RANGES,
        errors=(404, 409, 410, 416),
        media=ZIP,
        answer_headers=_FILE_HEADERS,
    )


def _of(kind: str, create: Operation) -> list[Operation]:
    base, job = f"{API}/{kind}-jobs", named("JobAnswer")
    one = base + "/{job_id}"
    last = header("Last-Event-ID", NUMBER, "Only what is newer than this event.")
    return [
        create,
        Operation(
            "GET", base, f"{kind.capitalize()}s, newest first", "admin", TAG, {200: named("JobList")},
            query=(*_PAGE, _STATUS), errors=(400,),
        ),
        Operation("GET", one, f"One {kind}", "admin", TAG, {200: job}, errors=ROW),
        Operation("POST", one + "/cancel", "Stop it; it leaves nothing", "admin", TAG, {200: job}, errors=CHANGE),
        Operation(
            "GET", one + "/monitor", "Its changes as server-sent events", "admin", TAG, {200: {}},
            headers=(last,), errors=ROW, media=EVENTS,
        ),
    ]  # fmt: skip


OPERATIONS = [
    *_of(
        "export",
        Operation(
            "POST", f"{API}/export-jobs", "Make an archive of this wiki", "admin", TAG, {202: named("JobAnswer")},
            body=ExportRequest, errors=CHANGE, answer_headers=("Location",),
        ),
    ),
    _file("GET"),
    _file("HEAD"),
    *_of(
        "import",
        Operation(
            "POST", f"{API}/import-jobs", "Replace this wiki by the one in an archive", "admin", TAG,
            {202: named("JobAnswer")}, binary=ZIP, errors=(*CHANGE, 507), answer_headers=("Location",),
        ),
    ),
    Operation(
        "GET", f"{API}/jobs", "Exports, imports and transfers, newest first", "admin", TAG, {200: named("JobList")},
        query=(
            *_PAGE,
            query("type", {"enum": ["export", "import", "transfer"]}),
            query("status", TEXT, "States of jobs or transfers, with commas between them."),
        ),
        errors=(400,),
    ),
]  # fmt: skip
