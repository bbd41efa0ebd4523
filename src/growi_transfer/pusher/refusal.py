"""What a peer's error answer means: its envelope as one of our errors, and whether trying again can help.

Everything a peer writes is untrusted text: it is cut, freed of control characters, and never repeats our key.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

from growi_transfer.protocol.errors import PeerRefused, all_errors
from growi_transfer.protocol.wire import OFFSET_HEADER

ANSWER_INVALID = "peer_answer_invalid"
ANSWER_TOO_LARGE = "peer_answer_too_large"
REDIRECTED = "peer_redirects"
UNTRUSTED = "peer_certificate_untrusted"

_RETRYABLE_STATUS = frozenset({408, 425, 429, 502, 503, 504})
_CODES = {403: "forbidden", 404: "not_found", 409: "conflict", 413: "body_too_large", 429: "rate_limited"}
_MESSAGE_LENGTH = 2000
_CODE_LENGTH = 80
_DETAILS_LENGTH = 16_384
_RETRY_AFTER_LONGEST = 3600
_RETRYABLE_CODES = {kind.code: kind.retryable for kind in all_errors()}


def refusal(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    origin: str,
    secret: str,
    clock: Callable[[], float] = time.time,
) -> PeerRefused:
    """The error for an answer that is none of success. `body` may be anything, or empty as for HEAD.

    Details may have `retry_after` (seconds), `offset`, and `foreign`: the answer has no envelope of GROWI's, so it is
    from something that stands before it.
    """
    if 300 <= status < 400:
        return _redirected(status, headers.get("location", ""), origin)
    code, message, details = _envelope(body)
    known = _RETRYABLE_CODES.get(code) if code else None
    retryable = status in _RETRYABLE_STATUS if known is None else known
    details.update(_from_headers(headers))
    wait = _retry_after(headers, clock)
    if wait is not None:
        details["retry_after"] = wait
    if not code:
        details["foreign"] = True
        code = _CODES.get(status, PeerRefused.code)
        if not message:
            message = f"{origin} answered with HTTP status {status}"
            message += "; is that the address of a GROWI?" if status in (404, 405) else "."
    return PeerRefused(
        _clean(message, secret), code=code, status=status, retryable=retryable, **_without(details, secret)
    )


def invalid_answer(what: str, origin: str, *, code: str = ANSWER_INVALID) -> PeerRefused:
    """The error for an answer of success whose content is not what it should be."""
    return PeerRefused(f"{origin} gave an answer that cannot be used: {what}", code=code, status=200)


def _redirected(status: int, location: str, origin: str) -> PeerRefused:
    try:
        parts = urlsplit(location)
        target = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else ""
    except ValueError:
        target = ""
    message = f"{origin} redirects"
    if target and target != origin:
        message += f" to {target}. Issue the key under that address."
    else:
        message += "; the address of a key must lead to the GROWI itself."
    return PeerRefused(_clean(message, ""), code=REDIRECTED, status=status)


def _envelope(body: bytes) -> tuple[str, str, dict[str, Any]]:
    """Code, message and details of GROWI's envelope; empty where there is none."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", "", {}
    errors = answer.get("errors") if isinstance(answer, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return "", "", {}
    code, message, details = first.get("code"), first.get("message"), first.get("details")
    if not isinstance(details, dict) or len(orjson.dumps(details)) > _DETAILS_LENGTH:
        details = {}
    # These have a meaning of their own in the error they become.
    own = ("message", "code", "status", "retryable", "foreign")
    details = {name: value for name, value in details.items() if name not in own}
    return (
        code if isinstance(code, str) and len(code) <= _CODE_LENGTH and code.isprintable() else "",
        message if isinstance(message, str) else "",
        details,
    )


def _from_headers(headers: Mapping[str, str]) -> dict[str, int]:
    text = headers.get(OFFSET_HEADER, "")
    return {"offset": min(int(text), 1 << 62)} if _is_number(text) else {}


def _retry_after(headers: Mapping[str, str], clock: Callable[[], float]) -> int | None:
    """Seconds to wait. A date is taken relative to the answer's own, where it has one: clocks differ."""
    text = headers.get("retry-after", "")
    if _is_number(text):
        return min(int(text), _RETRY_AFTER_LONGEST)
    then = _timestamp(text)
    if then is None:
        return None
    now = _timestamp(headers.get("date", ""))
    return max(0, min(round(then - (clock() if now is None else now)), _RETRY_AFTER_LONGEST))


def _timestamp(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def _without(value: Any, secret: str) -> Any:
    if isinstance(value, str):
        return _clean(value, secret)
    if isinstance(value, list):
        return [_without(item, secret) for item in value]
    if isinstance(value, dict):
        return {_clean(key, secret): _without(item, secret) for key, item in value.items()}
    return value


def _clean(text: str, secret: str) -> str:
    if secret:
        text = text.replace(secret, "<key>")
    return "".join(character if character.isprintable() else " " for character in text[:_MESSAGE_LENGTH])
