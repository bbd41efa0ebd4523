"""A wiki's database as the archive that GROWI's own importer takes (its "Import Archived Data")."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from growi_transfer.archive.growi_archive import GrowiArchiveWriter, GrowiMeta
from growi_transfer.archive.sink import new_file
from growi_transfer.mongo.client import Database, Snapshot
from growi_transfer.mongo.collections import CollectionInfo, list_collections
from growi_transfer.mongo.ranges import batch_documents, read
from growi_transfer.mongo.wiki import read_configs
from growi_transfer.protocol.errors import (
    BsonInvalid,
    CursorLost,
    DatabaseRefused,
    SettingInvalid,
    SnapshotExpired,
    SourceChanged,
)
from growi_transfer.protocol.growi_config import SETTINGS, merge
from growi_transfer.protocol.growi_transferable import is_growi_transferable
from growi_transfer.pusher.export_watch import EVERYTHING, ExportWatch, Wanted


class GrowiExporter:
    """Exports one wiki. `environment`: GROWI's variables; `version`: GROWI's, None where it is not known."""

    def __init__(
        self,
        *,
        database: Database,
        environment: Mapping[str, str],
        version: str | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._environment = environment
        self._version = version
        self._clock = clock

    async def run(self, path: Path, *, wanted: Wanted = EVERYTHING, digest: bool = False) -> dict[str, Any]:
        """Write a new archive, whole or not at all, at one moment where the source has snapshots.

        It has every wanted collection that GROWI's own export would have. What cannot be had is told to the watch,
        which decides. Raises SettingInvalid when GROWI's version is not
        known, because GROWI takes only an archive of its very own version; SourceChanged, BsonInvalid,
        InsufficientSpace, and the database's errors.
        """
        if self._version is None:
            raise SettingInvalid(
                "GROWI takes only an archive of its own version: set GROWI_VERSION.", setting="GROWI_VERSION"
            )
        found = await list_collections(self._database)
        moving = [
            info for info in found if info.kind != "view" and is_growi_transferable(info.name) and wanted.has(info.name)
        ]
        snapshot = self._database.snapshot("growi-export")
        wanted.watch.planned(
            documents=sum(info.documents for info in moving), size=sum(info.bytes for info in moving), files=0
        )
        size = 0
        written = []
        async with new_file(path, digest=digest) as sink:
            writer = GrowiArchiveWriter(sink)
            for info in moving:
                try:
                    await writer.add_collection(info.name, self._batches(info, snapshot, wanted.watch))
                except (BsonInvalid, DatabaseRefused) as error:
                    wanted.watch.failed(info.name, "collection", error)
                    continue
                except (SnapshotExpired, CursorLost) as error:
                    raise SourceChanged(
                        f"{info.name} could not be read at one moment; try again when the wiki is at rest."
                    ) from error
                size += info.bytes
                written.append(info)
            await writer.finish(await self._meta())
        return {
            "format": "growi",
            "collections": len(written),
            "names": [info.name for info in written],
            "documents": sum(writer.documents.values()),
            "bytes": size,
            "not_exported": sorted(info.name for info in found if info not in written),
            **({"sha256": sink.sha256} if digest else {}),
        }

    async def _batches(
        self, info: CollectionInfo, snapshot: Snapshot | None, watch: ExportWatch
    ) -> AsyncIterator[bytes]:
        capped = info.kind == "capped"
        async for batch in read(
            self._database,
            info.name,
            per_batch=batch_documents(info.documents, info.bytes),
            snapshot=None if capped else snapshot,
            natural=capped,
        ):
            raw = b"".join(batch)
            yield raw
            watch.advanced(documents=len(batch), size=len(raw))

    async def _meta(self) -> GrowiMeta:
        config = merge(self._environment, await read_configs(self._database))
        moment = self._clock().astimezone(UTC)
        return GrowiMeta(
            version=self._version or "",
            url=config.app_site_url or "",
            exported_at=f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z",
            env_vars={
                setting.environment: self._environment[setting.environment]
                for setting in SETTINGS
                if setting.environment and not setting.secret and setting.environment in self._environment
            },
        )
