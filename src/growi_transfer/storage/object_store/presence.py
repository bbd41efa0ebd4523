"""Which of many objects are there, with as few requests as that takes.

A listing tells a thousand objects in one request, a HEAD one of them. So a folder is listed as long as it may have
few more objects than are asked about, as that of a new bucket does, and its objects are asked for one by one when it
turns out to have more.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from growi_transfer.storage.object_store.bucket import PAGE, Bucket, Found

_FEW = 40
"""So many objects are asked for at once in the time of one listing."""
_EACH = 4
"""Objects that are listed at most for each one that is asked about: measured on SeaweedFS, a HEAD takes as long as the
listing of ten, and where stores are far away requests one after the other take longer than that."""


class Presence:
    """Looks at one bucket. Remembers which folders are too large to be listed."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._at_least: dict[str, int] = {}
        """Objects that a folder is known to have had."""

    async def look(self, paths: Sequence[str]) -> list[Found | None]:
        """For each path, in order: the object, or None when there is none."""
        folders: defaultdict[str, list[str]] = defaultdict(list)
        for path in dict.fromkeys(paths):
            folders[path[: path.rfind("/") + 1]].append(path)
        found: dict[str, Found | None] = {}
        for looked in await asyncio.gather(*(self._in_folder(folder, some) for folder, some in folders.items())):
            found |= looked
        return [found[path] for path in paths]

    async def _in_folder(self, folder: str, paths: list[str]) -> dict[str, Found | None]:
        found: dict[str, Found | None] = {}
        most = max(PAGE, _EACH * len(paths))
        if len(paths) > _FEW and self._at_least.get(folder, 0) <= most:
            wanted, seen = set(paths), 0
            async for page in self._bucket.pages(folder):
                found |= {one.path: one for one in page if one.path in wanted}
                seen += len(page)
                if seen > most:
                    break
            else:
                return {path: found.get(path) for path in paths}
            self._at_least[folder] = seen
        left = [path for path in paths if path not in found]
        heads = await asyncio.gather(*(self._bucket.head(path) for path in left))
        return found | dict(zip(left, heads, strict=True))
