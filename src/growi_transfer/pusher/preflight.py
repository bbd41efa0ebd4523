"""The preflight: what would move, what stands against it, and what the operator has to accept. Nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from growi_transfer.mongo.client import Database
from growi_transfer.mongo.collections import CollectionInfo, list_collections
from growi_transfer.mongo.inspection import database_free_bytes
from growi_transfer.mongo.wiki import (
    attachment_totals,
    count_active_users,
    feature_compatibility,
    read_configs,
    read_migrations,
)
from growi_transfer.protocol.compatibility import judge
from growi_transfer.protocol.errors import Incompatible
from growi_transfer.protocol.growi_config import InstanceConfig, merge
from growi_transfer.protocol.growi_info import attachment_info_of
from growi_transfer.protocol.growi_rules import UPLOAD_SETTING_KEYS
from growi_transfer.protocol.page_paths import check_pattern
from growi_transfer.protocol.source_facts import SourceFacts, UnsupportedCollection
from growi_transfer.protocol.wire import MergeRules, SetUp, SourceInfo
from growi_transfer.pusher.catalogue import partition
from growi_transfer.pusher.excluded_pages import ExcludedPages
from growi_transfer.pusher.growi_options import refuse_for_growi
from growi_transfer.pusher.inspection import Attachments, look_at_attachments, look_for_unstorable
from growi_transfer.pusher.line import Line, measure_line
from growi_transfer.pusher.merge_plan import find_conflicts, of_a_merge
from growi_transfer.pusher.options import PushOptions
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.plan import Report
from growi_transfer.storage.base import Storage

_PROBE = "preflight_probe"


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
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._storage = storage
        self._environment = environment
        self._version = version
        self._instance_id = instance_id
        self._clock = clock

    async def config(self) -> InstanceConfig:
        """The wiki's settings in force."""
        return merge(self._environment, await read_configs(self._database))

    async def run(self, peer: Peer, options: PushOptions) -> Report:
        """Compare this source with a destination. Raises Incompatible for what the destination
        cannot do, and SettingInvalid."""
        asked = self._clock()
        destination = await peer.growi_info()
        answered = self._clock()
        if destination.transfer is None:
            refuse_for_growi(options, self._version)
        elif options.merge is not None and not destination.has_feature("merge"):
            raise Incompatible("The destination's growi-transfer cannot merge; bring it up to date.")
        line = await measure_line(peer) if destination.has_feature(_PROBE) else Line()
        config = await self.config()
        collections = await list_collections(self._database)
        moving, left, unmovable = partition(collections, options.exclude_collections)
        excluded = ExcludedPages(self._database, options.exclude_paths)
        found, unstorable = await asyncio.gather(
            look_at_attachments(self._database, self._storage, excluded),
            look_for_unstorable(self._database, moving),
        )
        facts = SourceFacts(
            version=self._version,
            active_users=await count_active_users(self._database),
            file_upload_type=config.file_upload_type,
            attachment_bytes=(await attachment_totals(self._database))[1],
            with_attachments=found.documents > 0,
            storage=attachment_info_of(config, writable=False),
            password_seed_fingerprint=config.password_seed_fingerprint,
            local_login_enabled=config.local_login_enabled,
            instance_id=self._instance_id,
            is_replica_set=self._database.is_replica_set,
            mongo_version=self._database.version,
            feature_compatibility_version=await feature_compatibility(self._database),
            migrations=await read_migrations(self._database),
            unsupported_collections=tuple(UnsupportedCollection(info.name, info.kind) for info in unmovable),
            unknown_exclusions=tuple(sorted(set(options.exclude_collections) - {info.name for info in collections})),
            unstorable_count=unstorable[0],
            unstorable_documents=tuple(unstorable[1]),
            free_bytes=await database_free_bytes(self._database),
            clock_difference=beyond(destination.transfer.now if destination.transfer else None, asked, answered),
            refused_bytes=line.refused_bytes,
            merges=options.merge is not None,
            **_sizes(moving),
            **_about(found),
        )
        judgement = judge(facts, destination)
        conflicts = None
        if options.merge is not None:
            rules = MergeRules.model_validate(options.merge)
            conflicts = await find_conflicts(self._database, peer, rules, (info.name for info in moving))
            judgement = of_a_merge(judgement, conflicts)
        return Report(
            judgement=judgement,
            setup=self._setup(config, options),
            moving=tuple(moving),
            left=tuple(left),
            attachments=found,
            line=line,
            limit=options.bandwidth,
            destination=destination,
            checked_at=answered.isoformat(timespec="seconds"),
            conflicts=conflicts,
        )

    async def source(self) -> SourceInfo:
        """What the destination may know of this source, as it is now."""
        return self._source(await self.config())

    def _source(self, config: InstanceConfig) -> SourceInfo:
        return SourceInfo(
            version=self._version,
            mongo_version=self._database.version,
            password_seed_fingerprint=config.password_seed_fingerprint,
            file_upload_type=config.file_upload_type,
            instance_id=self._instance_id,
        )

    def _setup(self, config: InstanceConfig, options: PushOptions) -> SetUp:
        return SetUp(
            preset="replace" if options.merge is None else "merge",
            merge=None if options.merge is None else MergeRules.model_validate(options.merge),
            source=self._source(config),
            excluded_collections=tuple(sorted(set(options.exclude_collections))),
            excluded_paths=normal_paths(options),
            with_attachments=True,
            upload_settings={
                key: config.values[key] for key in UPLOAD_SETTING_KEYS if config.values.get(key) is not None
            },
        )


def normal_paths(options: PushOptions) -> tuple[str, ...]:
    """The excluded page paths as they stand in a set-up. Raises PagePatternInvalid."""
    return tuple(sorted({check_pattern(pattern) for pattern in options.exclude_paths}))


def beyond(now: float | None, asked: datetime, answered: datetime) -> float:
    """Seconds by which another clock is before the moment it was asked, or after that of its answer; else 0."""
    if now is None:
        return 0.0
    return min(0.0, now - asked.timestamp()) + max(0.0, now - answered.timestamp())


def _sizes(moving: list[CollectionInfo]) -> dict[str, Any]:
    return {
        "document_bytes": sum(info.bytes for info in moving),
        "document_disk_bytes": sum(info.disk_bytes for info in moving),
        "index_bytes": sum(info.index_bytes for info in moving),
    }


def _about(found: Attachments) -> dict[str, Any]:
    return {
        "missing_files": tuple(found.missing.names),
        "missing_file_count": found.missing.count,
        "illegal_names": tuple(found.illegal.names),
        "illegal_name_count": found.illegal.count,
        "duplicate_names": tuple(found.duplicates.names),
        "duplicate_name_count": found.duplicates.count,
        "orphans": tuple(found.orphans.names),
        "orphan_count": found.orphans.count,
        "orphan_bytes": found.orphans.bytes,
        "other_sizes": tuple(found.other_size.names),
        "other_size_count": found.other_size.count,
        "stored_twice": tuple(found.stored_twice.names),
        "stored_twice_count": found.stored_twice.count,
        "older_copies": found.stored_twice.bytes,
        "file_bytes": found.moving.bytes,
    }
