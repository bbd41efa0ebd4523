"""Where a transfer key may lead: the host is looked up once, every address is judged, and only these are used.

A key is text that somebody pasted, and whoever pastes it must not be able to make this server talk to its own
machine or to the metadata service of its cloud. Private ranges are allowed, because wikis move inside LANs.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from growi_transfer.protocol.errors import (
    DestinationNotAllowed,
    PeerUnavailable,
    SettingInvalid,
    TransferKeyMalformed,
)
from growi_transfer.protocol.transfer_key import ParsedKey, normalise_origin

LOOKUP_SECONDS = 10.0

Address = IPv4Address | IPv6Address
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port in, addresses as text out. Raises OSError."""

_METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, Azure, Google, Oracle and others
            "169.254.170.2",  # AWS containers
            "fd00:ec2::254",  # AWS over IPv6
            "fd00:ec2::23",  # AWS pods
            "fd20:ce::254",  # Google over IPv6
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure's host
            "192.0.0.192",  # Oracle
        ),
    )
)
_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_NAT64 = IPv6Network("64:ff9b::/96")
_V4_COMPATIBLE = IPv6Network("::/96")
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class AllowedDestinations:
    """Addresses that are right although they look wrong: GROWI_TRANSFER_ALLOWED_DESTINATIONS."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    hosts: frozenset[tuple[str, int | None]] = frozenset()
    """Names or addresses as in a key's origin, with one port or (None) any."""

    @classmethod
    def parse(cls, entries: Iterable[str]) -> AllowedDestinations:
        """CIDRs, addresses, and host[:port]. Raises SettingInvalid, which names the entry."""
        networks: list[IPv4Network | IPv6Network] = []
        hosts: set[tuple[str, int | None]] = set()
        for entry in (entry.strip() for entry in entries):
            if not entry:
                continue
            try:
                networks.append(ip_network(entry, strict=False))
            except ValueError:
                hosts.add(_host_and_port(entry))
        return cls(tuple(networks), frozenset(hosts))

    @classmethod
    def loopback(cls) -> AllowedDestinations:
        """This machine only."""
        return cls((IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")))

    def names(self, host: str, port: int) -> bool:
        return (host, port) in self.hosts or (host, None) in self.hosts

    def covers(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


async def resolve_destination(
    key: ParsedKey, allowed: AllowedDestinations, *, lookup: Lookup | None = None
) -> tuple[Address, ...]:
    """The addresses of the key's host, in the order in which they should be tried.

    One address that is not allowed is enough to refuse all: nobody could say which one a connection would take.
    Raises DestinationNotAllowed, or PeerUnavailable when the host has no address.
    """
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            found = await (lookup or _look_up)(key.host, key.port)
    except (OSError, UnicodeError):
        found = ()
    addresses = tuple(dict.fromkeys(ip_address(text) for text in found))
    if not addresses:
        raise PeerUnavailable(
            f"No address was found for {key.host}. Is the key complete, and does this machine know that name?",
            host=key.host,
        )
    if not allowed.names(key.host, key.port):
        for address in addresses:
            reason = refusal(address)
            if reason and not allowed.covers(address) and not allowed.covers(_unwrapped(address)):
                raise DestinationNotAllowed(
                    f"The key points to {key.host}, and {address} is {reason}. Name it in"
                    " GROWI_TRANSFER_ALLOWED_DESTINATIONS if it is right.",
                    host=key.host,
                    address=str(address),
                )
    return addresses


def refusal(address: Address) -> str:
    """What kind of address this is, if it is one that a key must not lead to; else empty."""
    address = _unwrapped(address)
    if address in _METADATA:
        return "a cloud's metadata service"
    if address.is_unspecified or address in _THIS_NETWORK:
        return "no address of another machine"
    if address.is_loopback:
        return "this machine itself"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    if address.is_reserved:
        return "a reserved address"
    return ""


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or (address in _V4_COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


async def _look_up(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found: list[Any] = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [socket_address[0] for *_, socket_address in found]


def _host_and_port(entry: str) -> tuple[str, int | None]:
    try:
        parsed = ParsedKey("", normalise_origin(f"https://{entry}"))
    except TransferKeyMalformed:
        raise SettingInvalid(
            f"GROWI_TRANSFER_ALLOWED_DESTINATIONS: {entry[:100]!r} is neither a network such as 192.0.2.0/24 nor a"
            " host such as wiki.example.com:3000.",
            setting="GROWI_TRANSFER_ALLOWED_DESTINATIONS",
        ) from None
    _, colon, port = entry.rpartition(":")
    return parsed.host, int(port) if colon and _PORT.fullmatch(port) else None
