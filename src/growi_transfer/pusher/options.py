"""What an operator may choose for one push."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from growi_transfer.ledger.base import TransferRow
from growi_transfer.protocol.wire import MergeRules


@dataclass(frozen=True, slots=True)
class PushOptions:
    """How a transfer runs. `volumes`, `attachments` and `bandwidth` may change while it runs; the rest may not."""

    volumes: int | None = None
    """Database volumes in flight; None adapts the number to the line."""
    attachments: int | None = None
    """Attachment requests in flight; None adapts the number to the line."""
    bandwidth: int | None = None
    """Bytes per second over the line; None is as fast as it goes."""
    deflate: bool | None = None
    """Whether volumes are deflated; None decides by the measured speed of the line."""
    patience: float = 300.0
    """Seconds for which either side may be away, with no request succeeding, before the transfer fails."""
    exclude_collections: tuple[str, ...] = ()
    exclude_paths: tuple[str, ...] = ()
    """Patterns of page paths whose attachments' files stay behind; syntax in `protocol.page_paths`."""
    accept_warnings: tuple[str, ...] = ()
    """Codes of the preflight's warnings under which the transfer may go on."""
    accept_all: bool = False
    deep: bool = False
    """Whether the destination reads every stored file again and hashes it before the data count as verified."""
    commit: bool = True
    """False stops at `ready`: verified, with the destination still showing its former data."""
    merge: Mapping[str, Any] | None = None
    """The JSON of a `MergeRules`: the wiki is merged into the destination's instead of replacing it."""
    follow: bool = False
    """Go on catching up with the source until a commit is ordered; the order sets this to False."""
    freeze: bool = False
    """Set the source's maintenance mode for the last pass and the commit."""
    attachments_first: bool = False
    """Send the files before the documents; otherwise both go at once."""


FILE_WARNINGS = ("attachment_file_missing", "name_illegal")
"""Warnings of the preflight under which single files stay behind."""


def accepts_file(options: PushOptions, code: str) -> bool:
    """Whether a file that cannot be sent for this reason may stay behind. All warnings together are those that were
    shown before: a fault that comes up later has to be accepted by its name."""
    return code in options.accept_warnings or (options.accept_all and code in FILE_WARNINGS)


def wanted_merge(options: PushOptions) -> dict[str, Any] | None:
    """The rules of a merge as they stand in a set-up. Raises ValueError for rules that are none."""
    if options.merge is None:
        return None
    return MergeRules.model_validate(options.merge).model_dump(mode="json")


def options_of(row: TransferRow) -> PushOptions:
    """The options a transfer runs with."""
    stored: Mapping[str, Any] = row.facts.get("options", {})
    known = {name: stored[name] for name in PushOptions.__dataclass_fields__ if name in stored}
    for name in ("exclude_collections", "exclude_paths", "accept_warnings"):
        if name in known:
            known[name] = tuple(known[name])
    return PushOptions(**known)
