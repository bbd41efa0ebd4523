"""What this instance says about itself in `growi-info`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from growi_transfer.mongo.client import Database
from growi_transfer.mongo.inspection import database_space
from growi_transfer.mongo.wiki import (
    attachment_totals,
    count_loginable_admins,
    count_wiki,
    feature_compatibility,
    read_configs,
    read_migrations,
)
from growi_transfer.protocol import wire
from growi_transfer.protocol.errors import TransferError
from growi_transfer.protocol.growi_config import merge
from growi_transfer.protocol.growi_info import DestinationCounts, GrowiInfo, TransferBlock, attachment_info_of
from growi_transfer.storage.base import Storage

FEATURES = ("volumes", "bundles", "resumable_uploads", "rollback", "archive_import", "preflight_probe", "merge")


class InstanceInfo:
    """Makes the document anew each time: the storage is really tried, and the counts are of now."""

    def __init__(
        self,
        *,
        database: Database,
        storage: Storage,
        environment: Mapping[str, str],
        version: str | None,
        instance_id: str,
        clock: Callable[[], datetime],
        features: tuple[str, ...] = (),
    ) -> None:
        """`features`: those that depend on the storage."""
        self._database = database
        self._storage = storage
        self._environment = environment
        self._version = version
        self._instance_id = instance_id
        self._clock = clock
        self._features = (*FEATURES, *features)

    async def __call__(self) -> dict[str, Any]:
        """The `growiInfo` document, without its envelope."""
        return (await self.read()).to_json()

    async def read(self) -> GrowiInfo:
        """Ask the database and the storage. Raises the database's errors; a storage that fails is `writable: false`."""
        config = merge(self._environment, await read_configs(self._database))
        counts = await count_wiki(self._database)
        free, taken = await database_space(self._database)
        return GrowiInfo(
            user_upper_limit=config.user_upper_limit,
            file_upload_disabled=config.file_upload_disabled,
            file_upload_total_limit=config.file_upload_total_limit,
            version=self._version or "",
            attachment_info=attachment_info_of(config, writable=await self._is_writable()),
            destination_counts=DestinationCounts(
                users=counts.users, user_groups=counts.user_groups, pages=counts.pages
            ),
            password_seed_fingerprint=config.password_seed_fingerprint,
            loginable_admin_count=await count_loginable_admins(self._database),
            session_store_supports_enumeration=False,
            transfer=TransferBlock(
                protocol=wire.PROTOCOL,
                features=self._features,
                limits={
                    "volume_bytes": wire.VOLUME_LIMIT,
                    "bundle_bytes": wire.BUNDLE_LIMIT,
                    "bundle_files": wire.BUNDLE_FILES,
                    "plan_files": wire.PLAN_FILES,
                    "chunk_bytes": wire.CHUNK_BYTES,
                },
                instance_id=self._instance_id,
                mongo_version=self._database.version,
                feature_compatibility_version=await feature_compatibility(self._database),
                migrations=await read_migrations(self._database),
                free_bytes=await self._free_bytes(),
                database_free_bytes=free,
                database_bytes=taken,
                attachment_bytes=(await attachment_totals(self._database))[1],
                now=self._clock().timestamp(),
                unset_acl=self._storage.features.unset_acl,
            ),
        )

    async def _is_writable(self) -> bool:
        try:
            await self._storage.probe()
        except TransferError:
            return False
        return True

    async def _free_bytes(self) -> int | None:
        try:
            return await self._storage.free_bytes()
        except TransferError:
            return None
