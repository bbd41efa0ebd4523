"""Tells whoever watches a transfer that one side does not answer, and that it does again."""

from __future__ import annotations

from growi_transfer.ledger.base import Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.protocol.errors import TransferError, code_of
from growi_transfer.protocol.progress import Noted, Notice, WarningLifted, WarningRaised

DESTINATION_AWAY = "destination_away"
SOURCE_AWAY = "source_away"
_TELL_AFTER = 2.0
"""Seconds. What is shorter is no news."""


class Outage:
    """The warning of one side of one transfer: `away` and `back` are what a `Retry` tells."""

    def __init__(self, board: ProgressBoard, transfer_id: str, code: str, side: str, patience: float) -> None:
        self._board = board
        self._id = transfer_id
        self._code = code
        self._side = side
        self._patience = patience
        self._told = False
        # A process that was killed could not take it back.
        self._apply_lifted()

    def away(self, error: TransferError, seconds: float) -> None:
        """The side has been away for so long."""
        if self._told or seconds < _TELL_AFTER:
            return
        self._told = True
        text = f"{self._side} does not answer; the transfer goes on when it is back. ({error.message})"
        details = {"reason": code_of(error), "patience_seconds": round(self._patience)}
        self._board.apply(Role.PUSHER, self._id, WarningRaised(Notice(self._code, text, details)))

    def back(self) -> None:
        """It answers."""
        if self._told:
            self._told = False
            self._apply_lifted()
            text = f"{self._side} is back."
            self._board.apply(Role.PUSHER, self._id, Noted(self._code.replace("_away", "_back"), text))

    def _apply_lifted(self) -> None:
        self._board.apply(Role.PUSHER, self._id, WarningLifted(self._code))
