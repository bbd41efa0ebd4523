"""GROWI's maintenance mode, as its database has it: the document `app:isMaintenanceMode` of `configs`.

`configs` documents are {key (unique), value (JSON text), createdAt, updatedAt, __v}. GROWI reads them at its start and
keeps them; a running one notices a change made here when it is restarted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from growi_transfer.mongo.client import Database
from growi_transfer.protocol.errors import DatabaseRefused
from growi_transfer.protocol.growi_rules import MAINTENANCE_KEY

ON = "true"


async def read_mode(database: Database) -> str | None:
    """The setting's JSON text; None when there is none, which GROWI takes for off."""
    found = await database.find("configs", {"key": MAINTENANCE_KEY}, {"value": 1}, limit=1)
    value = found[0].get("value") if found else None
    return value if isinstance(value, str) else None


async def write_mode(database: Database, value: str | None, now: datetime) -> None:
    """Set it, durably; None takes the setting away. Twice has one effect."""
    chosen = {"key": MAINTENANCE_KEY}
    if value is None:
        command: dict[str, Any] = {"delete": "configs", "deletes": [{"q": chosen, "limit": 1}]}
    else:
        change = {"$set": {"value": value, "updatedAt": now}, "$setOnInsert": {"createdAt": now, "__v": 0}}
        command = {"update": "configs", "updates": [{"q": chosen, "u": change, "upsert": True}]}
    reply = await database.command(command, majority=True)
    for error in reply.get("writeErrors", ()):
        code = int(error["code"])
        raise DatabaseRefused(f"MongoDB refuses the maintenance mode (code {code}).", code=code, code_name="")
