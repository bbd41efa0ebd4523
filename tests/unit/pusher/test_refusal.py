from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.errors import PeerRefused, code_of, is_retryable
from growi_transfer.pusher.refusal import refusal

ORIGIN = "https://wiki.example.com"
SECRET = "the-secret-token"


def refused(status: int, body: Any = b"", **headers: str) -> PeerRefused:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return refusal(status, named, raw, origin=ORIGIN, secret=SECRET)


def envelope(code: Any = "destination_busy", message: Any = "Busy.", **more: Any) -> dict[str, Any]:
    return {"errors": [{"code": code, "message": message, **more}]}


def test_our_own_envelope() -> None:
    error = refused(409, envelope(details={"transfer": "abc", "since": 5}))
    assert code_of(error) == "destination_busy"
    assert error.message == "Busy."
    assert error.status == 409
    assert error.details == {"transfer": "abc", "since": 5}
    assert not is_retryable(error)


def test_growis_envelope() -> None:
    error = refused(403, envelope("invalid_transfer_key", "Invalid transfer key"))
    assert (code_of(error), error.message) == ("invalid_transfer_key", "Invalid transfer key")
    assert error.details == {}


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (409, "destination_busy", False),
        (409, "source_changed", True),
        (400, "digest_mismatch", True),
        (400, "body_cut", True),
        (503, "database_unavailable", True),
        (507, "storage_full", False),
        (500, "internal_error", False),
        (500, "upload_failed", False),
        (503, "some_code_of_a_growi", True),
        (429, "rate_limited", True),
    ],
)
def test_whether_trying_again_helps_is_told_by_the_code(status: int, code: str, retryable: bool) -> None:
    assert is_retryable(refused(status, envelope(code))) is retryable


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (401, "peer_refused", False),
        (403, "forbidden", False),
        (404, "not_found", False),
        (408, "peer_refused", True),
        (409, "conflict", False),
        (413, "body_too_large", False),
        (429, "rate_limited", True),
        (500, "peer_refused", False),
        (502, "peer_refused", True),
        (503, "peer_refused", True),
        (504, "peer_refused", True),
    ],
)
@pytest.mark.parametrize("body", [b"", b"Too Many Requests", b"<html>502</html>", b"[]", b"\xff", b'{"errors":[]}'])
def test_an_answer_without_an_envelope_is_judged_by_its_status(
    status: int, code: str, retryable: bool, body: bytes
) -> None:
    error = refused(status, body)
    assert (code_of(error), is_retryable(error)) == (code, retryable)
    assert f"{ORIGIN} answered with HTTP status {status}" in error.message
    assert ("is that the address of a GROWI?" in error.message) is (status == 404)


def test_a_date_to_wait_for_is_relative_to_the_clock_of_the_one_who_gave_it() -> None:
    wanted, now = "Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:27:20 GMT"
    assert refused(503, retry_after=wanted, date=now).details["retry_after"] == 40
    assert refused(503, retry_after=now, date=wanted).details["retry_after"] == 0
    assert refused(503, retry_after="Fri, 31 Dec 9999 23:59:59 GMT", date=now).details["retry_after"] == 3600
    ours = datetime(2026, 10, 21, 7, 26, 0, tzinfo=UTC).timestamp()
    error = refusal(503, {"retry-after": wanted}, b"", origin=ORIGIN, secret=SECRET, clock=lambda: ours)
    assert error.details["retry_after"] == 120


def test_only_an_answer_without_an_envelope_is_foreign() -> None:
    assert refused(413, b"<html>").details == {"foreign": True}
    assert refused(413, envelope(details={"foreign": True})).details == {}


def test_retry_after_and_the_offset_are_taken_from_headers() -> None:
    assert refused(429, b"", retry_after="7").details == {"retry_after": 7, "foreign": True}
    assert refused(503, b"", retry_after="99999999").details["retry_after"] == 3600
    for nonsense in ("-1", "soon", "Wed, 99 Oct 2026 07:28:00 GMT", "0x7"):
        assert "retry_after" not in refused(429, b"", retry_after=nonsense).details
    assert refused(429, envelope(details={"retry_after": 5})).details == {"retry_after": 5}
    assert refused(409, envelope("offset_mismatch"), upload_offset="12").details == {"offset": 12}


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("https://new.example.com/login", "to https://new.example.com."),
        ("https://user:password@new.example.com/", "to https://new.example.com."),
        ("https://new.example.com:8443/?a=b", "to https://new.example.com:8443."),
        ("/login", "must lead to the GROWI itself"),
        ("https://wiki.example.com/other", "must lead to the GROWI itself"),
        ("", "must lead to the GROWI itself"),
        ("http://[", "must lead to the GROWI itself"),
    ],
)
def test_redirects_are_told_and_not_followed(location: str, says: str) -> None:
    error = refused(302, b"", location=location)
    assert code_of(error) == "peer_redirects"
    assert says in error.message
    assert "password" not in error.message
    assert not is_retryable(error)


def test_the_key_is_not_repeated() -> None:
    details = {"list": [{SECRET: f"x{SECRET}"}]}
    error = refused(400, envelope("bad", f"Not good: {SECRET}!", details=details))
    assert error.message == "Not good: <key>!"
    assert SECRET not in json.dumps(error.details)


def test_texts_are_fit_for_a_terminal() -> None:
    error = refused(400, envelope("bad", "red \x1b[31m text\r\nnew line \u202e" + "x" * 5000))
    assert error.message.isprintable()
    assert len(error.message) == 2000


@pytest.mark.parametrize("code", [5, None, "x" * 100, "two\nlines", ["a"]])
def test_a_strange_code_is_none(code: Any) -> None:
    assert code_of(refused(409, envelope(code))) == "conflict"


def test_details_that_are_too_much_are_left_out() -> None:
    assert refused(409, envelope(details={"a": "x" * 20_000})).details == {}
    assert refused(409, envelope(details=[1])).details == {}
    assert refused(409, envelope(details={"status": 1, "code": 2, "retryable": 3, "message": 4, "a": 5})).details == {
        "a": 5
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(st.integers(300, 599), JSON, JSON, JSON, st.text(max_size=30))
def test_any_answer_becomes_an_error(status: int, code: Any, message: Any, details: Any, location: str) -> None:
    for body in (envelope(code, message, details=details), details, {"errors": code}):
        error = refused(status, body, location=location, retry_after=location)
        assert error.message
        assert code_of(error)
        json.dumps(dict(error.details))


@given(st.binary(max_size=100))
def test_any_bytes_become_an_error(body: bytes) -> None:
    assert refused(500, body).message
