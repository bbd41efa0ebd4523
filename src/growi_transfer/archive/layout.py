"""What an archive of a whole wiki has in it: the names of its entries, its manifest, and mongodump's metadata files.

The layout is that of a mongodump directory, so that stock tools can restore it: `<database>/<collection>.bson`
with `<database>/<collection>.metadata.json`. mongodump writes a collection's name in the file name the way a form
field is written in a URL, and shortens one that would get longer than 238 bytes: its first 208, `%24`, and the
unpadded URL-safe base64 of the SHA-1 of the true name, which then stands in the metadata only.
docs/formats/archive.md has the whole format.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha1
from json import JSONDecoder, dumps
from typing import Annotated, Literal
from urllib.parse import quote_plus, unquote_plus

from pydantic import Field

from growi_transfer.protocol.errors import ArchiveInvalid, JsonInvalid
from growi_transfer.protocol.wire import (
    AttachmentFile,
    CollectionName,
    Count,
    HexDigest,
    Shape,
    SourceInfo,
    Text,
)

FORMAT = "growi-transfer-archive"
MANIFEST_NAME = "manifest.json"
FILES_NAME = "attachments.jsonl"
FILES_FOLDER = "attachments"
BSON_SUFFIX = ".bson"
METADATA_SUFFIX = ".metadata.json"
PRELUDE_NAME = "prelude.json"
"""mongodump's note on its own version."""

LINE_LIMIT = 64 << 10
"""Bytes of one line of FILES_NAME."""
_STEM_LIMIT = 238
_STEM_KEPT = 208
_DATABASE = re.compile(r'^[^/\\. "$*<>:|?\x00-\x1f\x7f]+$')
_DATABASE_LIMIT = 63
_SPACE = re.compile(r"[ \t\r\n]*")

Kind = Literal["collection", "capped", "clustered", "view"]


class ManifestCollection(Shape):
    """What an archive promises of one collection. `ordered` and `digest`: see protocol.digest; views have zeros."""

    name: CollectionName
    kind: Kind
    documents: Count
    bytes: Count
    digest: HexDigest
    ordered: bool = False


class ArchiveManifest(Shape):
    """`manifest.json` of an archive."""

    format: Literal["growi-transfer-archive"] = "growi-transfer-archive"
    version: Literal[1] = 1
    created_by: Text
    created_at: Text = ""
    database: Text
    source: SourceInfo | None = None
    collections: Annotated[tuple[ManifestCollection, ...], Field(max_length=100_000)]
    files: Count = 0
    file_bytes: Count = 0
    files_sha256: HexDigest | None = None
    """SHA-256 of FILES_NAME, None where the archive has none."""
    missing_files: Count = 0
    """Attachments that the source's database knows and its storage did not have."""


def check_database(name: str) -> str:
    """A database name that can be a folder. Raises ArchiveInvalid."""
    if not _DATABASE.match(name) or len(name.encode()) > _DATABASE_LIMIT:
        raise ArchiveInvalid(f"This cannot be the name of a database in an archive: {name[:200]!a}")
    return name


def stem_of(collection: str) -> str:
    """The file name of a collection without its suffix, as mongodump writes it."""
    stem = quote_plus(collection, safe="")
    if len(stem) <= _STEM_LIMIT:
        return stem
    mark = urlsafe_b64encode(sha1(collection.encode(), usedforsecurity=False).digest()).rstrip(b"=")
    return f"{stem[:_STEM_KEPT]}%24{mark.decode()}"


def collection_of(stem: str, recorded: str | None) -> str:
    """The collection that a file name belongs to. `recorded` is the name in its metadata, which older dumps lack.

    Raises ArchiveInvalid if the two contradict each other, or the name was shortened and is not recorded.
    """
    shortened = len(stem) == _STEM_LIMIT and "%24" in stem
    if recorded is not None:
        if stem == stem_of(recorded) or (not shortened and _unescaped(stem) == recorded):
            return recorded
        raise ArchiveInvalid(f"The metadata in {stem[:200]} are those of another collection.")
    if shortened:
        raise ArchiveInvalid(f"The true name of the collection {stem[:200]} is not in its metadata.")
    return _unescaped(stem)


def _unescaped(stem: str) -> str:
    try:
        return unquote_plus(stem, errors="strict")
    except UnicodeDecodeError:
        raise ArchiveInvalid(f"The name of a collection is not valid Unicode: {stem[:200]}") from None


def file_entry(file: AttachmentFile) -> str:
    """The entry that has the content of an attachment."""
    return f"{FILES_FOLDER}/{'attachment' if file.has_page else 'user'}/{file.file_name}"


def metadata_file(metadata: str, *, name: str, uuid: str, kind: Kind) -> str:
    """The text of a `.metadata.json`. Options and indexes are taken over letter by letter from `metadata`.

    Raises JsonInvalid if that is not an object that has them.
    """
    members = top_level(metadata)
    if "indexes" not in members:
        raise JsonInvalid("The collection's metadata have no indexes.")
    options = members.get("options", "{}")
    # mongodump leaves empty options out.
    parts = [] if not options[1:-1].strip() else [f'"options":{options}']
    parts.append(f'"indexes":{members["indexes"]}')
    if uuid:
        parts.append(f'"uuid":{dumps(uuid)}')
    parts.append(f'"collectionName":{dumps(name, ensure_ascii=False)}')
    parts.append(f'"type":"{"view" if kind == "view" else "collection"}"')
    return "{" + ",".join(parts) + "}"


def top_level(text: str) -> Mapping[str, str]:
    """The members of a JSON object, each with its value's own text. Raises JsonInvalid.

    Options and indexes are never parsed and written again: that would change numbers and lose repeated keys.
    """
    decoder = JSONDecoder()
    members: dict[str, str] = {}
    try:
        position = _after(text, 0, "{")
        while text[position : position + 1] != "}":
            key, end = decoder.raw_decode(text, position)
            start = _after(text, end, ":")
            _, end = decoder.raw_decode(text, start)
            if not isinstance(key, str) or key in members:
                raise JsonInvalid("A JSON object has a key that is repeated or not a text.")
            members[key] = text[start:end]
            position = _skip(text, end)
            if text[position : position + 1] != "}":
                position = _after(text, position, ",")
                if text[position : position + 1] == "}":
                    raise JsonInvalid("This is not a JSON object.")
        if _skip(text, position + 1) != len(text):
            raise JsonInvalid("There is something behind a JSON object.")
    except (ValueError, RecursionError):
        # ValueError: also of a number with thousands of digits.
        raise JsonInvalid("This is not a JSON object.") from None
    return members


def _skip(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def _after(text: str, position: int, mark: str) -> int:
    """Where something begins that follows `mark`, which must come next."""
    position = _skip(text, position)
    if text[position : position + 1] != mark:
        raise JsonInvalid("This is not a JSON object.")
    return _skip(text, position + 1)


def text_of(raw: bytes | memoryview, name: str) -> str:
    """A metadata file or a manifest as text. Raises ArchiveInvalid."""
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError:
        raise ArchiveInvalid(f"{name[:200]} is not valid UTF-8.") from None
