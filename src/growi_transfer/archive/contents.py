"""Makes sense of a zip's entries: what is an archive of a wiki, and what is none.

Two kinds are taken. An archive that we wrote has a manifest, and is exactly what its manifest says. A zipped mongodump
directory has none; there, what can never be imported (other databases, operating state, the server's own collections)
is left out and named in `ignored`. Whatever is not expected makes either of them invalid.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from growi_transfer.archive import layout
from growi_transfer.archive.directory import Entry, Source
from growi_transfer.archive.entries import read_whole
from growi_transfer.protocol.errors import (
    ArchiveInvalid,
    ArchiveTooLarge,
    CollectionKindUnsupported,
    InvalidRequest,
    JsonInvalid,
)
from growi_transfer.protocol.names import check_collection, check_path, is_operating_state
from growi_transfer.protocol.wire import JSON_LIMIT, parse

METADATA_LIMIT = JSON_LIMIT
"""Bytes of all metadata together, because they are all in memory at once."""
_FOLDER_OF_MONGODUMP = "dump/"
_OTHER_DATABASES = frozenset({"admin", "config", "local"})
_BUCKETS = "system.buckets."


@dataclass(frozen=True, slots=True)
class ArchivedCollection:
    """One collection of an archive. `entry` is None for a view, `promised` where the archive has no manifest."""

    name: str
    kind: layout.Kind
    uuid: str
    """32 hex digits, or empty where it is not known."""
    metadata: str
    """{"options", "indexes"} in the Extended JSON of the archive."""
    entry: Entry | None = field(repr=False)
    promised: layout.ManifestCollection | None = field(repr=False)

    @property
    def bytes(self) -> int:
        return self.entry.size if self.entry else 0


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive has. Everything in it is already proved to be there, in the announced sizes."""

    database: str
    manifest: layout.ArchiveManifest | None
    collections: tuple[ArchivedCollection, ...]
    files: Mapping[str, Entry]
    """Entries of attachments by their name in the zip."""
    listing: Entry | None
    ignored: tuple[str, ...]
    """What is in the archive and will not be imported, each with the reason, for people."""


@dataclass(slots=True)
class _Pair:
    """The two entries of one collection."""

    documents: Entry | None = None
    metadata: Entry | None = None


def examine(source: Source, entries: list[Entry]) -> Contents:
    """Sort the entries of a checked directory. Reads the manifest and the metadata, which are bounded together.

    Raises ArchiveInvalid, ArchiveTooLarge, CollectionIllegal, CollectionKindUnsupported, NameIllegal or JsonInvalid.
    """
    by_name = {entry.name: entry for entry in entries}
    if layout.MANIFEST_NAME in by_name:
        return _own(source, by_name)
    return _foreign(source, by_name)


def _own(source: Source, by_name: dict[str, Entry]) -> Contents:
    manifest = _manifest(source, by_name.pop(layout.MANIFEST_NAME))
    listing = by_name.pop(layout.FILES_NAME, None)
    files = {name: entry for name, entry in by_name.items() if name.count("/") == 2}
    _check_files(manifest, listing, files)
    pairs: dict[str, _Pair] = {}
    for name in by_name.keys() - files.keys():
        folder, _, file = name.partition("/")
        if folder != manifest.database or not _take(pairs, file, by_name[name]):
            raise _unexpected(name)
    promised = {one.name: one for one in manifest.collections}
    found = tuple(_collection(stem, pair, text, promised) for stem, pair, text in _with_metadata(source, pairs))
    if len(promised) != len(manifest.collections) or {one.name for one in found} != promised.keys():
        raise ArchiveInvalid("The archive does not have the collections that its manifest names.")
    for one in found:
        _check_promise(one)
    return Contents(layout.check_database(manifest.database), manifest, found, files, listing, ())


def _foreign(source: Source, by_name: dict[str, Entry]) -> Contents:
    if by_name and all(name.startswith(_FOLDER_OF_MONGODUMP) for name in by_name):
        by_name = {name.removeprefix(_FOLDER_OF_MONGODUMP): entry for name, entry in by_name.items()}
    databases: dict[str, dict[str, _Pair]] = {}
    ignored: list[str] = []
    for name, entry in by_name.items():
        folder, _, file = name.rpartition("/")
        if file == layout.PRELUDE_NAME and "/" not in folder:
            continue
        if not folder or "/" in folder or not _take(databases.setdefault(folder, {}), file, entry):
            raise _unexpected(name)
    for folder in sorted(_OTHER_DATABASES & databases.keys()):
        ignored.append(f"{folder}: the server's own database")
        del databases[folder]
    if len(databases) != 1:
        names = ", ".join(sorted(databases)[:10])
        raise ArchiveInvalid(f"An archive has exactly one database; this one has: {names or 'none'}")
    ((database, pairs),) = databases.items()
    wanted: dict[str, _Pair] = {}
    for stem, pair in pairs.items():
        reason = _why_not(stem)
        if reason:
            ignored.append(f"{stem}: {reason}")
        else:
            wanted[stem] = pair
    found = tuple(_collection(stem, pair, text, {}) for stem, pair, text in _with_metadata(source, wanted))
    if len({one.name for one in found}) != len(found):
        raise ArchiveInvalid("The archive has a collection twice.")
    return Contents(layout.check_database(database), None, found, {}, None, tuple(ignored))


