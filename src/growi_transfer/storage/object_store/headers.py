"""What GROWI stores beside the bytes of an object: its content type and the name it is downloaded under.

Source of the form: GROWI 7.3 and 8.x set `Content-Type` to the attachment's fileFormat and `Content-Disposition` to
`attachment;filename*=UTF-8''` and the original name as JavaScript's encodeURIComponent writes it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from growi_transfer.storage.base import FileMeta

if TYPE_CHECKING:
    from obstore import Attributes

_TYPE = re.compile(r"[\x20-\x7e]{1,255}")
_NAME = "filename*=UTF-8''"
_UNTOUCHED = "!~*'()"
"""encodeURIComponent leaves these and letters, digits, `-`, `_` and `.` as they are."""


def attributes(meta: FileMeta | None) -> Attributes:
    """The headers of a new object. A content type that no header can hold is left out."""
    found: Attributes = {}
    if meta is None:
        return found
    if _TYPE.fullmatch(meta.content_type):
        found["Content-Type"] = meta.content_type
    if meta.original_name:
        name = quote(meta.original_name.encode("utf-8", "replace"), safe=_UNTOUCHED)
        found["Content-Disposition"] = f"attachment;filename*=UTF-8''{name}"
    return found


def meta_in(found: Attributes) -> FileMeta:
    """What `attributes` has made headers of."""
    _, _, name = found.get("Content-Disposition", "").partition(_NAME)
    return FileMeta(found.get("Content-Type", ""), unquote(name))
