"""schemathesis sends what the OpenAPI document allows, and what it does not, to a real server on a real wiki: it never
fails (5xx), and answers nothing that the document does not say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import strategies
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.pair.instances import ADMIN_TOKEN
from tests.pair.jobs import API, Server, fill, open_server
from tests.rounds import Rounds

from growi_transfer.protocol.transfer_key import SEPARATOR
from growi_transfer.protocol.wire import PREFIX
from growi_transfer.web.openapi.document import document

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
GROWIS = {f"{PREFIX}/", f"{PREFIX}/attachment"}
CODES = {"parse_failed", "validation_failed", "mongo_collection_import_failure", "version_incompatible"}
EXAMPLES = 3
"""Of each operation and kind; `--runs N` makes as many as wanted."""
schemathesis.openapi.media_type("application/zip", strategies.binary(max_size=200))
STREAM = "text/event-stream"


@pytest.fixture
async def server(tmp_path: Path, mongo_uri: str, mongo_database_name: str) -> AsyncIterator[Server]:
    async with open_server(tmp_path, mongo_uri, mongo_database_name) as opened:
        fill(opened)
        yield opened


def operations() -> list[Any]:
    """Those whose answers end by themselves."""
    schema = schemathesis.openapi.from_dict(document("test"))
    found = [one.ok() for one in schema.get_all_operations()]
    return [one for one in found if STREAM not in one.definition.raw["responses"].get("200", {}).get("content", {})]


def try_out(
    operation: Any, url: str, headers: dict[str, str], mode: Any, examples: int, known: dict[str, str]
) -> list[str]:
    """Send some requests; what was wrong with the answers. `known`: ids of what is there."""
    wrong: list[str] = []

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def once(case: Any) -> None:
        if mode is schemathesis.GenerationMode.POSITIVE:
            # Made-up ids are all alike: they are not there.
            case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
        with requests.Session() as session:
            answer = case.call(base_url=url, session=session, headers=headers, timeout=30)
        # GROWI itself answers wrong forms with 500, and its routes here do as it does.
        as_growi = (
            operation.path in GROWIS and answer.status_code == 500 and answer.json()["errors"][0]["code"] in CODES
        )
        try:
            case.validate_response(answer, checks=CHECKS[as_growi:])
        except FailureGroup as error:
            wrong.append(f"{operation.label}: {answer.status_code} {answer.content[:300]!r}\n{error}"[:1500])

    with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # nothing can be wrong with it
        once()
    return wrong


@pytest.mark.timeout(600)
async def test_no_answer_that_is_not_described(server: Server, rounds: Rounds) -> None:
    key = (await server.services.keys.issue(server.url)).key_string.split(SEPARATOR)[0]
    exported = await server.export()
    archive = (await server.get(exported["download"]["url"]))[2]
    imported = await server.ended((await server.call("POST", f"{API}/import-jobs", archive, status=202))["job"])
    wrong: list[str] = []
    for operation in operations():
        schemes = [name for one in operation.definition.raw["security"] for name in one]
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"} if "adminToken" in schemes else {}
        if schemes == ["transferKey"]:
            headers["x-growi-transfer-key"] = key
        for mode in schemathesis.GenerationMode:
            job = imported if "import" in operation.path else exported
            known = {"job_id": job["id"], "transfer_id": imported["transfer_id"], "collection": "pages"}
            wrong += await asyncio.to_thread(
                try_out, operation, server.url, headers, mode, rounds.at_most(EXAMPLES), known
            )
    assert not wrong, "\n\n".join(wrong)
