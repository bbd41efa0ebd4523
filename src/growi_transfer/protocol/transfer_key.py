"""The string an admin copies from one wiki to another: `<token>__grw_internal_tranferkey__<origin>`.

The form, with its spelling, is GROWI's own, so that either side may be a real GROWI. There the token is 24 hex
digits; ours is a signed token (see `receiver.keys`). This file only takes the string apart and puts it together; it
does not know whether a token is valid.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from urllib.parse import urlsplit

from growi_transfer.protocol.errors import TransferKeyMalformed

SEPARATOR = "__grw_internal_tranferkey__"
KEY_LENGTH = 4096
"""Characters of the longest key string that is looked at."""

_CORE = SEPARATOR.strip("_")
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{1,2048}")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ADVICE = "Copy the whole key from the destination's page."


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """A key string, taken apart. The token is a secret and is left out of `repr`."""

    token: str = field(repr=False)
    origin: str
    """`scheme://host[:port]` as browsers write an origin: lower case, no default port, no path."""

    @property
    def secure(self) -> bool:
        return self.origin.startswith("https:")

    @property
    def host(self) -> str:
        """Name or address of the destination; an IPv6 address without brackets."""
        return urlsplit(self.origin).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.origin).port or _DEFAULT_PORTS["https" if self.secure else "http"]

    @property
    def key_string(self) -> str:
        """The whole key string again. A secret."""
        return f"{self.token}{SEPARATOR}{self.origin}"


def format_key(token: str, origin: str) -> str:
    """The key string of a token and the address of the wiki that issued it.

    Raises TransferKeyMalformed when `parse_key` would not give back the same two.
    """
    return ParsedKey(_check_token(token), normalise_origin(origin)).key_string


def parse_key(text: str) -> ParsedKey:
    """Take a key string apart. White space around it is a slip of the mouse and is ignored.

    Raises TransferKeyMalformed, whose message says what is missing and never repeats the token.
    """
    text = text.strip()
    if not text:
        raise TransferKeyMalformed("The transfer key is empty. " + _ADVICE)
    if len(text) > KEY_LENGTH:
        raise TransferKeyMalformed("This is too long to be a transfer key.")
    if any(character.isspace() for character in text):
        raise TransferKeyMalformed("The transfer key has a space or a line break in it. " + _ADVICE)
    token, found, origin = text.partition(SEPARATOR)
    if not found:
        raise TransferKeyMalformed(
            "The transfer key is not complete: the part with the destination's address is missing. " + _ADVICE
        )
    if not token:
        raise TransferKeyMalformed("The transfer key is not complete: its beginning is missing. " + _ADVICE)
    if not origin:
        raise TransferKeyMalformed(
            "The transfer key is not complete: the destination's address at its end is missing. " + _ADVICE
        )
    return ParsedKey(_check_token(token), normalise_origin(origin))


def normalise_origin(origin: str) -> str:
    """An http or https address without a path, as browsers write an origin. Raises TransferKeyMalformed.

    A single `/` at the end is dropped; a path, a query or a user name is refused rather than dropped, because the
    requests would go somewhere else than the string says.
    """
    if any(character.isspace() or not character.isprintable() for character in origin) or "\\" in origin:
        raise TransferKeyMalformed("The address in the transfer key has a character that no address has.")
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise TransferKeyMalformed("The address in the transfer key is not one. " + _ADVICE) from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise TransferKeyMalformed("The address in the transfer key must begin with http:// or https://. " + _ADVICE)
    if not host or parts.netloc.endswith(":") or port == 0:
        raise TransferKeyMalformed("The address in the transfer key is not complete. " + _ADVICE)
    if "@" in parts.netloc:
        raise TransferKeyMalformed("The address in the transfer key must not have a user name or password in it.")
    if parts.path not in ("", "/") or "?" in origin or "#" in origin:
        raise TransferKeyMalformed(
            "The address in the transfer key must not have a path; GROWI runs at the root of a host."
        )
    shown = _normal_host(host, bracketed="[" in parts.netloc)
    return f"{parts.scheme}://{shown}" + ("" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}")


def _normal_host(host: str, *, bracketed: bool) -> str:
    if bracketed:
        try:
            address = IPv6Address(host)
        except ValueError:
            raise TransferKeyMalformed("The address in the transfer key is not a valid IPv6 address.") from None
        if address.scope_id:
            raise TransferKeyMalformed("The address in the transfer key must not name a network interface.")
        return f"[{address.compressed}]"
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise TransferKeyMalformed("The host name in the transfer key is not one.") from None
    if not _HOST.fullmatch(host) or ".." in host:
        raise TransferKeyMalformed("The host name in the transfer key is not one. " + _ADVICE)
    return host


def _check_token(token: str) -> str:
    # A token that holds part of the separator could be cut at another place than it was joined.
    if not _TOKEN.fullmatch(token) or _CORE in token:
        raise TransferKeyMalformed("The transfer key has a character that no transfer key has. " + _ADVICE)
    return token
