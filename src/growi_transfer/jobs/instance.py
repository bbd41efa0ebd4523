"""What an admin is shown of this instance itself: versions, database, storage, limits, address.

Asked for anew each time. A part that does not answer is told as such and never hides the others: an admin opens this
page when something is wrong.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from growi_transfer.mongo.client import Database
from growi_transfer.mongo.inspection import database_free_bytes
from growi_transfer.mongo.wiki import attachment_totals, count_active_users, count_wiki, read_configs
from growi_transfer.protocol.errors import TransferError, code_of
from growi_transfer.protocol.growi_config import merge
from growi_transfer.storage.base import Storage


class InstanceSummary:
    """Makes the summary. `origin` is the address that keys lead to; `origin_is_set`: a person named it."""

    def __init__(
        self,
        *,
        database: Database,
        storage: Storage,
        environment: Mapping[str, str],
        growi_version: str | None,
        instance_id: str,
        origin: str | None,
        origin_is_set: bool,
        retention: timedelta,
    ) -> None:
        self._database = database
        self._storage = storage
        self._environment = environment
        self._growi_version = growi_version
        self._instance_id = instance_id
        self._origin = origin
        self._origin_is_set = origin_is_set
        self._retention = retention

    async def __call__(self) -> dict[str, Any]:
        """The summary as docs/protocol.md has it. Raises DatabaseUnavailable: without the database nothing works."""
        configs = merge(self._environment, await read_configs(self._database))
        counts, active, (files, file_bytes) = await asyncio.gather(
            count_wiki(self._database), count_active_users(self._database), attachment_totals(self._database)
        )
        fault = await self._fault_of_storage()
        return {
            "instance_id": self._instance_id,
            "growi_version": self._growi_version,
            "title": configs.app_title,
            "maintenance_mode": configs.maintenance_mode,
            "retention_seconds": round(self._retention.total_seconds()),
            "origin": {
                "url": self._origin,
                "is_set": self._origin_is_set,
                "only_this_machine": self._origin is not None and _is_loopback(self._origin),
            },
            "database": {
                "name": self._database.name,
                "mongo_version": self._database.version,
                "replica_set": self._database.is_replica_set,
                "free_bytes": await database_free_bytes(self._database),
                "pages": counts.pages,
                "users": counts.users,
                "groups": counts.user_groups,
            },
            "storage": {
                "type": configs.file_upload_type,
                "writable": fault is None,
                "fault": fault,
                "free_bytes": await self._free_bytes(),
                "attachments": files,
                "bytes": file_bytes,
            },
            "limits": {
                "active_users": active,
                "users": configs.user_upper_limit,
                "attachment_bytes": configs.file_upload_total_limit,
                "file_bytes": configs.max_file_size,
                "uploads_disabled": configs.file_upload_disabled,
            },
        }

    async def _fault_of_storage(self) -> dict[str, str] | None:
        try:
            await self._storage.probe()
        except TransferError as error:
            return {"code": code_of(error), "message": error.message}
        return None

    async def _free_bytes(self) -> int | None:
        try:
            return await self._storage.free_bytes()
        except TransferError:
            return None


def _is_loopback(origin: str) -> bool:
    host = urlsplit(origin).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
