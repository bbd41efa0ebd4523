"""What an export tells whoever wants to know how far it is, and asks when something cannot be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from growi_transfer.protocol.errors import TransferError


class ExportWatch(Protocol):
    """Called from the export's task; must not wait."""

    def planned(self, *, documents: int, size: int, files: int) -> None:
        """What there is, as far as the database tells without reading it; `size` is of documents and files together."""

    def advanced(self, *, documents: int = 0, size: int = 0, files: int = 0) -> None:
        """So much more is in the archive. May raise, which ends the export."""

    def failed(self, item: str, kind: str, error: TransferError) -> None:
        """A `collection` or a `file` cannot be had. Raises the error, or returns: then the archive is made without."""


class Unwatched:
    """Nobody looks, and the first error ends the export."""

    def planned(self, *, documents: int, size: int, files: int) -> None:
        """Nobody looks."""

    def advanced(self, *, documents: int = 0, size: int = 0, files: int = 0) -> None:
        """Nobody looks."""

    def failed(self, item: str, kind: str, error: TransferError) -> None:
        raise error


UNWATCHED: ExportWatch = Unwatched()


class Unasked(Unwatched):
    """For a second look: what cannot be had was told at the first one."""

    def failed(self, item: str, kind: str, error: TransferError) -> None:
        """It was told."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part of a wiki goes into an archive, and who is told of it."""

    watch: ExportWatch = UNWATCHED
    exclude: Sequence[str] = ()
    only: Sequence[str] | None = None
    """Names of the collections; None: all that move."""

    def has(self, name: str) -> bool:
        """Whether a collection was asked for."""
        return name not in self.exclude and (self.only is None or name in self.only)


EVERYTHING = Wanted()
