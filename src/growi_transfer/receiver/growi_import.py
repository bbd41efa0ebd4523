"""An archive that a GROWI made (its "Export Archive Data"), brought in like any other transfer.

The collections of the archive replace those of the wiki; what the archive does not have stays as it is, the files too,
because such an archive has none. Options and indexes are those of the wiki's own collections, as GROWI's import leaves
them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from growi_transfer.archive.growi_archive import GrowiArchive, open_growi_archive
from growi_transfer.mongo.client import Database
from growi_transfer.mongo.collections import CollectionInfo, list_collections, to_metadata
from growi_transfer.protocol.errors import ArchiveInvalid, CollectionKindUnsupported, VersionIncompatible
from growi_transfer.protocol.names import is_operating_state
from growi_transfer.protocol.wire import Collection, PutTransfer, SetUp, SourceInfo
from growi_transfer.receiver.archive_import import Receiver, bring_in

_PLAIN_KINDS = ("collection", "clustered")


async def import_growi_archive(
    receiver: Receiver,
    database: Database,
    path: Path,
    transfer_id: str,
    *,
    version: str | None,
    commit: bool = True,
) -> dict[str, Any]:
    """Bring an archive in under a new transfer id; on any error the destination is left as it was.

    `version`: this wiki's GROWI, None where it is not known. The answer has `ignored`, what of the archive was not
    brought in, `losses`, how many values had a type that the format cannot carry, and `duplicates` (see `bring_in`).
    Raises VersionIncompatible,
    ArchiveInvalid, JsonInvalid, BsonInvalid, CollectionKindUnsupported, DestinationBusy, and what staging raises.
    """
    async with open_growi_archive(path) as archive:
        if version is not None and archive.meta.version != version:
            raise VersionIncompatible(
                "The version of this GROWI and the uploaded GROWI data are not the same",
                here=version,
                archive=archive.meta.version[:80],
            )
        here = {info.name: info for info in await list_collections(database)}
        names = [name for name in archive.collections if not is_operating_state(name)]
        if not names:
            raise ArchiveInvalid("The archive has no collection that could be brought in.")
        counted = _Losses(archive)
        body = PutTransfer(
            setup=SetUp(
                preset="growi",
                modes=dict.fromkeys(names, "flushAndInsert"),
                source=SourceInfo(version=archive.meta.version[:2000]),
                with_attachments=False,
            ),
            collections=tuple(declared(number, name, here, archive) for number, name in enumerate(names)),
        )
        answer = await bring_in(
            receiver, transfer_id, body, counted.documents, no_files, commit=commit, keep_first=True
        )
        ignored = [*archive.ignored, *(name for name in archive.collections if name not in names)]
        return {**answer, "ignored": ignored, "losses": dict(counted.found)}


async def no_files() -> int:
    """Such an archive has none."""
    return 0


def declared(number: int, name: str, here: Mapping[str, CollectionInfo], archive: GrowiArchive) -> Collection:
    """A collection of the archive as it is staged. Raises CollectionKindUnsupported."""
    info = here.get(name)
    if info is not None and info.kind not in _PLAIN_KINDS:
        raise CollectionKindUnsupported(
            f"{name} is of a kind here ({info.kind}) that an archive of GROWI's cannot replace.", collection=name
        )
    return Collection(
        number=number,
        name=name,
        kind="clustered" if info is not None and info.kind == "clustered" else "collection",
        metadata=to_metadata(
            info.options if info is not None else {},
            info.indexes if info is not None else ({"v": 2, "key": {"_id": 1}, "name": "_id_"},),
        ),
        bytes=archive.size_of(name),
    )


class _Losses:
    """Gives the documents of an archive, and counts what its format had to leave out."""

    def __init__(self, archive: GrowiArchive) -> None:
        self._archive = archive
        self.found: Counter[str] = Counter()

    async def documents(self, collection: str) -> AsyncIterator[Sequence[bytes]]:
        async for batch in self._archive.documents(collection, self.found):
            yield batch
