"""The preflight: what would move, what stands against it, and what the operator has to accept. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import bson

from growi_transfer.mongo.client import DECODED, Database
from growi_transfer.mongo.collections import CollectionInfo, list_collections
from growi_transfer.mongo.wiki import (
    attachment_totals,
    count_active_users,
    feature_compatibility,
    read_configs,
    read_migrations,
)
from growi_transfer.protocol.compatibility import judge
from growi_transfer.protocol.errors import NameIllegal
from growi_transfer.protocol.findings import SHOWN, Judgement
from growi_transfer.protocol.growi_config import InstanceConfig, merge
from growi_transfer.protocol.growi_info import GrowiInfo
from growi_transfer.protocol.growi_rules import UPLOAD_SETTING_KEYS
from growi_transfer.protocol.names import attachment_path
from growi_transfer.protocol.source_facts import SourceFacts, UnsupportedCollection
from growi_transfer.protocol.wire import PLAN_FILES, SetUp, SourceInfo
from growi_transfer.pusher.catalogue import Left, partition
from growi_transfer.pusher.options import PushOptions
from growi_transfer.storage.base import Storage


@dataclass(frozen=True, slots=True)
class Report:
    """What a preflight found. `setup` is what a transfer under these options would be."""

    judgement: Judgement
    setup: SetUp
    moving: tuple[CollectionInfo, ...]
    left: tuple[Left, ...]
    files: int
    file_bytes: int
    missing_files: int
    destination: GrowiInfo

    def to_json(self) -> dict[str, Any]:
        """For the web and the command line; sizes are the server's estimates until the transfer has counted."""
        return {
            **self.judgement.to_json(),
            "counts": {
                "collections": len(self.moving),
                "documents": sum(info.documents for info in self.moving),
                "document_bytes": sum(info.bytes for info in self.moving),
                "attachments": self.files,
                "attachment_bytes": self.file_bytes,
                "attachments_missing": self.missing_files,
            },
            "collections": [
                {"name": info.name, "kind": info.kind, "documents": info.documents, "bytes": info.bytes}
                for info in self.moving
            ],
            "not_moving": [{"name": left.name, "reason": left.reason} for left in self.left],
            "destination": self.destination.to_json(),
        }


class Preflight:
    """Looks at one source. `environment`: GROWI's variables; `version`: GROWI's, as far as it is known."""

    def __init__(
        self,
        *,
        database: Database,
        storage: Storage,
        environment: Mapping[str, str],
        version: str | None,
        instance_id: str,
    ) -> None:
        self._database = database
        self._storage = storage
        self._environment = environment
        self._version = version
        self._instance_id = instance_id

    async def config(self) -> InstanceConfig:
        """The wiki's settings in force."""
        return merge(self._environment, await read_configs(self._database))

    async def run(self, destination: GrowiInfo, options: PushOptions) -> Report:
        """Compare this source with a destination."""
        config = await self.config()
        found = await list_collections(self._database)
        moving, left, unmovable = partition(found, options.exclude_collections)
        files, announced = await attachment_totals(self._database)
        there, missing, names = await self._look_at_files()
        facts = SourceFacts(
            version=self._version,
            active_users=await count_active_users(self._database),
            file_upload_type=config.file_upload_type,
            attachment_bytes=announced,
            with_attachments=files > 0,
            password_seed_fingerprint=config.password_seed_fingerprint,
            local_login_enabled=config.local_login_enabled,
            instance_id=self._instance_id,
            is_replica_set=self._database.is_replica_set,
            mongo_version=self._database.version,
            feature_compatibility_version=await feature_compatibility(self._database),
            migrations=await read_migrations(self._database),
            unsupported_collections=tuple(UnsupportedCollection(info.name, info.kind) for info in unmovable),
            missing_files=tuple(names),
            missing_file_count=missing,
        )
        return Report(
            judgement=judge(facts, destination),
            setup=self._setup(config, options, with_attachments=files > 0),
            moving=tuple(moving),
            left=tuple(left),
            files=files,
            file_bytes=there,
            missing_files=missing,
            destination=destination,
        )

    def _setup(self, config: InstanceConfig, options: PushOptions, *, with_attachments: bool) -> SetUp:
        return SetUp(
            source=SourceInfo(
                version=self._version,
                mongo_version=self._database.version,
                password_seed_fingerprint=config.password_seed_fingerprint,
                file_upload_type=config.file_upload_type,
                instance_id=self._instance_id,
            ),
            excluded_collections=tuple(sorted(set(options.exclude_collections))),
            with_attachments=True,
            upload_settings={
                key: config.values[key] for key in UPLOAD_SETTING_KEYS if config.values.get(key) is not None
            },
        )

    async def _look_at_files(self) -> tuple[int, int, list[str]]:
        """Bytes of the files that are there, how many are not, and the names of the first of those."""
        size = missing = 0
        names: list[str] = []
        paths: list[str] = []

        async def look() -> None:
            nonlocal size, missing
            for path, found in zip(paths, await self._storage.stat_many(paths), strict=True):
                if found is not None:
                    size += found.size
                    continue
                missing += 1
                if len(names) < SHOWN:
                    names.append(path.partition("/")[2])
            paths.clear()

        async for batch in self._database.raw_batches(
            "attachments", batch_documents=PLAN_FILES, projection={"page": 1, "fileName": 1}
        ):
            for document in batch:
                value = bson.decode(document, DECODED)
                try:
                    paths.append(attachment_path(value.get("fileName"), has_page=value.get("page") is not None))
                except NameIllegal:
                    missing += 1
                    if len(names) < SHOWN:
                        names.append(repr(value.get("fileName"))[:80])
                if len(paths) >= PLAN_FILES:
                    await look()
        await look()
        return size, missing, names[:SHOWN]
