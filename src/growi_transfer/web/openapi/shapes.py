"""Schemas of answers that are not pydantic shapes: those of `protocol/shape.py` and of GROWI."""

from __future__ import annotations

from growi_transfer.ledger.base import Role
from growi_transfer.ledger.log import LEVELS
from growi_transfer.protocol.machine import State
from growi_transfer.web.openapi.operation import ID, NUMBER, OBJECT, TEXT, TIME, YES_NO, Json, listing, maybe, named, of

_COUNT: Json = {"type": "integer", "minimum": 0}
_RATE: Json = {"type": "number", "minimum": 0}
_GROWI_STATE: Json = {"enum": ["PENDING", "IN_PROGRESS", "COMPLETED", "ERROR", "SKIPPED"]}
_NOTICE = of(code=TEXT, message=TEXT)
_LANE = of(in_flight=_COUNT, limit=_COUNT, waiting=_COUNT)
_COUNTED = of(done=_COUNT, total=_COUNT)

_TRANSFER = of(
    id=ID,
    role={"enum": [role.value for role in Role]},
    dialect={"enum": ["native", "growi"]},
    state={"enum": [state.value for state in State]},
    mongo=_GROWI_STATE,
    attachments=_GROWI_STATE,
    documents=_COUNTED,
    bytes=of(done=_COUNT, total=_COUNT, wire=_COUNT),
    files=of(done=_COUNT, total=_COUNT, failed=_COUNT, skipped=_COUNT),
    rate=of(bytes_per_second=_RATE, files_per_second=_RATE, documents_per_second=_RATE),
    eta_seconds=maybe(NUMBER),
    failures=listing(of(item=TEXT, kind=TEXT, code=TEXT, message=TEXT, tries=NUMBER, retryable=YES_NO)),
    warnings=listing(_NOTICE),
    activity=maybe(of(volumes=_LANE, attachments=_LANE, retries=OBJECT)),
    lag=maybe(OBJECT),
)

SCHEMAS: dict[str, Json] = {
    "Error": of(
        errors={
            "type": "array",
            "minItems": 1,
            "items": of(message=TEXT, code={"type": "string", "pattern": "^[a-z0-9_]+$"}),
        }
    ),
    "Transfer": _TRANSFER,
    "TransferAnswer": of(transfer=named("Transfer")),
    "Held": of(transfer=named("Transfer"), held=OBJECT),
    "Key": of(
        id=TEXT,
        state={"enum": ["valid", "expired", "revoked"]},
        audience=TEXT,
        issued_at=TIME,
        expires_at=TIME,
        ceiling_at=TIME,
        claimed_by=maybe(ID),
        revoked_at=maybe(TIME),
        last_used_at=maybe(TIME),
    ),
    "JobAnswer": of(job=named("JobView")),
    "JobList": of(jobs=listing(named("JobView")), page=NUMBER, size=NUMBER, total=_COUNT),
    "Report": of(blockers=listing(_NOTICE), warnings=listing(_NOTICE), counts=OBJECT, collections=listing(OBJECT)),
    "WatchLink": of(id=TEXT, created_at=TIME, expires_at=TIME),
    "LogLine": of(at=TIME, level={"enum": list(LEVELS)}, event=TEXT, message=TEXT, details=OBJECT),
    "CollectionProgress": of(name=TEXT, kind=TEXT, documents=_COUNTED, bytes=_COUNTED),
    "FailedFile": of(item=TEXT, kind=TEXT, attachment_id=TEXT, bytes=_COUNT, code=TEXT, message=TEXT, tries=NUMBER),
}
"""By the names under which the document has them."""
