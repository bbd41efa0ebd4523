"""The root of the tree, its families, and what can be asked of any error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar


class TransferError(Exception):
    """Something went wrong; the message says what and, where we know, what to do."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str = "", **details: Any) -> None:
        self.message = message or (type(self).__doc__ or "").split("\n")[0]
        self.details: Mapping[str, Any] = details
        super().__init__(self.message)


class InvalidRequest(TransferError):
    """The request is not of the form this route takes."""

    code = "invalid_request"


class Forbidden(TransferError):
    """You may not do this."""

    code = "forbidden"


class NotFound(TransferError):
    """There is no such thing here."""

    code = "not_found"


class Conflict(TransferError):
    """This cannot be done in the present state."""

    code = "conflict"


class TooLarge(TransferError):
    """This is larger than the limit."""

    code = "too_large"


class Unavailable(TransferError):
    """A part does not answer at the moment; try again."""

    code = "unavailable"
    retryable = True


class InsufficientSpace(TransferError):
    """There is not enough space."""

    code = "insufficient_space"


class OperatorFault(TransferError):
    """The set-up of this machine needs a change."""

    code = "operator_fault"


class PeerRefused(TransferError):
    """The other instance refused.

    `code` of an instance is the one that the peer gave, so that scripts see the same word on both sides.
    """

    code = "peer_refused"

    def __init__(self, message: str, *, code: str, status: int, retryable: bool = False, **details: Any) -> None:
        super().__init__(message, **details)
        self.peer_code = code
        self.status = status
        self.peer_retryable = retryable


def code_of(error: BaseException) -> str:
    """The stable code of any error; `internal_error` for one that is not ours."""
    if isinstance(error, PeerRefused):
        return error.peer_code
    return error.code if isinstance(error, TransferError) else TransferError.code


def is_retryable(error: BaseException) -> bool:
    """Whether sending the same thing again can help."""
    if isinstance(error, PeerRefused):
        return error.peer_retryable
    return isinstance(error, TransferError) and error.retryable


def recalled(
    code: str, message: str, details: Mapping[str, Any] | None = None, *, retryable: bool = False
) -> TransferError:
    """The error that another process has told by its code."""
    for kind in all_errors():
        if kind.code == code and kind is not PeerRefused:
            return kind(message, **(details or {}))
    rest = {name: value for name, value in (details or {}).items() if name not in ("code", "status", "retryable")}
    return PeerRefused(message, code=code, status=0, retryable=retryable, **rest)


def all_errors() -> Iterator[type[TransferError]]:
    """Every error class of ours; a kind that somebody makes of one for himself is none."""
    pending: list[type[TransferError]] = [TransferError]
    while pending:
        kind = pending.pop()
        if kind.__module__.startswith(__package__):
            yield kind
        pending.extend(kind.__subclasses__())
