"""Indexes that staging gets before its documents.

An index of a small collection costs about the same on the way as in one build afterwards, but the builds come when
everything has been copied and keep one core busy while the rest waits. Large collections are built afterwards: an
index that outgrows the server's cache is filled much faster in the order of its keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from growi_transfer.mongo.collections import secondary_indexes, split_ttl

SMALL = 200_000
"""Documents."""
_HARMLESS = frozenset({"v", "key", "name", "sparse", "hidden", "background", "expireAfterSeconds"})


def early_indexes(metadata: Mapping[str, Any], documents: int) -> list[dict[str, Any]]:
    """Those of a collection of about so many documents that cannot be in the way of them: plain ones.

    A unique index refuses documents whose keys another one, that is about to be replaced, still has; text, geographic
    and other special indexes cost much more one document at a time, and refuse some.
    """
    if documents > SMALL:
        return []
    plain, _ = split_ttl([index for index in secondary_indexes(metadata) if _is_plain(index)])
    return plain


def _is_plain(index: Mapping[str, Any]) -> bool:
    is_ordered = all(isinstance(way, int | float) and not isinstance(way, bool) for way in index["key"].values())
    return is_ordered and not any("$**" in field for field in index["key"]) and _HARMLESS.issuperset(index)
