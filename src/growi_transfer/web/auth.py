"""Who may ask: the admin of this server, or a peer with a transfer key. Routes call a guard before anything else.

An admin shows the admin token (`Authorization: Bearer`), or the login cookie of the watch page. The cookie is signed,
holds no token and ends with the token: a new admin token ends all logins. A peer shows a transfer key.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets as randomness
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import structlog
from itsdangerous import BadData, Signer, URLSafeSerializer
from starlette.requests import HTTPConnection

from growi_transfer.ledger.base import KeyRow
from growi_transfer.protocol.errors import (
    AdminRequired,
    InvalidRequest,
    KeyClaimed,
    NotFound,
    RateLimited,
    TransferError,
    TransferKeyInvalid,
)
from growi_transfer.protocol.wire import EPOCH_HEADER, KEY_HEADER
from growi_transfer.receiver.rate_limit import FailureLimiter
from growi_transfer.web.services import GrowiService, PusherService, ReceiverService, Services
from growi_transfer.web.sessions import Session, Sessions

COOKIE = "growi_transfer_admin"
_PURPOSE = "growi-transfer/admin-session/1"
_SAFE_METHODS = ("GET", "HEAD")
_EPOCH_LIMIT = 1 << 53
_audit = structlog.get_logger("growi_transfer.audit")


class Sha512Signer(Signer):
    default_digest_method = staticmethod(hashlib.sha512)
    default_key_derivation = "hmac"


class AdminAccess:
    """The admin token, and login cookies made from it. `clock` gives aware UTC times."""

    def __init__(
        self, token: str, secrets: Sequence[str], clock: Callable[[], datetime], *, session_seconds: int
    ) -> None:
        self._token = _digest(token)
        self._clock = clock
        self._seconds = session_seconds
        self._serializer = URLSafeSerializer(list(secrets), salt=_PURPOSE, signer=Sha512Signer)
        # Tells tokens apart without saying anything about them: only the holder of a secret can make or read it.
        self._generation = hmac.new(secrets[-1].encode(), self._token, hashlib.sha512).hexdigest()[:32]
        self._generations = frozenset(
            hmac.new(secret.encode(), self._token, hashlib.sha512).hexdigest()[:32] for secret in secrets
        )

    def token_is_right(self, token: str) -> bool:
        """In constant time, whatever the length."""
        return hmac.compare_digest(self._token, _digest(token))

    def new_session(self) -> str:
        """The value of a login cookie."""
        issued, name = int(self._clock().timestamp()), randomness.token_hex(16)
        return str(self._serializer.dumps({"i": issued, "g": self._generation, "s": name}))

    def session_of(self, cookie: str) -> Session | None:
        """The login of a cookie, if it is one and its time is not over."""
        try:
            payload: Any = self._serializer.loads(cookie)
        except BadData:
            return None
        if not isinstance(payload, dict) or not isinstance(payload.get("i"), int) or "s" not in payload:
            return None
        age = self._clock().timestamp() - payload["i"]
        if payload.get("g") not in self._generations or not -60 <= age < self._seconds:
            return None
        ends = datetime.fromtimestamp(payload["i"], UTC) + timedelta(seconds=self._seconds)
        return Session(str(payload["s"]), ends)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


class Guard:
    """The checks of one server. Every method raises when the answer is no."""

    def __init__(self, services: Services, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._services = services
        self._admin = AdminAccess(
            services.admin_token,
            services.session_secrets,
            services.clock,
            session_seconds=services.limits.session_seconds,
        )
        self.sessions = Sessions(services.ledger, services.clock)
        self._admin_failures = FailureLimiter(seconds)
        self._key_failures = FailureLimiter(seconds)

    # the admin

    def admin(self, request: HTTPConnection) -> Session | None:
        """The login that lets the admin in, None when it is the token: what lasts ends with the login.

        Raises AdminRequired, or RateLimited after many wrong tokens from one address.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        refusal: TransferError | None
        session: Session | None = None
        if scheme.lower() == "bearer" and token:
            refusal = self.refusal_of_token(token.strip(), address_of(request))
        elif (session := self.session_of(request)) is None:
            refusal = AdminRequired()
        else:
            refusal = None if request.scope.get("method") in _SAFE_METHODS else self.refusal_of_origin(request)
        if refusal is not None:
            raise refusal
        trust(request)
        return session

    def refusal_of_token(self, token: str, address: str) -> TransferError | None:
        """Why this is not the admin token; None if it is. Right ones are refused too while an address is over its
        limit: the token may be one that a person made up, so its guesses must be few."""
        try:
            self._admin_failures.check(address)
        except RateLimited as limited:
            return limited
        if self._admin.token_is_right(token):
            return None
        self._admin_failures.failed(address)
        _audit.warning("admin token refused", address=address)
        return AdminRequired("This is not the admin token.")

    def refusal_of_origin(self, request: HTTPConnection) -> TransferError | None:
        """Why what a browser sends with our cookie is not from a page of ours; None if it is. Browsers send the cookie
        for pages of another port or a sibling domain too: `SameSite` does not tell those apart."""
        if is_same_origin(request.headers):
            return None
        return AdminRequired("This must be sent from a page of this server.")

    def session_of(self, request: HTTPConnection) -> Session | None:
        """The login of a request, if it has one that is valid."""
        return self.session_of_cookie(request.cookies.get(COOKIE, ""))

    def session_of_cookie(self, cookie: str) -> Session | None:
        session = self._admin.session_of(cookie) if cookie else None
        return None if session is None or self.sessions.is_over(session) else session

    def new_session(self) -> str:
        return self._admin.new_session()

    # a peer

    async def key(self, request: HTTPConnection) -> KeyRow:
        """The row of the request's key. Raises TransferKeyInvalid, or RateLimited after many wrong ones.

        A valid key is never refused for the failures of others behind the same address: keys cannot be guessed.
        """
        keys = self.receiver().keys
        token = request.headers.get(KEY_HEADER, "")
        try:
            row = await keys.check(token)
        except TransferKeyInvalid:
            address = address_of(request)
            self._key_failures.check(address)
            self._key_failures.failed(address)
            raise
        trust(request)
        return row

    async def key_of_transfer(self, request: HTTPConnection, transfer_id: str) -> KeyRow:
        """The key that has claimed this transfer; any other one is not valid here."""
        row = await self.key(request)
        if row.claimed_by != transfer_id:
            raise TransferKeyInvalid()
        return row

    async def key_for_claim(self, request: HTTPConnection, transfer_id: str) -> KeyRow:
        """A key that may claim this transfer, or has. Raises KeyClaimed when another transfer has it."""
        row = await self.key(request)
        if row.claimed_by not in (None, transfer_id):
            raise KeyClaimed()
        return row

    async def unclaimed_key(self, request: HTTPConnection) -> KeyRow:
        row = await self.key(request)
        if row.claimed_by is not None:
            raise KeyClaimed()
        return row

    # roles

    def receiver(self) -> ReceiverService:
        if self._services.receiver is None:
            raise NotFound("This server does not receive transfers.")
        return self._services.receiver

    def growi(self) -> GrowiService:
        if self._services.growi is None:
            raise NotFound("This server does not receive transfers.")
        return self._services.growi

    def pusher(self) -> PusherService:
        if self._services.pusher is None:
            raise NotFound("This server does not push transfers.")
        return self._services.pusher


def guard_of(request: HTTPConnection) -> Guard:
    guard: Guard = request.state.guard
    return guard


def services_of(request: HTTPConnection) -> Services:
    services: Services = request.state.services
    return services


def presents_key(request: HTTPConnection) -> bool:
    """Whether a request of a path that both sides share comes from a peer."""
    return KEY_HEADER in request.headers


def epoch_of(request: HTTPConnection) -> int:
    """The number of the pusher's process that has the transfer. Every request that changes something carries it."""
    text = request.headers.get(EPOCH_HEADER, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) < _EPOCH_LIMIT):
        raise InvalidRequest(f"{EPOCH_HEADER} must be an integer, 0 or more.", field=EPOCH_HEADER)
    return int(text)


def address_of(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""


def trust(connection: HTTPConnection) -> None:
    """Note that the sender is known: what is left of a refused body may be read (see `web.refusals`)."""
    connection.state.trusted = True


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of this very server makes the request."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host", "")
