"""Watch links: who has one may look at one transfer, and do nothing, until the link ends.

The token of a link is signed with the secrets that sign logins (purpose salt, SHA-512) and names the transfer and the
link. A signature alone lets nobody in: the row of the transfer lists the links that are valid, each with its end, and
an admin takes one or all off. The token itself is never kept, and stands behind the `#` of the link: a browser sends
that part to nobody, so it is in no log of any server or proxy and in no Referer.
"""

from __future__ import annotations

import asyncio
import secrets as randomness
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from itsdangerous import BadData, URLSafeSerializer
from starlette.requests import HTTPConnection

from growi_transfer.ledger.base import Ledger, Role, TransferRow
from growi_transfer.protocol.errors import Conflict, NotFound, TransferError, TransferNotFound, WatchLinkEnded
from growi_transfer.protocol.names import check_transfer_id
from growi_transfer.receiver.rate_limit import FailureLimiter
from growi_transfer.web.auth import Sha512Signer
from growi_transfer.web.ends import Ends

LIFETIME = timedelta(hours=24)
LONGEST = timedelta(days=30)
MOST = 50
"""Valid links of one transfer."""
FACT = "watch_links"
_PURPOSE = "growi-transfer/watch-link/1"
_audit = structlog.get_logger("growi_transfer.audit")


@dataclass(frozen=True, slots=True)
class WatchLink:
    id: str
    role: Role
    transfer_id: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class NewLink:
    """`token` is shown once and never again."""

    link: WatchLink
    token: str = field(repr=False)


class WatchLinks:
    """All watch links of one server. `secrets`: newest last. `clock` gives aware UTC times."""

    def __init__(
        self,
        ledger: Ledger,
        secrets: Sequence[str],
        clock: Callable[[], datetime],
        *,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._failures = FailureLimiter(seconds)
        self._serializer = URLSafeSerializer(list(secrets), salt=_PURPOSE, signer=Sha512Signer)
        self._changing = asyncio.Lock()
        self.ends = Ends(self._over)
        """What those wait for who look through a link: its time is over, or somebody revokes it, here or in another
        process of this wiki."""

    async def issue(self, row: TransferRow, lifetime: timedelta = LIFETIME) -> NewLink:
        """A new link to a transfer. Raises Conflict when it has too many, TransferNotFound."""
        now = self._clock()
        link = WatchLink(randomness.token_hex(8), row.role, row.id, now, now + lifetime)
        async with self._changing:
            links = await self.valid(row)
            if len(links) >= MOST:
                raise Conflict(f"This transfer has {MOST} watch links already; revoke some.", links=len(links))
            await self._keep(row, [*links, link])
        _audit.info("watch link issued", link=link.id, transfer_id=row.id, expires_at=link.expires_at.isoformat())
        token = self._serializer.dumps({"t": row.id, "r": row.role.value, "l": link.id})
        return NewLink(link, str(token))

    async def valid(self, row: TransferRow) -> list[WatchLink]:
        """The links of a transfer that are valid now, oldest first. Raises TransferNotFound."""
        present = await self._ledger.get_transfer(row.role, row.id)
        if present is None:
            raise TransferNotFound()
        now = self._clock()
        return [link for link in _links(present) if now < link.expires_at]

    async def revoke(self, row: TransferRow, link_id: str | None = None) -> None:
        """End one link, or all of a transfer, for those who look through it too. Raises NotFound, TransferNotFound."""
        async with self._changing:
            links = await self.valid(row)
            ended = [link for link in links if link_id in (None, link.id)]
            if link_id is not None and not ended:
                raise NotFound("There is no such watch link.")
            await self._keep(row, [link for link in links if link not in ended])
        for link in ended:
            _audit.info("watch link revoked", link=link.id, transfer_id=row.id)
            self.ends.end(link)

    async def check(self, token: str, address: str) -> WatchLink:
        """The link of a token. Raises WatchLinkEnded for every reason alike, RateLimited after many wrong ones."""
        try:
            return await self._link_of(token)
        except WatchLinkEnded:
            self._failures.check(address)
            self._failures.failed(address)
            raise

    async def _link_of(self, token: str) -> WatchLink:
        try:
            named: Any = self._serializer.loads(token)
            role, transfer_id, link_id = Role(named["r"]), check_transfer_id(named["t"]), named["l"]
        except (BadData, KeyError, TypeError, ValueError):
            raise WatchLinkEnded() from None
        row = await self._ledger.get_transfer(role, transfer_id)
        for link in _links(row) if row is not None else ():
            if link.id == link_id and self._clock() < link.expires_at:
                return link
        raise WatchLinkEnded()

    async def _over(self, awaited: Collection[WatchLink]) -> list[WatchLink]:
        now = self._clock()
        over = [link for link in awaited if now >= link.expires_at]
        for role, transfer_id in {(link.role, link.transfer_id) for link in awaited}:
            with suppress(TransferError):  # a database that is away for a moment ends nothing
                row = await self._ledger.get_transfer(role, transfer_id)
                valid = _links(row) if row is not None else []
                of_this = (link for link in awaited if (link.role, link.transfer_id) == (role, transfer_id))
                over += [link for link in of_this if link not in valid]
        return over

    async def _keep(self, row: TransferRow, links: list[WatchLink]) -> None:
        kept = [
            {"id": link.id, "created_at": link.created_at.isoformat(), "expires_at": link.expires_at.isoformat()}
            for link in links
        ]
        await self._ledger.set_facts(row.role, row.id, {FACT: kept or None}, self._clock())


def watch_links_of(request: HTTPConnection) -> WatchLinks:
    links: WatchLinks = request.state.watch_links
    return links


def _links(row: TransferRow) -> list[WatchLink]:
    return [
        WatchLink(
            one["id"],
            row.role,
            row.id,
            datetime.fromisoformat(one["created_at"]),
            datetime.fromisoformat(one["expires_at"]),
        )
        for one in row.facts.get(FACT) or ()
    ]
