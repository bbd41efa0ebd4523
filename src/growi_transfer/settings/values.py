"""What values the settings may have: each check raises ValueError, whose text never repeats a secret."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from growi_transfer.protocol.errors import TransferKeyMalformed
from growi_transfer.protocol.transfer_key import normalise_origin

SHORTEST_SECRET = 16
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?")


def _comma_separated(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if len(text) < SHORTEST_SECRET or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"needs at least {SHORTEST_SECRET} printable ASCII characters without spaces")
    return value


def _mongo_uri(value: str) -> str:
    if not value.startswith(("mongodb://", "mongodb+srv://")):
        raise ValueError("must begin with mongodb:// or mongodb+srv://")
    return value


def _origin(value: str) -> str:
    try:
        return normalise_origin(value)
    except TransferKeyMalformed:
        raise ValueError("must be like https://wiki.example.com or http://10.0.0.5:3400, without a path") from None


def _webhook(value: str) -> str:
    parts = urlsplit(value)
    try:
        _origin(f"{parts.scheme}://{parts.netloc}")
    except ValueError:
        raise ValueError("must be like https://hooks.example.com/path, without a user or password") from None
    if len(value) > 2000 or parts.fragment or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be an address of at most 2000 printable ASCII characters, without a fragment")
    return value


def _folder(value: Path) -> Path:
    try:
        return value.expanduser().absolute()
    except RuntimeError:
        raise ValueError("no home folder is known; give the whole path") from None


def _destination(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        if not _HOST_PORT.fullmatch(value):
            raise ValueError("each must be a network (10.0.0.0/8), an address or host[:port]") from None
    return value


Secret = Annotated[SecretStr, AfterValidator(_secret)]
Folder = Annotated[Path, AfterValidator(_folder)]
MongoUri = Annotated[str, AfterValidator(_mongo_uri)]
Origin = Annotated[str, AfterValidator(_origin)]
WebhookUrl = Annotated[str, AfterValidator(_webhook)]
Secrets = Annotated[list[Secret], BeforeValidator(_comma_separated)]
Destinations = Annotated[list[Annotated[str, AfterValidator(_destination)]], BeforeValidator(_comma_separated)]
