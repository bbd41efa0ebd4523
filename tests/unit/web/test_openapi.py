"""The OpenAPI document and the app say the same."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
import pytest
from starlette.routing import Route
from tests.fakes.asgi import AsgiClient

from growi_transfer.protocol.job_shapes import ExportRequest, JobView
from growi_transfer.web import pages
from growi_transfer.web.app import ROUTES
from growi_transfer.web.errors import STATUS
from growi_transfer.web.openapi.document import OPERATIONS, document

DOCUMENT = document("1.2.3")
PAGES = {route.path for route in pages.ROUTES if isinstance(route, Route)} - {"/healthz", "/readyz"}


def test_every_route_is_in_the_document_and_nothing_else() -> None:
    served = {
        (method, re.sub(r":\w+}", "}", route.path))
        for route in ROUTES
        if isinstance(route, Route) and route.path not in PAGES
        for method in route.methods or ()
        if method != "HEAD" or "GET" not in (route.methods or ())
    }
    described = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert described == served
    assert len(OPERATIONS) == len(served)


def test_no_operation_has_the_id_of_another() -> None:
    ids = [one["operationId"] for item in DOCUMENT["paths"].values() for one in item.values()]
    assert len(set(ids)) == len(ids)


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    if isinstance(value, list):
        return set().union(*map(references, value))
    return set()


def test_whatever_is_referred_to_is_there_and_nothing_is_left_over() -> None:
    found = references(DOCUMENT)
    there = {
        f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in DOCUMENT["components"][kind]
    }
    assert found == there


def test_every_schema_is_one() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        jsonschema_rs.validator_for({**schema, "components": DOCUMENT["components"]}), name


def test_examples_are_valid() -> None:
    [example] = DOCUMENT["components"]["schemas"]["ExportRequest"]["examples"]
    assert ExportRequest.model_validate_json(json.dumps(example)).format == "bson"
    shown = JobView(id="0" * 32, type="export", state="queued", percent=0, created_at="now").model_dump(mode="json")
    checked = {**DOCUMENT["components"]["schemas"]["JobView"], "components": DOCUMENT["components"]}
    assert jsonschema_rs.is_valid(checked, shown)
    assert not jsonschema_rs.is_valid(checked, {**shown, "percent": 101})


def test_every_status_of_an_error_can_be_documented() -> None:
    documented = {
        int(status) for item in DOCUMENT["paths"].values() for one in item.values() for status in one["responses"]
    }
    assert set(STATUS.values()) <= documented


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer made-up"}])
async def test_anybody_may_read_it(client: AsgiClient, headers: dict[str, str]) -> None:
    answer = await client("GET", "/_api/v3/openapi.json", headers=headers)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == document("0.0.0")
