"""Which attachments the operator left out: those of pages whose path matches one of his patterns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson import ObjectId

from growi_transfer.mongo.client import Database
from growi_transfer.mongo.inspection import page_paths
from growi_transfer.protocol.page_paths import PagePatterns

EXCLUDED = "excluded"
"""Reason of the rows of files that are left out."""


class ExcludedPages:
    """The join of attachments with the paths of their pages, one query for each page of attachments."""

    def __init__(self, database: Database, patterns: Sequence[str]) -> None:
        self._database = database
        self._patterns = PagePatterns(patterns)

    async def among(self, attachments: Sequence[Mapping[str, Any]]) -> set[ObjectId]:
        """Ids of the excluded pages among those of some attachment documents.

        An attachment without a page (a profile image), or whose page is not there, is never excluded.
        """
        if not self._patterns:
            return set()
        ids = {one["page"] for one in attachments if isinstance(one.get("page"), ObjectId)}
        paths = await page_paths(self._database, ids)
        return {identity for identity, path in paths.items() if self._patterns.match(path)}
