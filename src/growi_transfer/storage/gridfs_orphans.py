"""Chunks in GridFS without a files document, as a server that was killed leaves them: found by their index, in flat
memory.

Whose they were cannot be told, but that nobody finishes them can: no upload of ours has noted them, and the newest
chunk is old. Its age stands in its `_id`, an ObjectId with GROWI and with us; chunks with other ids are left alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

from bson import ObjectId

from growi_transfer.storage.base import Leftover
from growi_transfer.storage.gridfs_bucket import CHUNKS, STATE, Bucket

_PAGE = 1000
_FIRST = ObjectId(bytes(12))


class OrphanChunks:
    """The `Leftovers` of a bucket; a leftover is named by its `files_id`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def leftovers(self, older_than: timedelta) -> AsyncIterator[list[Leftover]]:
        after: dict[str, Any] = {"$gte": _FIRST}
        while True:
            # Only keys of the index are read; a large file is left after one page of its chunks.
            command = {"find": CHUNKS, "filter": {"files_id": after}, "projection": {"_id": 0, "files_id": 1}}
            order = {"sort": {"files_id": 1, "n": 1}, "limit": _PAGE, "batchSize": _PAGE, "singleBatch": True}
            reply = await self._bucket.run({**command, **order})
            ids = list(dict.fromkeys(chunk["files_id"] for chunk in reply["cursor"]["firstBatch"]))
            if not ids:
                return
            found = await self._abandoned(ids, older_than)
            if found:
                yield found
            after = {"$gt": ids[-1]}

    async def remove_leftovers(self, names: Sequence[str], older_than: timedelta) -> set[str]:
        removed: set[str] = set()
        ids = [ObjectId(name) for name in names if ObjectId.is_valid(name)]
        for start in range(0, len(ids), _PAGE):
            found = [one.name for one in await self._abandoned(ids[start : start + _PAGE], older_than)]
            await self._bucket.remove_orphans([ObjectId(name) for name in found])
            removed.update(found)
        return removed

    async def _abandoned(self, ids: Sequence[ObjectId], older_than: timedelta) -> list[Leftover]:
        """Those of these ids whose chunks nobody finishes."""
        orphans = await self._bucket.without_file(ids)
        if not orphans:
            return []
        query = {"$or": [{"ids": {"$in": orphans}}, {"files_id": {"$in": orphans}}]}
        reply = await self._bucket.run({"find": STATE, "filter": query, "singleBatch": True, "batchSize": 10_000})
        for state in reply["cursor"]["firstBatch"]:
            noted = {*state.get("ids", ()), state.get("files_id")}
            orphans = [one for one in orphans if one not in noted]
        size = {"$cond": [{"$eq": [{"$type": "$data"}, "binData"]}, {"$binarySize": "$data"}, 0]}
        group = {"_id": "$files_id", "size": {"$sum": size}, "newest": {"$max": "$_id"}}
        pipeline = [{"$match": {"files_id": {"$in": orphans}}}, {"$group": group}, {"$sort": {"_id": 1}}]
        reply = await self._bucket.run({"aggregate": CHUNKS, "pipeline": pipeline, "cursor": {"batchSize": _PAGE}})
        # The server's clock, which those who write GROWI's chunks are next to.
        now = (await self._bucket.run({"hello": 1}))["localTime"].timestamp()
        found: list[Leftover] = []
        for row in reply["cursor"]["firstBatch"]:
            newest = row["newest"]
            if isinstance(newest, ObjectId):
                modified = newest.generation_time.timestamp()
                if modified < now - older_than.total_seconds():
                    found.append(Leftover(str(row["_id"]), int(row["size"]), modified))
        return found
