from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
import structlog.testing
from starlette.requests import Request
from starlette.routing import Route
from tests.fakes.asgi import AsgiClient
from tests.fakes.web import ADMIN_TOKEN, ATTACHMENT, OTHER, SECRET, TRANSFER, Clock, World

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.errors import InvalidRequest
from growi_transfer.web import pages
from growi_transfer.web.app import ROUTES, create_app
from growi_transfer.web.auth import AdminAccess, epoch_of, is_same_origin

API = "/_api/v3/g2g-transfer"
ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}
OPEN_PATHS = {"/_api/v3/openapi.json", *(route.path for route in pages.ROUTES if isinstance(route, Route))}
"""Pages: who is not logged in is led to the form (tests/unit/web/test_pages.py)."""


def access(clock: Clock, token: str = ADMIN_TOKEN, secrets: tuple[str, ...] = (SECRET,)) -> AdminAccess:
    return AdminAccess(token, secrets, clock, session_seconds=3600)


# routes


@pytest.mark.parametrize(
    ("method", "path"),
    [
        (method, route.path)
        for route in ROUTES
        if isinstance(route, Route) and route.path not in OPEN_PATHS
        for method in sorted(route.methods or ())
    ],
)
async def test_no_route_of_the_api_is_open(client: AsgiClient, world: World, method: str, path: str) -> None:
    await world.row(Role.PUSHER)
    await world.row(Role.RECEIVER)
    fill = {
        "transfer_id": TRANSFER,
        "attachment_id": ATTACHMENT,
        "collection": "pages",
        "number": "0",
        "key_id": "k",
        "link_id": "l",
        "job_id": TRANSFER,
    }
    filled = re.sub(r"{(\w+)(:\w+)?}", lambda match: fill[match[1]], path)
    for headers in ({}, {"x-growi-transfer-key": "made-up"}, {"authorization": "Bearer made-up"}):
        answer = await client(method, filled, [b"{}", b""], headers={**headers, "x-growi-transfer-epoch": "1"})
        assert answer.status == 403, (headers, answer)
        assert method == "HEAD" or answer.code in ("admin_required", "invalid_transfer_key", "watch_link_ended")
    assert world.receiver.calls == []
    assert world.pusher.calls == []


async def test_a_role_that_a_server_does_not_have_is_not_found(tmp_path: Path) -> None:
    world = World(tmp_path, roles="pusher")
    async with AsgiClient(create_app(world.open_services)) as client:
        answer = await client("GET", f"{API}/growi-info", headers={"x-growi-transfer-key": await world.key()})
        assert (answer.status, answer.code) == (404, "not_found")
        assert (await client("POST", f"{API}/generate-key", headers=ADMIN)).status == 404
        assert (await client("GET", f"{API}/transferable-collections", headers=ADMIN)).status == 200
    assert world.open == 0


# the admin token


async def test_the_admin_token_opens(client: AsgiClient) -> None:
    for value in (f"Bearer {ADMIN_TOKEN}", f"bearer {ADMIN_TOKEN}"):
        assert (await client("GET", f"{API}/transfers", headers={"authorization": value})).status == 200
    for value in (f"Basic {ADMIN_TOKEN}", ADMIN_TOKEN, "Bearer", f"Bearer {ADMIN_TOKEN}x", "Bearer \xff"):
        answer = await client("GET", f"{API}/transfers", headers={"authorization": value})
        assert (answer.status, answer.code) == (403, "admin_required"), value
    assert (await client("GET", f"{API}/transfers?access_token={ADMIN_TOKEN}")).status == 403


async def test_guessing_admin_tokens_is_slowed_down_by_address(client: AsgiClient) -> None:
    wrong = {"authorization": "Bearer wrong"}
    with structlog.testing.capture_logs() as logs:
        statuses = [(await client("GET", f"{API}/transfers", headers=wrong)).status for _ in range(21)]
    assert statuses == [403] * 20 + [429]
    assert logs == [{"event": "admin token refused", "log_level": "warning", "address": "192.0.2.1"}] * 20
    limited = await client("GET", f"{API}/transfers", headers=ADMIN)
    assert (limited.status, limited.code) == (429, "rate_limited")
    assert 0 < int(limited.headers["retry-after"]) <= 60
    assert (await client("GET", f"{API}/transfers", headers=ADMIN, address="198.51.100.7")).status == 200


async def test_asking_without_a_token_is_no_guess(client: AsgiClient) -> None:
    for _ in range(30):
        assert (await client("GET", f"{API}/transfers")).status == 403
    assert (await client("GET", f"{API}/transfers", headers=ADMIN)).status == 200


# the login cookie


def test_a_session_is_valid_for_its_time_and_its_token() -> None:
    clock = Clock()
    cookie = access(clock).new_session()
    assert ADMIN_TOKEN not in cookie
    assert access(clock).session_of(cookie)
    assert not access(clock, token="another").session_of(cookie)
    assert not access(clock, secrets=("another-secret-of-length",)).session_of(cookie)
    assert access(clock, secrets=(SECRET, "a-newer-secret-of-length")).session_of(cookie)
    clock.advance(seconds=3599)
    assert access(clock).session_of(cookie)
    clock.advance(seconds=1)
    assert not access(clock).session_of(cookie)


