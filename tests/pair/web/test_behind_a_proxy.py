"""What a proxy says of a request is believed of a proxy on this machine, or one that the operator names."""

from __future__ import annotations

import aiohttp
import pytest
from tests.fakes.http import serve
from tests.fakes.web import ADMIN_TOKEN, World

from growi_transfer.web.app import create_app

FORWARDED = {"x-forwarded-proto": "https", "host": "wiki.example", "origin": "https://wiki.example"}


async def log_in(http: aiohttp.ClientSession, token: str = ADMIN_TOKEN, **headers: str) -> tuple[int, str]:
    """The status, and the cookie with its attributes."""
    given = {**FORWARDED, **headers}
    async with http.post("/login", data={"token": token}, headers=given, allow_redirects=False) as answer:
        await answer.read()
        return answer.status, answer.headers.get("set-cookie", "")


@pytest.mark.parametrize(("named", "is_secure"), [("127.0.0.1", True), ("192.0.2.9", False)])
async def test_the_cookie_is_secure_behind_tls(
    world: World, monkeypatch: pytest.MonkeyPatch, named: str, is_secure: bool
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", named)
    async with serve(create_app(world.open_services)) as address, aiohttp.ClientSession(f"http://{address}") as http:
        status, cookie = await log_in(http)
        assert status == 303
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert attributes >= {"httponly", "samesite=strict", "path=/"}
        assert ("secure" in attributes) is is_secure


@pytest.mark.parametrize(("named", "statuses"), [("127.0.0.1", {403}), ("192.0.2.9", {403, 429})])
async def test_guesses_are_counted_by_the_address_that_may_be_believed(
    world: World, monkeypatch: pytest.MonkeyPatch, named: str, statuses: set[int]
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", named)
    async with serve(create_app(world.open_services)) as address, aiohttp.ClientSession(f"http://{address}") as http:
        seen = [(await log_in(http, "wrong", **{"x-forwarded-for": f"198.51.100.{n}"}))[0] for n in range(22)]
    assert set(seen) == statuses
