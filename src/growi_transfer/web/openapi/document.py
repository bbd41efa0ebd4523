"""The document, put together from the tables beside this file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from growi_transfer.protocol.job_shapes import JobView
from growi_transfer.protocol.wire import KEY_HEADER
from growi_transfer.web.auth import COOKIE
from growi_transfer.web.openapi import jobs, server, transfers
from growi_transfer.web.openapi.operation import FORM, JSON, TEXT, Json, Operation, named
from growi_transfer.web.openapi.shapes import SCHEMAS
from growi_transfer.web.watch_api import HEADER as WATCH_HEADER

OPERATIONS = [*jobs.OPERATIONS, *transfers.OPERATIONS, *server.OPERATIONS]
_NAMES = re.compile(r"{(\w+)}")
_TEMPLATE = "#/components/schemas/{model}"
_ANY_TIME = (429, 500, 503)
_PARAMETERS: dict[str, Json] = {
    "transfer_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "job_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "attachment_id": {"type": "string", "pattern": "^[0-9a-f]{24}$"},
    "number": {"type": "integer", "minimum": 0, "maximum": (1 << 31) - 1},
    "collection": {"type": "string", "minLength": 1, "maxLength": 200},
    "key_id": TEXT,
    "link_id": TEXT,
}
_TOKEN: Json = {"adminToken": []}
_LOGIN: Json = {"adminLogin": []}
_KEY: Json = {"transferKey": []}
_SECURITY: dict[str, list[Json]] = {
    "admin": [_TOKEN, _LOGIN],
    "key": [_KEY],
    "either": [_TOKEN, _LOGIN, _KEY],
    "watch": [{"watchLink": []}],
    "download": [_TOKEN, _LOGIN, {}],
    "metrics": [{"metricsToken": []}, _TOKEN, _LOGIN],
    "anybody": [],
}
_SCHEMES: dict[str, Json] = {
    "adminToken": {"type": "http", "scheme": "bearer", "description": "The admin token."},
    "adminLogin": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "The login of the pages."},
    "transferKey": {
        "type": "apiKey",
        "in": "header",
        "name": KEY_HEADER,
        "description": "The part of a transfer key before the separator.",
    },
    "watchLink": {"type": "apiKey", "in": "header", "name": WATCH_HEADER, "description": "The token of a watch link."},
    "metricsToken": {"type": "http", "scheme": "bearer", "description": "GROWI_TRANSFER_METRICS_TOKEN."},
}


def document(version: str) -> Json:
    """OpenAPI 3.1, as JSON values."""
    paths: dict[str, Json] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "growi-transfer",
            "version": version,
            "description": "Move a whole GROWI wiki, and export and import it.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {**_models(), **SCHEMAS},
            "securitySchemes": _SCHEMES,
            "responses": {
                "Error": {"description": "An error.", "content": {JSON: {"schema": named("Error")}}},
                "Refused": {"description": "An error; the answer to HEAD has no body."},
            },
        },
    }


def _models() -> dict[str, Json]:
    """Shapes of bodies as they are checked, of answers as they are made."""
    bodies = {model for one in OPERATIONS for model in _bodies(one)}
    asked = [(model, "validation") for model in sorted(bodies, key=lambda model: model.__name__)]
    _, made = models_json_schema([*asked, (JobView, "serialization")], ref_template=_TEMPLATE)  # type: ignore[list-item]
    schemas: dict[str, Json] = made["$defs"]
    return schemas


def _bodies(one: Operation) -> tuple[type[BaseModel], ...]:
    return one.body if isinstance(one.body, tuple) else (one.body,) if one.body is not None else ()


def _operation(one: Operation) -> Json:
    names = _NAMES.findall(one.path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": _PARAMETERS[name]} for name in names]
    found: Json = {
        "operationId": _id(one),
        "summary": one.summary,
        "tags": [one.tag],
        "security": _SECURITY[one.who],
        "parameters": [*parameters, *one.query, *one.headers],
        "responses": _responses(one),
    }
    content = _content(one)
    if content:
        found["requestBody"] = {"content": content, "required": _is_needed(one)}
    return found


def _id(one: Operation) -> str:
    words = re.findall(r"[A-Za-z0-9]+", one.path.replace("/_api/v3", "").replace("g2g-transfer", ""))
    return "_".join([one.method.lower(), *words])


def _content(one: Operation) -> Json:
    models = [named(model.__name__) for model in _bodies(one)]
    if models:
        return {JSON: {"schema": models[0] if len(models) == 1 else {"anyOf": models}}}
    if one.form is not None:
        return {FORM: {"schema": {"type": "object", "properties": one.form}}}
    return {one.binary: {}} if one.binary else {}


def _is_needed(one: Operation) -> bool:
    """An empty body is an empty object."""
    models = _bodies(one)
    return not any(all(not field.is_required() for field in model.model_fields.values()) for model in models)


def _responses(one: Operation) -> Json:
    found = {str(status): _answer(one, schema) for status, schema in one.answers.items()}
    refusals = {*_ANY_TIME, *one.errors, *(() if one.who == "anybody" else (403,))}
    kind = "Refused" if one.method == "HEAD" else "Error"
    return {**found, **{str(status): {"$ref": f"#/components/responses/{kind}"} for status in sorted(refusals)}}


def _answer(one: Operation, schema: Json | None) -> Json:
    answer: dict[str, Any] = {"description": one.summary}
    if schema is not None:
        answer["content"] = {one.media: {"schema": schema} if schema else {}}
    if one.answer_headers:
        answer["headers"] = {name: {"schema": TEXT} for name in one.answer_headers}
    return answer


def described() -> Iterable[tuple[str, str]]:
    """Method and path of every operation in the document."""
    return ((one.method, one.path) for one in OPERATIONS)
