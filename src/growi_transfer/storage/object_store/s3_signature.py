"""Signatures of Amazon's Signature Version 4 for S3, with the digest of the body in them.

Source: "Authenticating Requests (AWS Signature Version 4)" of the Amazon S3 API reference. Pure; the moment is given.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote

_SERVICE = "s3"


@dataclass(frozen=True, slots=True)
class S3Key:
    """An access key, for one region."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    region: str


def path_of_url(bucket: str, key: str) -> str:
    """The path of a URL, percent-encoded as it is signed. `bucket` is empty where the host names it."""
    return "/" + quote(f"{bucket}/{key}" if bucket else key, safe="/-_.~")


def query_of_url(query: Mapping[str, str]) -> str:
    """The query of a URL, encoded and in the order in which it is signed."""
    return "&".join(f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}" for name in sorted(query))


def signed_headers(
    key: S3Key,
    now: datetime,
    method: str,
    host: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    digest: str,
) -> dict[str, str]:
    """The headers of a request: those given (names in lower case) and the ones that sign it.

    `path` and `query` as in the URL; `digest`: SHA-256 of the body, hex. The store refuses a body with another one.
    """
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{moment[:8]}/{key.region}/{_SERVICE}/aws4_request"
    sent = {**headers, "host": host, "x-amz-content-sha256": digest, "x-amz-date": moment}
    names = sorted(sent)
    lines = [method, path, query]
    lines += [f"{name}:{' '.join(sent[name].split())}" for name in names]
    lines += ["", ";".join(names), digest]
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, sha256("\n".join(lines).encode()).hexdigest()])
    signature = hmac.digest(_signing_key(key, scope), text.encode(), "sha256").hex()
    sent["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key.access_key_id}/{scope}, SignedHeaders={';'.join(names)}, "
        f"Signature={signature}"
    )
    return sent


@lru_cache(maxsize=16)
def _signing_key(key: S3Key, scope: str) -> bytes:
    """The same all day."""
    signing = f"AWS4{key.secret_access_key}".encode()
    for part in scope.split("/"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    return signing
