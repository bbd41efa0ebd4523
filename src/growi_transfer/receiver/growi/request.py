"""What a GROWI asks for with its archive: which collections, how each is brought in, and what is written over.

Source: GROWI 7.3 and 8.x (docs/growi.md). The modes and their restrictions are GROWI's, and so are the codes of the
refusals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import bson
import orjson

from growi_transfer.protocol.errors import (
    GrowiParseFailed,
    ImportSettingsInvalid,
    MixedImportModes,
    ProtectedCollectionIncluded,
)
from growi_transfer.protocol.growi_rules import UPLOAD_SETTING_KEYS
from growi_transfer.protocol.growi_transferable import is_growi_transferable
from growi_transfer.protocol.page_tree import on_tree

PAGES, REVISIONS, CONFIGS = "pages", "revisions", "configs"
_FILES_OF_GRIDFS = "attachmentFiles."
_OUTSIDE_OF_MODES = (PAGES, CONFIGS)
"""A mix of replacing and appending is judged without these."""
_AUTHOR = "isOverwriteAuthorWithCurrentUser"
_PUBLIC = 1
_NAMES = 10_000


class Mode(StrEnum):
    INSERT = "insert"
    UPSERT = "upsert"
    FLUSH_AND_INSERT = "flushAndInsert"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What is written over in each document of a collection."""

    author: bson.ObjectId | None = None
    public: frozenset[int] = frozenset()
    """Grants of pages that become public."""
    bare: bool = False
    """Likes, readers, counts and extensions of pages begin anew."""

    def changes(self, collection: str) -> bool:
        """Whether `apply` may change a document of this collection."""
        return collection != REVISIONS or self.author is not None

    def apply(self, collection: str, document: dict[str, Any]) -> dict[str, Any]:
        """The document with what has to be written over; only fields that it has."""
        changes: dict[str, Any] = {}
        if collection == REVISIONS and self.author is not None:
            changes = {"author": self.author}
        if collection == PAGES:
            if self.author is not None:
                changes = {"creator": self.author, "lastUpdateUser": self.author}
            grant = document.get("grant")
            if isinstance(grant, int | float) and grant in self.public:
                changes["grant"] = _PUBLIC
            if self.bare:
                changes |= {"liker": [], "seenUsers": [], "commentCount": 0, "extended": {}}
        document = document | {name: value for name, value in changes.items() if document.get(name) is not None}
        if collection == PAGES:
            # Any parent says that the page belongs on the tree, which is built anew when all pages are there.
            document["parent"] = document.get("_id") if on_tree(document) else None
            document["descendantCount"] = 0
        return document


@dataclass(frozen=True, slots=True)
class GrowiRequest:
    """The fields of the form, checked. `modes` and `rewrites` are of every collection of the archive."""

    collections: tuple[str, ...]
    modes: Mapping[str, Mode]
    upload_configs: Mapping[str, Any]
    rewrites: Mapping[str, Rewrite] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GrowiFields:
    """The fields of the form as JSON values."""

    collections: tuple[str, ...]
    options: Mapping[str, Any]
    operator: str
    upload_configs: Mapping[str, Any]


def parse_fields(fields: Mapping[str, str]) -> GrowiFields:
    """The form's fields. Raises GrowiParseFailed."""
    try:
        collections = orjson.loads(fields["collections"])
        options = orjson.loads(fields["optionsMap"])
        upload_configs = orjson.loads(fields["uploadConfigs"])
    except (KeyError, orjson.JSONDecodeError):
        raise GrowiParseFailed() from None
    if not isinstance(options, dict) or not isinstance(upload_configs, dict):
        raise GrowiParseFailed()
    if not isinstance(collections, list) or len(collections) > _NAMES:
        raise GrowiParseFailed("collections is not a list of names.")
    if not all(isinstance(name, str) for name in collections):
        raise GrowiParseFailed("collections is not a list of names.")
    return GrowiFields(
        tuple(dict.fromkeys(collections)),
        options,
        fields.get("operatorUserId", ""),
        {key: value for key, value in upload_configs.items() if key in UPLOAD_SETTING_KEYS},
    )


def check_request(fields: GrowiFields, archived: Sequence[str], *, strict: bool) -> GrowiRequest:
    """What is to be done with the collections of an archive (`archived`: the names in it).

    `strict`: as GROWI 8.x, which refuses collections that are never transferred and a mix of modes. Raises
    ImportSettingsInvalid, ProtectedCollectionIncluded, MixedImportModes.
    """
    modes: dict[str, Mode] = {}
    rewrites: dict[str, Rewrite] = {}
    for name in archived:
        option = fields.options.get(name)
        option = option if isinstance(option, dict) else {}
        mode = _mode(option.get("mode"))
        forbidden = (name == CONFIGS and mode is not Mode.FLUSH_AND_INSERT) or (name == PAGES and mode is Mode.INSERT)
        if forbidden or name.startswith(_FILES_OF_GRIDFS):
            raise ImportSettingsInvalid(collection=name[:100])
        modes[name] = mode
        if name in (PAGES, REVISIONS):
            rewrites[name] = _rewrite(name, option, fields.operator)
    if strict:
        _check_strictly(fields.collections, modes)
    return GrowiRequest(fields.collections, modes, fields.upload_configs, rewrites)


def _check_strictly(collections: Sequence[str], modes: Mapping[str, Mode]) -> None:
    protected = sorted(name for name in collections if not is_growi_transferable(name))
    if protected:
        raise ProtectedCollectionIncluded(collections=[name[:100] for name in protected[:100]])
    judged = [modes[name] for name in collections if name in modes and name not in _OUTSIDE_OF_MODES]
    replaced = [mode is Mode.FLUSH_AND_INSERT for mode in judged]
    if any(replaced) and not all(replaced):
        raise MixedImportModes()


def _mode(value: object) -> Mode:
    """A mode that GROWI does not know inserts."""
    return Mode(value) if isinstance(value, str) and value in tuple(Mode) else Mode.INSERT


def _rewrite(collection: str, option: Mapping[str, Any], operator: str) -> Rewrite:
    if _AUTHOR not in option:
        raise ImportSettingsInvalid(collection=collection)
    author = None
    if option[_AUTHOR]:
        if not bson.ObjectId.is_valid(operator):
            raise ImportSettingsInvalid("operatorUserId is not an id.", collection=collection)
        author = bson.ObjectId(operator)
    public = frozenset(grant for grant in (2, 4, 5) if option.get(f"makePublicForGrant{grant}"))
    return Rewrite(author, public, bool(option.get("initPageMetadatas")))
