"""The watch page: static files, a login that sets the admin cookie, and a health answer. No text of a peer is ever put
into HTML here; the page's script writes texts as text.
"""

from __future__ import annotations

import html
from pathlib import Path
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from growi_transfer.web.auth import COOKIE, address_of, guard_of, services_of
from growi_transfer.web.errors import status_of
from growi_transfer.web.uploads import read_body

STATIC = Path(__file__).parent / "static"
_FORM_LIMIT = 16 << 10
_LOGIN = (STATIC / "login.html").read_text(encoding="utf-8")


async def page(request: Request) -> Response:
    """The watch page for an admin who is logged in, the login form for others."""
    if not guard_of(request).has_session(request):
        return _login_form("", 200, request.url.path)
    return FileResponse(STATIC / "watch.html", headers={"cache-control": "no-store"})


async def login(request: Request) -> Response:
    """The admin token for a cookie. Raises what `read_body` raises; a wrong token is told in the form."""
    form = parse_qs((await read_body(request, _FORM_LIMIT)).decode("utf-8", "replace"))
    guard = guard_of(request)
    token = form.get("token", [""])[0].strip()
    wanted = form.get("next", ["/"])[0]
    refusal = guard.refusal_of_origin(request) or guard.refusal_of_token(token, address_of(request))
    if refusal is not None:
        # A person reads this one, so it is a page and not the envelope.
        return _login_form(refusal.message, status_of(type(refusal)), wanted)
    answer = RedirectResponse(_target(wanted), 303)
    answer.set_cookie(
        COOKIE,
        guard.new_session(),
        max_age=services_of(request).limits.session_seconds,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


async def logout(request: Request) -> Response:
    answer = RedirectResponse("/", 303)
    if guard_of(request).refusal_of_origin(request) is None:
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


async def healthz(request: Request) -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """The database answers too. Raises DatabaseUnavailable."""
    await services_of(request).ledger.list_transfers(limit=1)
    return JSONResponse({"status": "ready"})


async def login_again(_: Request) -> Response:
    """Who reloads the page after a wrong token comes here."""
    return RedirectResponse("/", 303)


def _login_form(message: str, status: int, wanted: str) -> Response:
    note = f'<p class="problem" role="alert">{html.escape(message)}</p>' if message else ""
    text = _LOGIN.replace("{next}", html.escape(_target(wanted))).replace("{message}", note)
    return HTMLResponse(text, status)


def _target(wanted: str) -> str:
    """Where to go after the login: a page of ours, never another site."""
    return wanted if wanted.startswith("/transfers/") and wanted.replace("/", "").isalnum() else "/"


ROUTES: list[BaseRoute] = [
    Route("/", page),
    Route("/transfers/{transfer_id}", page),
    Route("/login", login, methods=["POST"]),
    Route("/login", login_again),
    Route("/logout", logout, methods=["POST"]),
    Route("/healthz", healthz),
    Route("/readyz", readyz),
    Mount("/static", StaticFiles(directory=STATIC)),
]
