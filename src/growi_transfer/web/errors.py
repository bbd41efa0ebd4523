"""The one map from errors to HTTP: status, envelope, headers. No other file of this part decides about a status.

The envelope is GROWI's: `{"errors": [{"message", "code"}]}`, with `details` when there are any. An answer that can
change when the very same request is sent again carries `Retry-After`.
"""

from __future__ import annotations

from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from growi_transfer.protocol.errors import (
    Conflict,
    ExportExpired,
    Forbidden,
    GrowiParseFailed,
    Incompatible,
    InsufficientSpace,
    InvalidRequest,
    NotFound,
    OffsetMismatch,
    OperatorFault,
    PeerRefused,
    RateLimited,
    TooLarge,
    TransferDataInvalid,
    TransferError,
    Unavailable,
    VersionIncompatible,
    code_of,
    is_retryable,
)
from growi_transfer.protocol.wire import OFFSET_HEADER

STATUS: dict[type[TransferError], int] = {
    TransferError: 500,
    InvalidRequest: 400,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    Unavailable: 503,
    InsufficientSpace: 507,
    OperatorFault: 500,
    PeerRefused: 502,
    RateLimited: 429,
    ExportExpired: 410,
    # As GROWI answers them:
    Incompatible: 400,
    GrowiParseFailed: 500,
    TransferDataInvalid: 500,
    VersionIncompatible: 500,
}
"""The nearest class wins: a leaf has the status of its branch unless it stands here itself."""

RETRY_AFTER = 1
RETRY_AFTER_UNAVAILABLE = 5
"""Seconds, where the error does not say."""

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
_log = structlog.get_logger("growi_transfer.web")


def status_of(error: type[TransferError]) -> int:
    """The HTTP status of an error class."""
    return next(STATUS[kind] for kind in error.__mro__ if kind in STATUS)


def envelope(message: str, code: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"errors": [{"message": message, "code": code, **({"details": details} if details else {})}]}


def transfer_error_response(error: TransferError) -> JSONResponse:
    """The answer to an error of ours."""
    status = status_of(type(error))
    headers: dict[str, str] = {}
    details = dict(error.details)
    if is_retryable(error):
        usual = RETRY_AFTER_UNAVAILABLE if status == 503 else RETRY_AFTER
        headers["retry-after"] = str(max(1, int(details.get("retry_after", usual))))
    if isinstance(error, OffsetMismatch) and isinstance(details.get("offset"), int):
        headers[OFFSET_HEADER] = str(details["offset"])
    return JSONResponse(envelope(error.message, code_of(error), details), status, headers)


async def on_transfer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TransferError)
    response = transfer_error_response(error)
    if response.status_code >= 500:
        _log.warning(
            "request failed",
            method=request.method,
            path=request.url.path,
            status=response.status_code,
            code=code_of(error),
            reason=error.message,
            cause=repr(error.__cause__) if error.__cause__ else None,
        )
    return response


async def on_http_exception(request: Request, error: Exception) -> Response:
    """The framework's own refusals: no such path, no such method."""
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, f"http_{error.status_code}")
    return JSONResponse(envelope(str(error.detail), code), error.status_code, error.headers)


def internal_error_response(request: Request, error: Exception) -> Response:
    """The answer to an error that nobody foresaw: the log has everything, the answer nothing."""
    _log.error("unexpected error", method=request.method, path=request.url.path, exc_info=error)
    return JSONResponse(envelope("Something went wrong in the server; its log says more.", TransferError.code), 500)


def stopped_response() -> JSONResponse:
    """The answer of a request that was still under way when the server stopped."""
    return transfer_error_response(Unavailable("This server is stopping. Send it again when it is back."))
