"""What a watch link shows of a transfer. Only what is named here is shown: what is new is let in on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHOWN = (
    "id",
    "role",
    "dialect",
    "state",
    "mongo",
    "attachments",
    "documents",
    "bytes",
    "files",
    "rate",
    "eta_seconds",
    "activity",
    "lag",
    "interrupted",
)
_FAILURE = ("kind", "code", "tries", "retryable")
"""Without the file's name, which the message repeats."""
_WARNING = ("code", "message")
"""Without `details`: they may name users, groups, pages."""


def watcher_shape(shape: Mapping[str, Any]) -> dict[str, Any]:
    """The public shape of a transfer, for a person who is not an admin."""
    shown: dict[str, Any] = {name: shape[name] for name in SHOWN if name in shape}
    shown["failures"] = [_only(_FAILURE, one) for one in shape["failures"]]
    if (activity := shown.get("activity")) is not None:
        shown["activity"] = {**activity, "sending": [_unnamed(one) for one in activity["sending"]]}
    shown["warnings"] = [_only(_WARNING, one) for one in shape["warnings"]]
    return shown


def _unnamed(sending: Mapping[str, Any]) -> dict[str, Any]:
    """Something on its way: a collection has its name, files have none."""
    return {name: value for name, value in sending.items() if name != "item" or sending["kind"] == "volume"}


def _only(names: tuple[str, ...], value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value[name] for name in names if name in value}
