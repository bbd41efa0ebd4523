from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.fakes.asgi import Answer, AsgiClient
from tests.fakes.web import ADMIN_TOKEN, TRANSFER, World

from growi_transfer.protocol.errors import DatabaseFull
from growi_transfer.web.app import create_app
from growi_transfer.web.static_files import DIGEST, STATIC

FORM = {"content-type": "application/x-www-form-urlencoded", "origin": "http://destination.test:8080"}


async def log_in(client: AsgiClient, token: str = ADMIN_TOKEN, **fields: str) -> Answer:
    return await client("POST", "/login", urlencode({"token": token, **fields}).encode(), headers=FORM)


async def test_health(client: AsgiClient, world: World) -> None:
    answer = await client("GET", "/healthz")
    assert (answer.status, answer.json()) == (200, {"status": "ok"})
    assert (await client("GET", "/readyz")).json() == {"status": "ready"}


async def test_a_stranger_comes_to_the_login_form(client: AsgiClient) -> None:
    for path in ("/destination", "/source", "/transfers", f"/transfers/{TRANSFER}"):
        answer = await client("GET", path)
        assert (answer.status, answer.headers["location"]) == (303, f"/login?next={path}")
    assert (await client("GET", "/")).headers["location"] == "/login"
    assert b'name="token"' in (await client("GET", "/login")).body


@pytest.mark.parametrize(
    ("roles", "page"), [("receiver", "/destination"), ("pusher", "/source"), ("both", "/transfers")]
)
async def test_the_first_page_is_that_of_the_role(tmp_path: Path, roles: str, page: str) -> None:
    world = World(tmp_path, roles=roles)
    async with AsgiClient(create_app(world.open_services)) as client:
        headers = {"cookie": (await log_in(client)).headers["set-cookie"].split(";")[0]}
        assert (await client("GET", "/", headers=headers)).headers["location"] == page
        told = (await client("GET", "/_api/v3/g2g-transfer/server", headers=headers)).json()
        assert told == {"version": "0.0.0", "roles": ["receiver", "pusher"] if roles == "both" else [roles]}


async def test_the_login_gives_a_cookie_that_opens_page_and_api(client: AsgiClient, world: World) -> None:
    answer = await log_in(client)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/" in cookie
    assert ADMIN_TOKEN not in cookie
    headers = {"cookie": cookie.split(";")[0]}
    for page in ("/destination", "/source", "/transfers", f"/transfers/{TRANSFER}"):
        assert b'id="main"' in (await client("GET", page, headers=headers)).body
    again = await client("GET", "/login?next=/source", headers=headers)
    assert (again.status, again.headers["location"]) == (303, "/source")
    assert (await client("GET", "/_api/v3/g2g-transfer/transfers", headers=headers)).status == 200
    world.clock.advance(hours=13)
    assert (await client("GET", "/_api/v3/g2g-transfer/transfers", headers=headers)).status == 403
    assert (await client("GET", "/source", headers=headers)).headers["location"] == "/login?next=/source"


async def test_a_wrong_token_is_told_in_the_form_and_limited(client: AsgiClient) -> None:
    for _ in range(20):
        answer = await log_in(client, "wrong<b>")
        assert answer.status == 403
        assert b"This is not the admin token." in answer.body
        assert b"wrong<b>" not in answer.body
        assert "set-cookie" not in answer.headers
    assert (await log_in(client)).status == 429


async def test_the_form_remembers_where_it_was_asked_for(client: AsgiClient) -> None:
    path = f"/transfers/{TRANSFER}"
    hidden = f'name="next" type="hidden" value="{path}"'.encode()
    assert hidden in (await client("GET", f"/login?next={path}")).body
    assert hidden in (await log_in(client, "wrong", next=path)).body
    assert b'name="next" type="hidden" value="/"' in (await log_in(client, "wrong", next='"><script>')).body


@pytest.mark.parametrize("origin", [None, "null", "http://destination.test:3000", "http://evil.test"])
async def test_the_form_of_another_site_logs_nobody_in(client: AsgiClient, origin: str | None) -> None:
    headers = {} if origin is None else {"origin": origin}
    answer = await client("POST", "/login", urlencode({"token": ADMIN_TOKEN}).encode(), headers=headers)
    assert (answer.status, "set-cookie" in answer.headers) == (403, False)


@pytest.mark.parametrize("body", [b"", b"token=", b"\xff\xfe", b"token=a&token=" + ADMIN_TOKEN.encode()])
async def test_a_strange_form_is_a_wrong_token(client: AsgiClient, body: bytes) -> None:
    assert (await client("POST", "/login", body, headers=FORM)).status == 403


async def test_a_huge_form_is_refused(client: AsgiClient) -> None:
    assert (await client("POST", "/login", b"x" * 20_000, headers=FORM)).status == 413