def test_a_session_from_the_future_or_made_up_is_not_valid() -> None:
    clock = Clock()
    cookie = access(clock).new_session()
    clock.now -= timedelta(minutes=5)
    assert not access(clock).session_of(cookie)
    clock.now += timedelta(minutes=5)
    for broken in ("", "x", cookie[:-1], cookie[1:], "\u3042", cookie.replace(".", "")):
        assert not access(clock).session_of(broken)


async def test_a_transfer_key_is_no_session_though_the_secret_is_the_same(client: AsgiClient, world: World) -> None:
    answer = await client("GET", f"{API}/transfers", headers={"cookie": f"growi_transfer_admin={await world.key()}"})
    assert answer.status == 403


async def test_the_cookie_changes_something_only_from_our_own_pages(client: AsgiClient, world: World) -> None:
    await world.row(Role.PUSHER)
    cookie = {"cookie": f"growi_transfer_admin={access(world.clock).new_session()}"}
    assert (await client("GET", f"{API}/transfers", headers=cookie)).status == 200
    path = f"{API}/transfers/{TRANSFER}/pause"
    for headers, status in (
        ({}, 403),
        ({"origin": "http://destination.test:3000"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://destination.test:8080"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": "http://destination.test:8080"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
    ):
        assert (await client("POST", path, headers={**cookie, **headers})).status == status, headers


def test_same_origin_needs_a_word_of_the_browser() -> None:
    assert not is_same_origin({"host": ""})
    assert not is_same_origin({"host": "a:1", "origin": "null"})
    assert not is_same_origin({"host": "a:1", "origin": "http://a:2"})
    assert is_same_origin({"host": "a:1", "origin": "https://a:1"})


# keys


async def test_every_wrong_key_is_answered_alike(client: AsgiClient, world: World) -> None:
    good = await world.key()
    revoked = await world.keys.issue()
    await world.keys.revoke(revoked.row.id)
    answers = [
        await client("GET", f"{API}/growi-info", headers={"x-growi-transfer-key": key})
        for key in (
            "",
            "nope",
            good[:-2],
            good + "__grw_internal_tranferkey__http://destination.test:8080",
            revoked.key_string.split("__grw_")[0],
            "\xe3\x81\x82",
        )
    ]
    answers.append(await client("GET", f"{API}/growi-info"))
    world.clock.advance(minutes=31)
    answers.append(await client("GET", f"{API}/growi-info", headers={"x-growi-transfer-key": good}))
    assert {(answer.status, answer.body) for answer in answers} == {
        (403, b'{"errors":[{"message":"Invalid transfer key","code":"invalid_transfer_key"}]}')
    }


async def test_wrong_keys_are_limited_and_a_valid_one_is_not(client: AsgiClient, world: World) -> None:
    good = await world.key()
    wrong = {"x-growi-transfer-key": "wrong"}
    statuses = [(await client("GET", f"{API}/growi-info", headers=wrong)).status for _ in range(22)]
    assert statuses == [403] * 20 + [429] * 2
    limited = await client("GET", f"{API}/growi-info", headers=wrong)
    assert limited.code == "rate_limited"
    assert int(limited.headers["retry-after"]) > 0
    assert (await client("GET", f"{API}/growi-info", headers=wrong, address="198.51.100.7")).status == 403
    assert (await client("GET", f"{API}/growi-info", headers={"x-growi-transfer-key": good})).status == 200


async def test_a_key_reaches_only_the_transfer_it_has_claimed(client: AsgiClient, world: World) -> None:
    own = {"x-growi-transfer-key": await world.key(claimed_by=TRANSFER), "x-growi-transfer-epoch": "1"}
    fresh = {"x-growi-transfer-key": await world.key(), "x-growi-transfer-epoch": "1"}
    assert (await client("GET", f"{API}/transfers/{TRANSFER}", headers=own)).json() == {"did": "transfer"}
    for headers, transfer_id in ((own, OTHER), (fresh, TRANSFER)):
        for method, path in (("GET", ""), ("POST", "/commit"), ("POST", "/cancel"), ("GET", "/volumes/pages")):
            answer = await client(method, f"{API}/transfers/{transfer_id}{path}", headers=headers)
            assert (answer.status, answer.code) == (403, "invalid_transfer_key")
    assert [name for name, _ in world.receiver.calls] == ["transfer"]


async def test_a_key_reaches_no_pusher_row(client: AsgiClient, world: World) -> None:
    await world.row(Role.PUSHER)
    own = {"x-growi-transfer-key": await world.key(claimed_by=TRANSFER)}
    for path in ("pause", "resume", "retry", "release-maintenance"):
        answer = await client("POST", f"{API}/transfers/{TRANSFER}/{path}", headers=own)
        assert (answer.status, answer.code) == (403, "admin_required"), path
    answer = await client("PATCH", f"{API}/transfers/{TRANSFER}", json_body={}, headers=own)
    assert answer.status == 403
    assert world.pusher.calls == []


# the epoch


@pytest.mark.parametrize("value", [None, "", "-1", "1.5", "x", "１", "99999999999999999999", " 1 2"])
def test_a_wrong_epoch_is_refused(value: str | None) -> None:
    headers = [] if value is None else [(b"x-growi-transfer-epoch", value.encode())]
    with pytest.raises(InvalidRequest, match="epoch"):
        epoch_of(Request({"type": "http", "headers": headers}))


def test_an_epoch_is_an_integer() -> None:
    for value in (0, 7, (1 << 53) - 1):
        request = Request({"type": "http", "headers": [(b"x-growi-transfer-epoch", str(value).encode())]})
        assert epoch_of(request) == value
