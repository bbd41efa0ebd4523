"""Slows down whoever guesses keys or tokens: counts failures by address over a sliding window, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import ceil

from growi_transfer.protocol.errors import RateLimited

_IPV6_CUSTOMER_BITS = 64
"""One customer usually has a whole /64, so single IPv6 addresses say nothing about who is asking."""


class FailureLimiter:
    """At most `limit` failures of one address in `window` seconds; then it is refused until the oldest one is over.

    Only failures count, so a busy peer with a valid key is never slowed down. At most `addresses` are remembered;
    those that failed longest ago are forgotten first. `clock` gives seconds that never go backwards.
    """

    def __init__(
        self, clock: Callable[[], float], *, limit: int = 20, window: float = 60.0, addresses: int = 10_000
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._window = window
        self._addresses = addresses
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Call before looking at what an address presents. Raises RateLimited with `retry_after` in whole seconds."""
        group = _group(address)
        failures = self._recent(group)
        if failures is not None and len(failures) >= self._limit:
            wait = max(1, ceil(failures[0] + self._window - self._clock()))
            raise RateLimited(f"Too many wrong attempts; wait {wait} seconds.", retry_after=wait)

    def failed(self, address: str) -> None:
        """Call when what an address presented was wrong."""
        group = _group(address)
        failures = self._recent(group)
        if failures is None:
            failures = self._failures[group] = deque(maxlen=self._limit)
        failures.append(self._clock())
        self._failures.move_to_end(group)
        while len(self._failures) > self._addresses:
            self._failures.popitem(last=False)

    def __len__(self) -> int:
        """Addresses remembered at the moment."""
        return len(self._failures)

    def _recent(self, group: str) -> deque[float] | None:
        failures = self._failures.get(group)
        if failures is None:
            return None
        oldest = self._clock() - self._window
        while failures and failures[0] <= oldest:
            failures.popleft()
        if not failures:
            del self._failures[group]
            return None
        return failures


def _group(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        # What a server names a peer that has no address (a Unix socket, a test client).
        return address[:100]
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Network((int(parsed), _IPV6_CUSTOMER_BITS), strict=False).network_address)
    return str(parsed)