def _take(pairs: dict[str, _Pair], file: str, entry: Entry) -> bool:
    """Put an entry where it belongs; False if it is neither of the two files of a collection."""
    stem = file.removesuffix(layout.METADATA_SUFFIX)
    if stem and stem != file:
        pairs.setdefault(stem, _Pair()).metadata = entry
        return True
    stem = file.removesuffix(layout.BSON_SUFFIX)
    if stem and stem != file:
        pairs.setdefault(stem, _Pair()).documents = entry
        return True
    return False


def _why_not(stem: str) -> str:
    """Why a collection of a mongodump is left out; empty if it is not."""
    # A shortened name is longer than any of those below.
    name = layout.collection_of(stem, None) if len(stem) < 200 else stem
    if name.startswith(_BUCKETS):
        raise CollectionKindUnsupported(f"{name} is a time series collection; these cannot be moved.", collection=name)
    if name.startswith(("system.", "$")):
        return "the server's own collection"
    return "operating state of a running server" if is_operating_state(name) else ""


def _with_metadata(source: Source, pairs: dict[str, _Pair]) -> Iterable[tuple[str, _Pair, Mapping[str, str]]]:
    total = 0
    for stem, pair in sorted(pairs.items()):
        if pair.metadata is None:
            raise ArchiveInvalid(f"The archive has no metadata for {stem[:200]}, so its indexes are not known.")
        total += pair.metadata.size
        if total > METADATA_LIMIT:
            raise ArchiveTooLarge(f"The metadata of the archive have more than {METADATA_LIMIT} bytes.")
        text = layout.text_of(read_whole(source, pair.metadata, METADATA_LIMIT), pair.metadata.name)
        yield stem, pair, layout.top_level(text)


def _collection(
    stem: str, pair: _Pair, members: Mapping[str, str], promised: Mapping[str, layout.ManifestCollection]
) -> ArchivedCollection:
    recorded = _value(members, "collectionName", str, "") or None
    name = check_collection(layout.collection_of(stem, recorded))
    sort = _value(members, "type", str, "") or "collection"
    options = _value(members, "options", dict, {})
    if sort not in ("collection", "view") or "encryptedFields" in options:
        raise CollectionKindUnsupported(f"{name} is of a kind that cannot be moved: {sort[:50]!a}", collection=name)
    if "indexes" not in members:
        raise ArchiveInvalid(f"The metadata of {name} do not name its indexes.")
    if (pair.documents is None) is not (sort == "view"):
        raise ArchiveInvalid(f"The archive lacks the documents of {name}, or has some of a view.")
    uuid = _value(members, "uuid", str, "")
    if len(uuid) != 32 or not set(uuid) <= set("0123456789abcdef"):
        uuid = ""
    metadata = f'{{"options":{members.get("options", "{}")},"indexes":{members["indexes"]}}}'
    return ArchivedCollection(name, _kind(sort, options), uuid, metadata, pair.documents, promised.get(name))


def _kind(sort: str, options: Mapping[str, Any]) -> layout.Kind:
    if sort == "view":
        return "view"
    if options.get("capped"):
        return "capped"
    return "clustered" if "clusteredIndex" in options else "collection"


def _value(members: Mapping[str, str], key: str, kind: type[Any], default: Any) -> Any:
    if key not in members:
        return default
    try:
        value = json.loads(members[key])
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise JsonInvalid(f"The {key} of a collection is not what it should be.")
    return value


def _check_promise(collection: ArchivedCollection) -> None:
    promised = collection.promised
    if promised is None or (promised.kind, promised.bytes) != (collection.kind, collection.bytes):
        raise ArchiveInvalid(f"The manifest describes {collection.name} as something else than the archive has.")


def _check_files(manifest: layout.ArchiveManifest, listing: Entry | None, files: Mapping[str, Entry]) -> None:
    folded: set[str] = set()
    for name in files:
        folder, _, path = name.partition("/")
        if folder != layout.FILES_FOLDER:
            raise _unexpected(name)
        check_path(path)
        folded.add(name.casefold())
    if len(folded) != len(files):
        raise ArchiveInvalid("Two attachments of the archive differ only in the case of their letters.")
    if (len(files), sum(entry.size for entry in files.values())) != (manifest.files, manifest.file_bytes):
        raise ArchiveInvalid("The archive does not have the attachments that its manifest announces.")
    if (listing is None) is not (manifest.files_sha256 is None) or (files and listing is None):
        raise ArchiveInvalid(f"The archive lacks {layout.FILES_NAME}, or has one that its manifest does not know.")


def _manifest(source: Source, entry: Entry) -> layout.ArchiveManifest:
    text = layout.text_of(read_whole(source, entry, JSON_LIMIT), entry.name)
    try:
        members = layout.top_level(text)
        if members.get("format") != f'"{layout.FORMAT}"':
            raise ArchiveInvalid(f"{layout.MANIFEST_NAME} is not that of an archive of growi-transfer.")
        if members.get("version") != "1":
            raise ArchiveInvalid("The archive was made by a newer version of growi-transfer.")
        return parse(layout.ArchiveManifest, text)
    except ArchiveInvalid:
        raise
    except InvalidRequest as error:
        raise ArchiveInvalid(f"{layout.MANIFEST_NAME} is not valid: {error.message}") from None


def _unexpected(name: str) -> ArchiveInvalid:
    if name.endswith(".gz"):
        return ArchiveInvalid(f"The archive has packed files in it ({name[:200]}); make the mongodump without --gzip.")
    if name.endswith("oplog.bson"):
        return ArchiveInvalid("The mongodump was made with --oplog, which cannot be replayed; make it without.")
    return ArchiveInvalid(f"The archive has an entry that does not belong there: {name[:200]}")
