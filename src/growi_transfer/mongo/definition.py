"""One digest for what a collection is besides its documents."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from growi_transfer.mongo.collections import create_options, secondary_indexes, split_ttl, to_metadata


def definition_of(metadata: Mapping[str, Any], *, staged: bool = False) -> tuple[list[str], str]:
    """Names of the indexes (without that of `_id`), in order, and SHA-256 over options and indexes as canonical
    Extended JSON, one a line, the indexes in order of their text. `staged`: as in staging, where no index is TTL."""
    options = {name: value for name, value in create_options(metadata).items() if name != "idIndex"}
    indexes = secondary_indexes(metadata)
    if staged:
        indexes, _ = split_ttl(indexes)
    lines = [to_metadata(options, ()), *sorted(to_metadata(index, ()) for index in indexes)]
    return sorted(str(index["name"]) for index in indexes), sha256("\n".join(lines).encode()).hexdigest()
