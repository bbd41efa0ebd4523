"""The one check on every name that comes from a peer or out of a document. Nothing else may decide about names.

Names that differ only by case are different names: GROWI keeps them apart, and so does every storage but a disk that
ignores case. Two of them would be one file there, so whoever plans files compares their `collision_key`.

Sources: GROWI names a file `<md5 hex><extension>` and keeps it under `attachment/` when the attachment belongs to a
page, else under `user/`; MongoDB's rules for collection names are in its manual under "Naming Restrictions".
"""

from __future__ import annotations

import re
import unicodedata

from growi_transfer.protocol.errors import CollectionIllegal, InvalidRequest, NameIllegal

FILE_NAME_LIMIT = 255
"""Bytes of UTF-8: what common file systems take."""
FILE_PATH_LIMIT = 800
"""Bytes of UTF-8 of a `filePath`: keys of object stores have 1,024, with a namespace and our own folders before it."""
_SEGMENTS = 8
COLLECTION_NAME_LIMIT = 200
"""Bytes; MongoDB takes 255 for `<database>.<collection>`, and former collections need room for a longer name."""
OWN_PREFIX = "growi_transfer_"

OPERATING_STATE = frozenset(
    {
        "transferkeys",
        "sessions",
        "rlflx",
        "migrations",
        "changestream_resume_tokens",
        "pageoperations",
        "auditlogbulkexportjobs",
        "pagebulkexportjobs",
        "pagebulkexportpagesnapshots",
        "failedemails",
        "attachmentFiles.files",
        "attachmentFiles.chunks",
    }
)
"""Collections that would be wrong in another instance, and so never move (attachments move as files)."""

# With spaces before the extension too, as Windows reads them.
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\.|\Z)", re.IGNORECASE)
_USUAL = re.compile(r"[0-9a-f]{32}(\.[a-z0-9]{1,16})?")
"""What GROWI makes. It passes every check below, and nearly every name is one."""
_TRANSFER_ID = re.compile(r"[0-9a-f]{32}")
_ATTACHMENT_ID = re.compile(r"[0-9a-f]{24}")
_SHOWN = 80
"""Characters of a refused name that an error repeats."""


def is_operating_state(collection: str) -> bool:
    """Whether a collection is state of a running server that stays where it is."""
    return (
        collection in OPERATING_STATE
        or collection.startswith(("vault_", OWN_PREFIX))
        or collection.endswith("bulkexportjobs")
    )


def check_collection(name: object) -> str:
    """A collection name that a peer may fill. Raises CollectionIllegal."""
    if not isinstance(name, str) or not name:
        raise CollectionIllegal("A collection name must be a text that is not empty.")
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise CollectionIllegal("The collection name is not valid Unicode.") from None
    shown = name[:_SHOWN]
    if length > COLLECTION_NAME_LIMIT:
        raise CollectionIllegal(f"The collection name is longer than {COLLECTION_NAME_LIMIT} bytes.", collection=shown)
    if "\x00" in name or "$" in name or name.startswith(".") or name.endswith("."):
        raise CollectionIllegal("The collection name has a character that MongoDB does not allow.", collection=shown)
    if name.startswith("system.") or ".system." in name:
        raise CollectionIllegal("System collections are never transferred.", collection=name)
    if is_operating_state(name):
        raise CollectionIllegal(f"The collection {name} is operating state and is never transferred.", collection=name)
    return name


