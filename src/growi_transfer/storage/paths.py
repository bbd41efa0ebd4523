"""The last look at a path before a storage uses it, and the names a storage keeps for itself.

`protocol.names` decides which names a peer may use. This is only the guard that keeps a mistake of our own from
leaving the storage: it never makes a bad path good.

`.growi-transfer/` is our own folder in every storage. Callers keep files aside there, under any name whose second
segment does not begin with a dot (`.growi-transfer/<transfer>/attachment/<fileName>`); those that do are the
storage's. Nothing below it is ever listed, unless the prefix asked for begins with it.
"""

from __future__ import annotations

import re

from growi_transfer.protocol.errors import InvalidRequest, NameIllegal

OWN_FOLDER = ".growi-transfer"
OWN_PREFIX = OWN_FOLDER + "/"
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def split_path(path: str) -> tuple[str, ...]:
    """The segments of a relative path with forward slashes. Raises NameIllegal."""
    parts = tuple(path.split("/"))
    if "\x00" in path or any(part in ("", ".", "..") for part in parts):
        raise NameIllegal("The path must be relative, without empty segments, `.` and `..`.", path=path[:80])
    if parts[0] == OWN_FOLDER and (len(parts) == 1 or parts[1].startswith(".")):
        raise NameIllegal("The path is one that the storage keeps for itself.", path=path[:80])
    if not path.isascii():
        try:
            path.encode()
        except UnicodeEncodeError:
            raise NameIllegal("The path is not valid Unicode.") from None
    return parts


def check_upload_id(upload_id: str) -> str:
    """1 to 128 letters, digits, `-` and `_`. Raises InvalidRequest."""
    if not _UPLOAD_ID.fullmatch(upload_id):
        raise InvalidRequest("An upload id has 1 to 128 letters, digits, `-` and `_`.")
    return upload_id
