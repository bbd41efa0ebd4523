from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.errors import DestinationNotAllowed, PeerUnavailable, SettingInvalid
from growi_transfer.protocol.transfer_key import ParsedKey, normalise_origin
from growi_transfer.pusher.address import AllowedDestinations, Lookup, refusal, resolve_destination

NONE = AllowedDestinations()


def key(origin: str) -> ParsedKey:
    return ParsedKey("token", normalise_origin(origin))


def finds(*addresses: str) -> Lookup:
    async def lookup(host: str, port: int) -> Sequence[str]:
        return addresses

    return lookup


async def resolve(origin: str, *addresses: str, allowed: AllowedDestinations = NONE) -> list[str]:
    found = await resolve_destination(key(origin), allowed, lookup=finds(*addresses))
    return [str(address) for address in found]


@pytest.mark.parametrize(
    "address",
    [
        "93.184.216.34",
        "10.0.0.5",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.7",
        "fd12:3456::1",
        "2606:2800:220:1::1",
        "64:ff9b::5db8:d822",
        "::ffff:192.168.1.1",
    ],
)
async def test_public_and_private_addresses_are_right(address: str) -> None:
    assert await resolve("http://wiki", address) == [str(ip_address(address))]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "this machine itself"),
        ("127.8.9.10", "this machine itself"),
        ("::1", "this machine itself"),
        ("::ffff:127.0.0.1", "this machine itself"),
        ("::127.0.0.1", "this machine itself"),
        ("64:ff9b::7f00:1", "this machine itself"),
        ("2002:7f00:1::", "this machine itself"),
        ("0.0.0.0", "no address of another machine"),
        ("0.1.2.3", "no address of another machine"),
        ("::", "no address of another machine"),
        ("::ffff:0.0.0.0", "no address of another machine"),
        ("169.254.169.254", "a cloud's metadata service"),
        ("::ffff:169.254.169.254", "a cloud's metadata service"),
        ("64:ff9b::a9fe:a9fe", "a cloud's metadata service"),
        ("fd00:ec2::254", "a cloud's metadata service"),
        ("168.63.129.16", "a cloud's metadata service"),
        ("100.100.100.200", "a cloud's metadata service"),
        ("169.254.1.1", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("fe80::1%eth0", "a link-local address"),
        ("224.0.0.1", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("240.0.0.1", "a reserved address"),
        ("255.255.255.255", "a reserved address"),
    ],
)
async def test_addresses_that_need_to_be_named(address: str, reason: str) -> None:
    with pytest.raises(DestinationNotAllowed) as caught:
        await resolve("http://wiki.example.com", address)
    assert reason in caught.value.message
    assert "GROWI_TRANSFER_ALLOWED_DESTINATIONS" in caught.value.message
    assert caught.value.details["host"] == "wiki.example.com"


async def test_one_wrong_address_refuses_all() -> None:
    with pytest.raises(DestinationNotAllowed) as caught:
        await resolve("http://wiki", "10.0.0.1", "127.0.0.1")
    assert caught.value.details["address"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("entry", "origin", "address", "right"),
    [
        ("127.0.0.0/8", "http://wiki", "127.0.0.1", True),
        ("127.0.0.0/8", "http://wiki", "::ffff:127.0.0.1", True),
        ("127.0.0.0/8", "http://wiki", "::1", False),
        ("127.0.0.1", "http://wiki", "127.0.0.1", True),
        ("127.0.0.1", "http://wiki", "127.0.0.2", False),
        ("127.0.0.5/8", "http://wiki", "127.0.0.1", True),
        ("::1", "http://wiki", "::1", True),
        ("fe80::/10", "http://wiki", "fe80::1", True),
        ("wiki.example.com", "http://wiki.example.com", "127.0.0.1", True),
        ("Wiki.Example.com", "https://wiki.example.com:8443", "127.0.0.1", True),
        ("wiki.example.com", "http://other.example.com", "127.0.0.1", False),
        ("wiki.example.com:3000", "http://wiki.example.com:3000", "127.0.0.1", True),
        ("wiki.example.com:3000", "http://wiki.example.com:3001", "127.0.0.1", False),
        ("wiki.example.com:443", "https://wiki.example.com", "127.0.0.1", True),
        ("wiki.example.com:80", "http://wiki.example.com", "127.0.0.1", True),
        ("wiki.example.com:80", "https://wiki.example.com", "127.0.0.1", False),
        ("127.0.0.1:3000", "http://127.0.0.1:3000", "127.0.0.1", True),
        ("127.0.0.1:3000", "http://127.0.0.1:3001", "127.0.0.1", False),
        ("[::1]:3000", "http://[::1]:3000", "::1", True),
        ("[::1]:3000", "http://[::1]", "::1", False),
        ("[::1]", "http://[::1]:9", "::1", True),
    ],
)
async def test_what_an_entry_allows(entry: str, origin: str, address: str, right: bool) -> None:
    allowed = AllowedDestinations.parse([entry, "", " 192.0.2.0/24 "])
    if right:
        assert await resolve(origin, address, allowed=allowed) == [str(ip_address(address))]
    else:
        with pytest.raises(DestinationNotAllowed):
            await resolve(origin, address, allowed=allowed)


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "wiki/8", "http://wiki", "wiki:0", "wiki:99999", "a b", "user@wiki"])
def test_entries_that_are_none(entry: str) -> None:
    with pytest.raises(SettingInvalid) as caught:
        AllowedDestinations.parse([entry])
    assert entry in caught.value.message
    assert caught.value.details["setting"] == "GROWI_TRANSFER_ALLOWED_DESTINATIONS"


async def test_loopback_allows_this_machine_only() -> None:
    allowed = AllowedDestinations.loopback()
    assert await resolve("http://wiki", "127.0.0.1", "::1", allowed=allowed) == ["127.0.0.1", "::1"]
    with pytest.raises(DestinationNotAllowed):
        await resolve("http://wiki", "169.254.169.254", allowed=allowed)


async def test_addresses_are_told_once_and_in_order() -> None:
    assert await resolve("http://wiki", "10.0.0.2", "10.0.0.1", "10.0.0.2") == ["10.0.0.2", "10.0.0.1"]


async def test_a_name_without_an_address() -> None:
    async def fails(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    for lookup in (fails, finds()):
        with pytest.raises(PeerUnavailable) as caught:
            await resolve_destination(key("http://wiki.example.com"), NONE, lookup=lookup)
        assert "No address was found for wiki.example.com" in caught.value.message


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1", "http://127.1", "http://2130706433", "http://0x7f.1", "http://0"]
)
async def test_other_ways_to_write_this_machine(origin: str) -> None:
    """The system's resolver, not a fake one: it takes numbers that do not look like addresses."""
    with pytest.raises((DestinationNotAllowed, PeerUnavailable)):
        await resolve_destination(key(origin), NONE)


@given(st.ip_addresses(v=4))
def test_an_address_inside_ipv6_is_judged_as_itself(address: object) -> None:
    plain = ip_address(str(address))
    for wrapped in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert refusal(ip_address(wrapped)) == refusal(plain)
