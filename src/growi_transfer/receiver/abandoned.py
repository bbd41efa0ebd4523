"""Imports of whole archives that nobody goes on with: what they came from died with the process that read it.

A transfer of our own waits for its source, which comes back. An archive was read by one process, from a file or a
request, and whoever wants it imports it again.
"""

from __future__ import annotations

from typing import Any

from growi_transfer.ledger.base import TransferRow
from growi_transfer.ledger.process import is_gone, process_name
from growi_transfer.protocol.machine import FINISHED
from growi_transfer.receiver.transfers import GROWI_KEY

BROUGHT_IN_BY = "brought_in_by"
"""Fact of an import under way: which process is at it, and whether that is the server."""


def by_this_process(*, server: bool) -> dict[str, Any]:
    """The facts of an import that begins here."""
    return {BROUGHT_IN_BY: {"process": process_name(), "server": server}}


def is_abandoned(row: TransferRow, *, starting: bool = False) -> bool:
    """Whether an import is under way by nobody. `starting`: this is the server, which has just begun, so that no other
    server is at it, whatever machine it was on."""
    if row.position.state in FINISHED:
        return False
    by = row.facts.get(BROUGHT_IN_BY)
    by = by if isinstance(by, dict) else {}
    of_a_server = bool(by.get("server") or row.facts.get(GROWI_KEY))
    return (starting and of_a_server) or is_gone(str(by.get("process")))
