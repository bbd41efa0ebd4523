"""Sends a notification to the address of a setting, and to no other.

The host is looked up anew for each one, and every address is judged as that of a transfer key is (`pusher.address`):
this machine and metadata services only if GROWI_TRANSFER_ALLOWED_DESTINATIONS names them. No redirect is followed, no
proxy used, and nothing of the answer but its status is looked at.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp

from growi_transfer import __version__
from growi_transfer.protocol.errors import DestinationNotAllowed
from growi_transfer.protocol.transfer_key import ParsedKey, normalise_origin
from growi_transfer.pusher.address import AllowedDestinations, Lookup, resolve_destination
from growi_transfer.pusher.transport import Pinned, no_answer

SECONDS = 15.0
"""How long one notification may take."""


class WebhookClient:
    """`url`: http or https, as `settings` has checked it."""

    def __init__(
        self,
        url: str,
        allowed: AllowedDestinations,
        *,
        lookup: Lookup | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._target = ParsedKey("", normalise_origin(f"{parts.scheme}://{parts.netloc}"))
        self._url = url
        self._allowed = allowed
        self._lookup = lookup
        self._tls = tls

    async def post(self, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer. Raises PeerUnavailable, DestinationNotAllowed, PeerRefused."""
        try:
            addresses = await resolve_destination(self._target, self._allowed, lookup=self._lookup)
        except DestinationNotAllowed as error:
            raise DestinationNotAllowed(
                f"GROWI_TRANSFER_WEBHOOK_URL leads to {error.details['address']}, which only"
                " GROWI_TRANSFER_ALLOWED_DESTINATIONS can allow.",
                **error.details,
            ) from None
        connector = aiohttp.TCPConnector(
            resolver=Pinned(self._target.host, addresses), use_dns_cache=False, ssl=self._tls or True
        )
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    timeout=aiohttp.ClientTimeout(total=SECONDS),
                    headers={"user-agent": f"growi-transfer/{__version__}"},
                    auto_decompress=False,
                    trust_env=False,
                ) as session,
                session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise no_answer(error, self._target.origin) from None
