"""What another site can have a browser send, with the login cookie of this one."""

from __future__ import annotations

import re

import pytest
from starlette.routing import Route
from tests.fakes.asgi import AsgiClient
from tests.fakes.web import ADMIN_TOKEN, ATTACHMENT, SECRET, TRANSFER, World

from growi_transfer.ledger.base import Role
from growi_transfer.web.app import ROUTES
from growi_transfer.web.auth import AdminAccess

CHANGING = [
    (method, route.path)
    for route in ROUTES
    if isinstance(route, Route) and route.path.startswith("/_api/")
    for method in sorted((route.methods or set()) - {"GET", "HEAD"})
]
FROM_ELSEWHERE = (
    {},
    {"origin": "null"},
    {"origin": "http://evil.test"},
    {"origin": "http://destination.test:3000"},
    {"origin": "http://destination.test:8080.evil.test"},
    {"origin": "http://destination.test:8080", "sec-fetch-site": "same-site"},
    {"origin": "http://destination.test:8080", "sec-fetch-site": "none"},
)


@pytest.mark.parametrize(("method", "path"), CHANGING)
async def test_nothing_is_changed_from_another_site(client: AsgiClient, world: World, method: str, path: str) -> None:
    await world.row(Role.PUSHER)
    await world.row(Role.RECEIVER)
    session = AdminAccess(ADMIN_TOKEN, [SECRET], world.clock, session_seconds=3600).new_session()
    fill = {"transfer_id": TRANSFER, "attachment_id": ATTACHMENT, "collection": "pages", "number": "0"}
    filled = re.sub(r"{(\w+)(:\w+)?}", lambda match: fill.get(match[1], "x"), path)
    for headers in FROM_ELSEWHERE:
        # A kind that a form has, so that a browser asks nobody before it sends.
        given = {"cookie": f"growi_transfer_admin={session}", "content-type": "text/plain", **headers}
        answer = await client(method, filled, b"{}", headers=given)
        assert answer.status == 403, headers
    assert world.pusher.calls == []
    assert world.receiver.calls == []
    assert await world.keys.list() == []


async def test_no_answer_lets_another_site_read_it(client: AsgiClient) -> None:
    for method in ("GET", "OPTIONS"):
        headers = {"origin": "http://evil.test", "access-control-request-method": "POST"}
        for path in ("/_api/v3/g2g-transfer/transfers", "/", "/login", "/static/js/shell.js", "/healthz"):
            answer = await client(method, path, headers=headers)
            assert not [name for name in answer.headers if name.startswith("access-control-")], path
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