def check_file_name(name: object) -> str:
    """A file name that can be one path segment in every storage, and is only itself. Raises NameIllegal."""
    if isinstance(name, str) and _USUAL.fullmatch(name):
        return name
    if not isinstance(name, str) or not name:
        raise NameIllegal("The fileName must be a text that is not empty.")
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise NameIllegal("The fileName is not valid Unicode.") from None
    shown = name[:_SHOWN]
    if len(encoded) > FILE_NAME_LIMIT:
        raise NameIllegal(f"The fileName is longer than {FILE_NAME_LIMIT} bytes.", file_name=shown)
    if name in (".", "..") or any(character in name for character in '/\\:*?"<>|'):
        raise NameIllegal("The fileName must be one path segment.", file_name=shown)
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for character in name):
        raise NameIllegal("The fileName has a control or an invisible character.", file_name=shown)
    if name.startswith((" ", "-", ".")) or name.endswith((" ", ".")):
        raise NameIllegal("The fileName begins or ends with a space, a dot or a dash.", file_name=shown)
    if unicodedata.normalize("NFC", name) != name:
        # Some file systems store another form, so that two names would be one file there.
        raise NameIllegal("The fileName is not in Unicode's composed form (NFC).", file_name=shown)
    if _RESERVED.match(name):
        raise NameIllegal("The fileName is reserved on some systems.", file_name=shown)
    return name


def collision_key(path: str) -> str:
    """Equal for two paths that a disk that ignores case, or one that ignores Unicode forms, takes for one file."""
    # Unicode's compatibility caseless match: folding can undo a normal form and the other way round.
    key = unicodedata.normalize("NFD", path)
    for _ in range(2):
        key = unicodedata.normalize("NFKD", key.casefold())
    return key


def attachment_path(file_name: object, *, has_page: bool) -> str:
    """Where GROWI keeps an attachment: `attachment/<fileName>` or `user/<fileName>`. Raises NameIllegal."""
    return ("attachment/" if has_page else "user/") + check_file_name(file_name)


def check_file_path(path: object) -> str:
    """The `filePath` that GROWI 3.3 and older wrote into an attachment: in one of GROWI's folders, at most 8 segments,
    each as a file name is. Raises NameIllegal."""
    if not isinstance(path, str) or not path.startswith(("attachment/", "user/")):
        # A bucket may have other applications' files as well.
        raise NameIllegal("The filePath must begin with attachment/ or user/.")
    segments = path.split("/")
    if len(segments) > _SEGMENTS or len(path.encode(errors="replace")) > FILE_PATH_LIMIT:
        raise NameIllegal("The filePath has too many segments, or is too long.", file_path=path[:_SHOWN])
    for segment in segments:
        check_file_name(segment)
    return path


def check_path(path: object) -> str:
    """A path that `attachment_path` could have made. Raises NameIllegal."""
    if isinstance(path, str):
        folder, _, name = path.partition("/")
        if folder in ("attachment", "user"):
            return f"{folder}/{check_file_name(name)}"
    raise NameIllegal("The path must be attachment/<fileName> or user/<fileName>.")


def check_transfer_id(value: object) -> str:
    """32 lower-case hex digits. Raises InvalidRequest."""
    if not isinstance(value, str) or not _TRANSFER_ID.fullmatch(value):
        raise InvalidRequest("A transfer id is 32 lower-case hexadecimal digits.")
    return value


def check_attachment_id(value: object) -> str:
    """24 lower-case hex digits (an ObjectId). Raises InvalidRequest."""
    if not isinstance(value, str) or not _ATTACHMENT_ID.fullmatch(value):
        raise InvalidRequest("An attachment id is 24 lower-case hexadecimal digits.")
    return value


def staging_name(transfer_id: str, number: int) -> str:
    """Collection in which a transfer's collection number `number` is staged."""
    return f"{OWN_PREFIX}s_{transfer_id[:8]}_{number}"


def merged_name(transfer_id: str, number: int) -> str:
    """Collection in which a merge puts the destination's collection and the source's together."""
    return f"{OWN_PREFIX}s_{transfer_id[:8]}_{number}_merged"


def merge_map_name(transfer_id: str) -> str:
    """Collection in which a merge remembers what became of single documents."""
    return f"{OWN_PREFIX}s_{transfer_id[:8]}_map"


def former_name(transfer_id: str, number: int) -> str:
    """Collection under which what a commit replaced is kept for rollback."""
    return f"{OWN_PREFIX}f_{transfer_id[:8]}_{number}"
