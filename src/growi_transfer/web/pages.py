"""The pages: a login that sets the admin cookie, one file of HTML for each page, and health answers. No text of a peer
is ever put into HTML here; the scripts of the pages write texts as text.
"""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from growi_transfer.protocol.errors import TransferError, code_of
from growi_transfer.web.auth import COOKIE, address_of, guard_of, services_of
from growi_transfer.web.errors import status_of
from growi_transfer.web.static_files import PREFIX, PageFiles, page_text
from growi_transfer.web.uploads import read_body

_FORM_LIMIT = 16 << 10
_LOGIN = page_text("login.html")
_WATCH = page_text("watch.html")
_PLAIN = ("/", "/destination", "/source", "/transfers")
_OF_A_TRANSFER = "/transfers/"


def admin_page(name: str) -> Callable[[Request], Awaitable[Response]]:
    """A page for an admin who is logged in; others come to the login form, and back."""
    text = page_text(name)

    async def page(request: Request) -> Response:
        if guard_of(request).session_of(request) is None:
            return _to_login(request.url.path)
        return HTMLResponse(text)

    return page


async def home(request: Request) -> Response:
    """The page of this server's role; the transfers, where it has both."""
    if guard_of(request).session_of(request) is None:
        return _to_login("/")
    services = services_of(request)
    if services.receiver is None:
        return RedirectResponse("/source", 303)
    return RedirectResponse("/destination" if services.pusher is None else "/transfers", 303)


async def watch_page(_: Request) -> Response:
    """For everybody: it shows nothing without the token that its address has behind the `#`."""
    return HTMLResponse(_WATCH, headers={"referrer-policy": "no-referrer"})


async def login_page(request: Request) -> Response:
    wanted = _target(request.query_params.get("next", "/"))
    if guard_of(request).session_of(request) is not None:
        return RedirectResponse(wanted, 303)
    return _login_form(None, wanted)


async def login(request: Request) -> Response:
    """The admin token for a cookie. Raises what `read_body` raises; a wrong token is told in the form."""
    form = parse_qs((await read_body(request, _FORM_LIMIT)).decode("utf-8", "replace"))
    guard = guard_of(request)
    token = form.get("token", [""])[0].strip()
    wanted = _target(form.get("next", ["/"])[0])
    refusal = guard.refusal_of_origin(request) or guard.refusal_of_token(token, address_of(request))
    if refusal is not None:
        # A person reads this one, so it is a page and not the envelope.
        return _login_form(refusal, wanted)
    answer = RedirectResponse(wanted, 303)
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
    """The end of this login, at the server too: the cookie may have been copied, and streams are open."""
    answer = RedirectResponse("/login", 303)
    guard = guard_of(request)
    if guard.refusal_of_origin(request) is None:
        session = guard.session_of(request)
        if session is not None:
            await guard.sessions.end(session)
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


async def healthz(request: Request) -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """The database answers too. Raises DatabaseUnavailable."""
    await services_of(request).ledger.list_transfers(limit=1)
    return JSONResponse({"status": "ready"})


def _to_login(path: str) -> Response:
    return RedirectResponse("/login" if path == "/" else f"/login?next={quote(_target(path))}", 303)


def _login_form(refusal: TransferError | None, wanted: str) -> Response:
    note, status = "", 200
    if refusal is not None:
        code, message = html.escape(code_of(refusal)), html.escape(refusal.message)
        note = f'<p class="note bad" role="alert" data-code="{code}">{message}</p>'
        status = status_of(type(refusal))
    return HTMLResponse(_LOGIN.replace("{next}", html.escape(wanted)).replace("{message}", note), status)


def _target(wanted: str) -> str:
    """Where to go after the login: a page of ours, never another site."""
    rest = wanted.removeprefix(_OF_A_TRANSFER)
    of_a_transfer = rest != wanted and rest.isascii() and rest.isalnum()
    return wanted if wanted in _PLAIN or of_a_transfer else "/"


ROUTES: list[BaseRoute] = [
    Route("/", home),
    Route("/destination", admin_page("destination.html")),
    Route("/source", admin_page("source.html")),
    Route("/transfers", admin_page("transfer.html")),
    Route("/transfers/{transfer_id}", admin_page("transfer.html")),
    Route("/watch", watch_page),
    Route("/login", login, methods=["POST"]),
    Route("/login", login_page),
    Route("/logout", logout, methods=["POST"]),
    Route("/healthz", healthz),
    Route("/readyz", readyz),
    Mount(PREFIX.rstrip("/"), PageFiles()),
]