@pytest.mark.parametrize(
    ("wanted", "target"),
    [
        (f"/transfers/{TRANSFER}", f"/transfers/{TRANSFER}"),
        ("/destination", "/destination"),
        ("//evil.test", "/"),
        ("/destination/../evil", "/"),
        ("https://evil.test", "/"),
        ("/transfers/\\evil", "/"),
        ("/transfers/..", "/"),
        ("/transfers/x\r\nset-cookie: a=b", "/"),
    ],
)
async def test_the_login_leads_to_our_own_pages_only(client: AsgiClient, wanted: str, target: str) -> None:
    assert (await log_in(client, next=wanted)).headers["location"] == target


async def test_a_login_is_over_once_it_is_logged_out_and_others_are_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("growi_transfer.web.ends.LOOK_SECONDS", 0.01)
    path = "/_api/v3/g2g-transfer/transfers"
    app, other = create_app(world.open_services), create_app(world.open_services)
    async with AsgiClient(app) as client, AsgiClient(other) as elsewhere:
        cookies = [(await log_in(client)).headers["set-cookie"].split(";")[0] for _ in range(3)]
        ended, other_one, kept = [{"cookie": cookie} for cookie in cookies]
        assert (await elsewhere("GET", path, headers=ended)).status == 200
        keep = world.ledger.end_session

        async def away(*_: Any) -> None:
            raise DatabaseFull()

        # A database that is full for a moment keeps nobody from logging out, and hears of it later.
        monkeypatch.setattr(world.ledger, "end_session", away)
        await client("POST", "/logout", headers={**FORM, **ended})
        assert (await client("GET", path, headers=ended)).status == 403
        session = client.state["guard"].session_of_cookie(other_one["cookie"].partition("=")[2])
        await keep(session.id, session.expires_at, world.clock())
        async with asyncio.timeout(10):
            while (await client("GET", path, headers=other_one)).status != 403:
                await asyncio.sleep(0.01)
        monkeypatch.setattr(world.ledger, "end_session", keep)
        assert (await client("GET", "/source", headers=ended)).status == 303
        async with asyncio.timeout(10):
            while (await elsewhere("GET", path, headers=ended)).status != 403:
                await asyncio.sleep(0.01)
        for server in (client, elsewhere):
            assert (await server("GET", path, headers=kept)).status == 200
    async with AsgiClient(create_app(world.open_services)) as again:
        assert (await again("GET", path, headers=ended)).status == 403


async def test_logging_out_takes_the_cookie_away(client: AsgiClient) -> None:
    answer = await client("POST", "/logout", headers=FORM)
    assert 'growi_transfer_admin=""' in answer.headers["set-cookie"]
    assert "set-cookie" not in (await client("POST", "/logout", headers={"origin": "http://evil.test"})).headers


async def test_every_answer_has_the_headers_that_keep_a_browser_safe(client: AsgiClient) -> None:
    for method, path in (("GET", "/"), ("GET", "/static/js/shell.js"), ("GET", "/nothing"), ("POST", "/login")):
        headers = (await client(method, path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        # With `no-referrer` a browser would send `Origin: null` from our own form.
        assert headers["referrer-policy"] == "same-origin"


async def test_static_files_stay_in_their_folder(client: AsgiClient) -> None:
    for path in (
        "/../pages.py",
        "/%2e%2e/pages.py",
        "/",
        "",
        "/login.html",
        f"/{DIGEST}/../../pages.py",
        f"/{DIGEST}/",
    ):
        assert (await client("GET", f"/static{path}")).status == 404, path
    script = await client("GET", "/static/js/shell.js")
    assert (script.status, script.headers["content-type"].split(";")[0]) == (200, "text/javascript")


async def test_a_page_names_files_that_may_be_kept_for_ever(client: AsgiClient) -> None:
    page = (await client("GET", "/login")).body.decode()
    addresses = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert len(addresses) == 4
    for address in addresses:
        assert address.startswith(f"/static/{DIGEST}/")
        kept = await client("GET", address)
        assert (kept.status, kept.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        anew = await client("GET", address.replace(f"/{DIGEST}", ""))
        assert (anew.status, anew.headers["cache-control"], anew.body) == (200, "no-cache", kept.body)
        tag = {"if-none-match": anew.headers["etag"]}
        assert (await client("GET", address.replace(f"/{DIGEST}", ""), headers=tag)).status == 304
    assert (await client("GET", "/static/0123456789abcdef/js/shell.js")).status == 404


def test_the_pages_keep_their_own_policy() -> None:
    """No inline script or style, nothing from elsewhere, no text written as HTML."""
    pages = sorted(STATIC.glob("*.html"))
    scripts = sorted(STATIC.rglob("*.js"))
    assert len(pages) >= 5
    assert len(scripts) >= 10
    for file in pages:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*\ssrc=\"/static/)", text), file
        assert not re.search(r"\s(on\w+|style)=", text), file
        assert not re.search(r"(src|href|action)=\"(?!/)", text), file
    for file in scripts:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), file
        assert "setAttribute" not in text or file.name == "dom.js"
        assert "http://" not in text
        assert "https://" not in text
    for file in STATIC.rglob("*.css"):
        assert not re.search(r"url\((?!\"\.\./)|@import", file.read_text(encoding="utf-8")), file
