"""Where GROWI keeps the file of an attachment: it depends on the kind of storage. Pure.

Every storage has `attachment/<fileName>` for an attachment of a page and `user/<fileName>` for the others (profile
images, the brand logo). What differs, as GROWI 7.3 and 8.x have it in their uploaders:

* S3 looks at the document's `filePath` first, which 3.3 and older wrote (`attachment/<page id>/<name>`).
* S3 and GCS keep exports of pages (PAGE_BULK_EXPORT) under `page-bulk-export/`; elsewhere they are among `user/`.
* Exports of the audit log (AUDIT_LOG_BULK_EXPORT, 8.x) are among `user/`. GROWI 8 has a name for a folder of their own,
  `audit-log-bulk-export/`, which none of its uploaders uses yet: a file that is there is found, and never deleted.
* GridFS has no folders.

Older GROWIs used `filePath` in a folder and in GridFS too, so a file that is not where today's GROWI looks is looked
for in the other places that its document tells. It moves all the same, to where the destination's GROWI looks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from growi_transfer.protocol.errors import NameIllegal
from growi_transfer.protocol.names import attachment_path, check_file_name, check_file_path

EXPORT = "PAGE_BULK_EXPORT"
"""`attachmentType` of an export of pages."""
EXPORT_FOLDER = "page-bulk-export/"
AUDIT_EXPORT = "AUDIT_LOG_BULK_EXPORT"
"""`attachmentType` of an export of the audit log."""
AUDIT_FOLDER = "audit-log-bulk-export/"
FOLDERS = ("attachment/", AUDIT_FOLDER, EXPORT_FOLDER, "user/")
"""GROWI's folders, in the order of their names."""

_PROBE = re.compile(r"(attachment/)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\.growi")
_MADE_BY_GROWI = re.compile(
    r"(attachment/|user/|page-bulk-export/|attachment/[0-9a-f]{24}/)[0-9a-f]{32}(\.[^/.]{1,64})?"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """What GROWI does differently in a kind of storage."""

    legacy_paths: bool = False
    """The document's `filePath` comes first."""
    export_folder: bool = False
    """Exports of pages have a folder of their own."""
    has_folders: bool = True
    """Whether `attachment/x` and `user/x` are two files. In GridFS they are one, and listed as `attachment/x`."""


_LAYOUTS = {
    "aws": Layout(legacy_paths=True, export_folder=True),
    "gcs": Layout(export_folder=True),
    "gridfs": Layout(has_folders=False),
    "mongodb": Layout(has_folders=False),
}


def layout_of(kind: str) -> Layout:
    """By GROWI's word for the storage."""
    return _LAYOUTS.get(kind, Layout())


@dataclass(frozen=True, slots=True)
class Naming:
    """What an attachment's document says about the place of its file."""

    file_name: str
    has_page: bool
    is_export: bool = False
    file_path: str = ""
    """Empty where there is none."""
    is_audit_export: bool = False
    """No part of an announcement: no GROWI looks for these elsewhere than for other files without a page."""


def naming_of(document: Mapping[str, Any]) -> Naming:
    """Of an attachment document, checked. Raises NameIllegal for its `fileName`; a `filePath` that is not one of
    GROWI's is as none."""
    file_path = document.get("filePath")
    try:
        file_path = check_file_path(file_path) if file_path else ""
    except NameIllegal:
        file_path = ""
    return Naming(
        file_name=check_file_name(document.get("fileName")),
        has_page=document.get("page") is not None,
        is_export=document.get("attachmentType") == EXPORT,
        file_path=file_path,
        is_audit_export=document.get("attachmentType") == AUDIT_EXPORT,
    )


def storage_path(naming: Naming, kind: str) -> str:
    """Where GROWI looks for the file in a storage of this kind. Raises NameIllegal."""
    return storage_paths(naming, kind)[0]


def storage_paths(naming: Naming, kind: str) -> tuple[str, ...]:
    """All places at which the file may be: first GROWI's, then those of older versions. Raises NameIllegal.

    In a storage without folders a path is its file name behind a folder that means nothing.
    """
    layout = layout_of(kind)
    usual = attachment_path(naming.file_name, has_page=naming.has_page)
    legacy = [check_file_path(naming.file_path)] if naming.file_path else []
    if not layout.has_folders:
        return (usual, *("attachment/" + path for path in legacy))
    export = [EXPORT_FOLDER + check_file_name(naming.file_name)] if naming.is_export else []
    found = [*export, usual] if layout.export_folder else [usual, *export]
    found = [*legacy, *found] if layout.legacy_paths else [*found, *legacy]
    if naming.is_audit_export:
        found.append(AUDIT_FOLDER + check_file_name(naming.file_name))
    return tuple(dict.fromkeys(found))


def renamed_path(path: str, file_name: str) -> str:
    """Where a file of this path is when its attachment gets another `fileName`. Raises NameIllegal.

    One that is at its document's `filePath` stays there.
    """
    folder, _, rest = path.partition("/")
    return path if "/" in rest else f"{folder}/{check_file_name(file_name)}"


def family_of(path: str) -> str:
    """What sort of file a path is, for sums: a folder of GROWI's, `legacy` (3.3 and older), `probe` (GROWI tries its
    storage with these and leaves them), or `other`."""
    if _PROBE.fullmatch(path):
        return "probe"
    folder, slash, rest = path.partition("/")
    if f"{folder}/" not in FOLDERS or not slash:
        return "other"
    return "legacy" if "/" in rest else folder


def is_made_by_growi(path: str) -> bool:
    """Whether nobody but GROWI would give a file this name: MD5 of something, and an extension; or a probe."""
    return _MADE_BY_GROWI.fullmatch(path) is not None or _PROBE.fullmatch(path) is not None
