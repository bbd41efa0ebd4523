"""`/metrics` of a real server, before and after a transfer into it; and its log, which has no secret in it."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from pymongo import MongoClient
from tests.pair.instances import ADMIN_TOKEN, Instance, settings_of, with_database
from tests.pair.jobs import ADMIN, Server, fill, open_server

from growi_transfer import wiring
from growi_transfer.cli.logs import configure_logging
from growi_transfer.ledger.base import Role
from growi_transfer.protocol.errors import TransferError
from growi_transfer.protocol.transfer_key import SEPARATOR
from growi_transfer.pusher.options import PushOptions
from growi_transfer.settings import Settings

METRICS_TOKEN = "a-metrics-token-of-the-tests"


@pytest.fixture
async def server(
    tmp_path: Path, mongo_uri_destination: str, mongo_database_name_destination: str
) -> AsyncIterator[Server]:
    async with open_server(tmp_path, mongo_uri_destination, mongo_database_name_destination) as opened:
        yield opened


@pytest.fixture
def logging_as() -> Iterator[Callable[[Settings], None]]:
    """Lets a test log as a server does."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level

    def configure(settings: Settings) -> None:
        more = {"log_level": "debug", "log_format": "json"}
        configure_logging(settings.model_copy(update=more), server=True)

    yield configure
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


async def metrics(server: Server, **headers: str) -> dict[tuple[str, ...], float]:
    status, told, body = await server.get("/metrics", **(headers or ADMIN))
    assert status == 200, body
    assert told["content-type"].startswith("text/plain; version=")
    return {
        (
            sample.name.removeprefix("growi_transfer_"),
            *(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


async def test_numbers_of_a_transfer_and_a_log_without_secrets(
    server: Server,
    tmp_path: Path,
    mongo_uri: str,
    mongo_database_name: str,
    capfd: pytest.CaptureFixture[str],
    logging_as: Callable[[Settings], None],
) -> None:
    assert (await metrics(server))["transfers", "receiver", "completed"] == 0
    source = settings_of(tmp_path / "source", with_database(mongo_uri, mongo_database_name))
    logging_as(source)
    async with wiring.open_services(source, role="pusher", loopback_allowed=True) as services:
        with MongoClient[dict[str, Any]](mongo_uri) as client:
            wiki = Instance(source, client[mongo_database_name], tmp_path / "source" / "uploads")
            fill(replace(server, wiki=wiki, services=services))
        key = (await server.services.keys.issue(server.url)).key_string
        assert services.pusher is not None
        transfer_id = await services.pusher.start(key, PushOptions(accept_all=True))
        await services.pusher.runner.wait(transfer_id)  # type: ignore[attr-defined]
        assert services.tally.documents[Role.PUSHER] >= 54
    job = await server.export()
    found = await metrics(server)
    assert found["documents_total", "receiver"] >= 54
    assert found["files_total", "receiver"] == 3
    assert found["bytes_total", "receiver"] > 3000
    assert found["transfers", "receiver", "completed"] == 1
    assert found["jobs", "completed", "export"] == 1
    assert found["phase_seconds_total", "copying", "receiver"] > 0
    assert found["process_resident_memory_bytes",] > 1 << 20
    body = (await server.get("/metrics", **ADMIN))[2].decode()
    assert transfer_id not in body
    assert job["id"] not in body
    written = "".join(capfd.readouterr())
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    assert any(line.get("transfer") == transfer_id for line in lines)
    assert any(line.get("job") == job["id"] for line in lines)
    signing = (server.wiki.settings.data_dir / "secrets").read_text().split()
    for secret in (key.split(SEPARATOR)[0], ADMIN_TOKEN, "a-session-secret-of-the-tests", *signing):
        assert secret not in written


async def test_no_password_of_the_database_is_told(
    tmp_path: Path,
    mongo_uri: str,
    capfd: pytest.CaptureFixture[str],
    logging_as: Callable[[Settings], None],
) -> None:
    with_password = mongo_uri.replace("mongodb://", "mongodb://growi:mongo-password-of-the-tests@")
    settings = settings_of(tmp_path, with_password)
    logging_as(settings)
    with pytest.raises(TransferError) as caught:
        async with wiring.open_services(settings, role="both"):
            pass
    told = "".join(capfd.readouterr()) + repr(caught.value) + str(caught.value.details) + repr(settings)
    assert "mongo-password-of-the-tests" not in told


async def test_who_may_read_them(tmp_path: Path, mongo_uri: str, mongo_database_name: str) -> None:
    async with open_server(
        tmp_path, mongo_uri, mongo_database_name, GROWI_TRANSFER_METRICS_TOKEN=METRICS_TOKEN
    ) as server:
        token = {"authorization": f"Bearer {METRICS_TOKEN}"}
        assert (await metrics(server, **token))["info", "test"] == 1
        for headers in ({}, {"authorization": "Bearer x"}, {"authorization": f"Basic {METRICS_TOKEN}"}):
            status, _, body = await server.get("/metrics", **headers)
            assert (status, json.loads(body)["errors"][0]["code"]) == (403, "admin_required")
        # It opens nothing else.
        assert (await server.get("/_api/v3/jobs", **token))[0] == 403
        status, told, _ = await server.get("/metrics", **token, accept="application/openmetrics-text; version=1.0.0")
        assert (status, told["content-type"].split(";")[0]) == (200, "application/openmetrics-text")
