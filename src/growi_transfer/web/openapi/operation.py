"""One operation of the document, as the tables beside this file have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

Json = dict[str, Any]
Who = Literal["admin", "key", "either", "watch", "download", "metrics", "anybody"]
"""Who may ask: the admin, a peer with a transfer key, either of them, who has a watch link, and so on."""

OBJECT: Json = {"type": "object"}
NO_CONTENT = 204
BINARY, ZIP, EVENTS, JSON = "application/octet-stream", "application/zip", "text/event-stream", "application/json"
FORM = "multipart/form-data"

REQUEST = (400, 413)
"""What a body, a query or a name in the path may be refused with."""
ROW = (400, 404)
CHANGE = (400, 404, 409, 413)
DATA = (400, 404, 409, 413, 507)
PEER = (400, 404, 409, 413, 502, 507)


@dataclass(frozen=True)
class Operation:
    """`path` as the router has it, without converters. `answers`: the schema of a JSON answer, or None for one without
    a body, by status. `errors`: statuses with the envelope, beside those that any operation may have."""

    method: str
    path: str
    summary: str
    who: Who
    tag: str
    answers: Mapping[int, Json | None]
    body: type[BaseModel] | tuple[type[BaseModel], ...] | None = None
    binary: str = ""
    """Media type of a body that is not JSON."""
    form: Json | None = None
    query: Sequence[Json] = ()
    headers: Sequence[Json] = ()
    errors: Sequence[int] = ()
    media: str = JSON
    """Media type of the answer."""
    answer_headers: Sequence[str] = ()


def query(name: str, schema: Json, text: str = "") -> Json:
    """A parameter of the query that may be left out."""
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def header(name: str, schema: Json, text: str = "", *, required: bool = False) -> Json:
    return {"name": name, "in": "header", "required": required, "schema": schema, "description": text}


def whole(least: int, most: int, usual: int) -> Json:
    return {"type": "integer", "minimum": least, "maximum": most, "default": usual}


def of(**properties: Json) -> Json:
    """An object that has all of these, and may have more."""
    return {"type": "object", "required": list(properties), "properties": properties}


def listing(item: Json) -> Json:
    return {"type": "array", "items": item}


def maybe(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def named(model: str) -> Json:
    """A schema of the document."""
    return {"$ref": f"#/components/schemas/{model}"}


TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "integer"}
YES_NO: Json = {"type": "boolean"}
TIME: Json = {"type": "string", "format": "date-time"}
ID: Json = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
