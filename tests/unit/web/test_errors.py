from __future__ import annotations

import json

import pytest
import structlog.testing
from tests.fakes.asgi import AsgiClient
from tests.fakes.web import World

from growi_transfer.protocol.errors import (
    DatabaseUnavailable,
    DigestMismatch,
    Incompatible,
    OffsetMismatch,
    PeerRefused,
    RateLimited,
    StateConflict,
    StorageFull,
    TransferError,
    TransferKeyInvalid,
    all_errors,
)
from growi_transfer.web.errors import status_of, transfer_error_response


def test_every_error_has_a_status_of_its_kind() -> None:
    seen = {}
    for kind in all_errors():
        seen[kind.__name__] = status_of(kind)
        assert 400 <= seen[kind.__name__] < 600
        if kind is not TransferError and kind.__name__ != "OperatorFault" and kind.code == "internal_error":
            pytest.fail(f"{kind.__name__} has no code of its own")
    assert seen["JsonInvalid"] == 400
    assert seen["TransferKeyInvalid"] == 403
    assert seen["TransferNotFound"] == 404
    assert seen["KeyClaimed"] == 409
    assert seen["BodyTooLarge"] == 413
    assert seen["RateLimited"] == 429
    assert seen["StorageNotWritable"] == 500
    assert seen["PeerRefused"] == 502
    assert seen["DatabaseUnavailable"] == 503
    assert seen["StorageFull"] == 507
    assert status_of(Incompatible) == 400


def test_the_envelope_is_growis() -> None:
    answer = transfer_error_response(TransferKeyInvalid())
    assert answer.status_code == 403
    assert json.loads(answer.body) == {"errors": [{"message": "Invalid transfer key", "code": "invalid_transfer_key"}]}
    with_details = json.loads(transfer_error_response(StateConflict("No.", state="ready")).body)
    assert with_details == {"errors": [{"message": "No.", "code": "state_conflict", "details": {"state": "ready"}}]}


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (DatabaseUnavailable(), "5"),
        (RateLimited(retry_after=42), "42"),
        (RateLimited(), "1"),
        (DigestMismatch(), "1"),
        (PeerRefused("no", code="busy", status=503, retryable=True), "1"),
        (PeerRefused("no", code="busy", status=409), None),
        (StorageFull(), None),
        (StateConflict(), None),
    ],
)
def test_retry_after_stands_where_the_same_request_can_help(error: TransferError, seconds: str | None) -> None:
    assert transfer_error_response(error).headers.get("retry-after") == seconds


def test_a_refusal_of_the_peer_keeps_its_code() -> None:
    answer = transfer_error_response(PeerRefused("Busy there", code="destination_busy", status=409))
    assert (answer.status_code, json.loads(answer.body)["errors"][0]["code"]) == (502, "destination_busy")


def test_a_wrong_offset_is_answered_with_the_right_one() -> None:
    assert transfer_error_response(OffsetMismatch(offset=77)).headers["upload-offset"] == "77"


async def test_an_unexpected_error_tells_nothing_and_is_logged(client: AsgiClient, world: World) -> None:
    world.receiver.fails = RuntimeError("password=hunter2")
    with structlog.testing.capture_logs() as logs:
        answer = await client(
            "GET", "/_api/v3/g2g-transfer/growi-info", headers={"x-growi-transfer-key": await world.key()}
        )
    assert answer.status == 500
    assert answer.code == "internal_error"
    assert b"hunter2" not in answer.body
    assert "details" not in answer.json()["errors"][0]
    logged = [entry for entry in logs if entry["event"] == "unexpected error"]
    assert len(logged) == 1
    assert str(logged[0]["exc_info"]) == "password=hunter2"


async def test_unknown_paths_and_methods_are_answered_in_the_envelope(client: AsgiClient) -> None:
    missing = await client("GET", "/_api/v3/nothing")
    assert (missing.status, missing.code) == (404, "not_found")
    method = await client("DELETE", "/_api/v3/g2g-transfer/growi-info")
    assert (method.status, method.code) == (405, "method_not_allowed")
    assert method.headers["allow"] == "GET"
    assert (await client("HEAD", "/_api/v3/g2g-transfer/growi-info")).status == 405


async def test_a_failure_of_this_machine_is_logged_with_its_reason(client: AsgiClient, world: World) -> None:
    world.receiver.fails = DatabaseUnavailable("no primary")
    with structlog.testing.capture_logs() as logs:
        answer = await client(
            "GET", "/_api/v3/g2g-transfer/growi-info", headers={"x-growi-transfer-key": await world.key()}
        )
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert [entry["reason"] for entry in logs if entry["event"] == "request failed"] == ["no primary"]
