"""Where GROWI keeps files, by kind of storage: the table of docs/growi.md."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from growi_transfer.protocol.errors import NameIllegal
from growi_transfer.protocol.names import check_file_path
from growi_transfer.protocol.places import (
    AUDIT_EXPORT,
    EXPORT,
    Naming,
    family_of,
    is_made_by_growi,
    naming_of,
    renamed_path,
    storage_path,
    storage_paths,
)

MD5 = "0123456789abcdef0123456789abcdef"
NAME = f"{MD5}.png"
OLD = f"attachment/5bbf1d2f8f1b2c0015a3c111/{NAME}"
PAGE = {"fileName": NAME, "page": "p", "attachmentType": "WIKI_PAGE"}
FACE = {"fileName": NAME, "page": None, "attachmentType": "PROFILE_IMAGE"}
LOGO = {"fileName": NAME, "attachmentType": "BRAND_LOGO"}
EXPORTED = {"fileName": NAME, "page": None, "attachmentType": EXPORT}
AUDITED = {"fileName": NAME, "page": None, "attachmentType": AUDIT_EXPORT}
LEGACY = {**PAGE, "filePath": OLD}


@pytest.mark.parametrize(
    ("document", "kind", "first"),
    [
        *((PAGE, kind, f"attachment/{NAME}") for kind in ("aws", "gcs", "azure", "local", "gridfs", "memory")),
        *((one, kind, f"user/{NAME}") for kind in ("aws", "gcs", "azure", "local", "gridfs") for one in (FACE, LOGO)),
        *((EXPORTED, kind, f"page-bulk-export/{NAME}") for kind in ("aws", "gcs")),
        *((EXPORTED, kind, f"user/{NAME}") for kind in ("azure", "local", "gridfs", "mongodb")),
        *((AUDITED, kind, f"user/{NAME}") for kind in ("aws", "gcs", "azure", "local", "gridfs")),
        (LEGACY, "aws", OLD),
        ({**EXPORTED, "filePath": OLD}, "aws", OLD),
        *((LEGACY, kind, f"attachment/{NAME}") for kind in ("gcs", "azure", "local", "gridfs")),
        *(({**PAGE, "filePath": none}, "aws", f"attachment/{NAME}") for none in (None, "", 7, "../x", "x", "backup/b")),
    ],
)
def test_where_growi_looks(document: dict[str, Any], kind: str, first: str) -> None:
    assert storage_path(naming_of(document), kind) == first


def test_where_older_versions_looked() -> None:
    assert storage_paths(naming_of(LEGACY), "local") == (f"attachment/{NAME}", OLD)
    assert storage_paths(naming_of(LEGACY), "aws") == (OLD, f"attachment/{NAME}")
    assert storage_paths(naming_of(LEGACY), "gridfs") == (f"attachment/{NAME}", f"attachment/{OLD}")
    assert storage_paths(naming_of(EXPORTED), "gcs") == (f"page-bulk-export/{NAME}", f"user/{NAME}")
    assert storage_paths(naming_of(AUDITED), "aws") == (f"user/{NAME}", f"audit-log-bulk-export/{NAME}")
    assert storage_paths(naming_of(AUDITED), "gridfs") == (f"user/{NAME}",)
    assert storage_paths(naming_of(PAGE), "aws") == (f"attachment/{NAME}",)
    assert storage_paths(Naming(NAME, True, file_path=f"attachment/{NAME}"), "aws") == (f"attachment/{NAME}",)


@pytest.mark.parametrize(
    "path", ["user", "", "/user/b", "user//b", "user/../b", "backup/x", "user/b\x00", "user/con", "attachment/b:c"]
)
def test_paths_that_no_growi_wrote(path: str) -> None:
    with pytest.raises(NameIllegal):
        check_file_path(path)
    with pytest.raises(NameIllegal):
        storage_path(Naming(NAME, True, file_path=path), "aws") if path else check_file_path(path)


@pytest.mark.parametrize("path", ["user/" + "/".join("x" * 8), f"user/{'x' * 250}" * 4, "user/\ud800", 7, None])
def test_paths_beyond_the_limits(path: object) -> None:
    with pytest.raises(NameIllegal):
        check_file_path(path)


@given(
    some.text(max_size=40),
    some.text(max_size=40),
    some.booleans(),
    some.booleans(),
    some.sampled_from(("aws", "gridfs", "local")),
)
def test_no_path_leads_out(name: str, path: str, has_page: bool, is_export: bool, kind: str) -> None:
    try:
        found = storage_paths(Naming(name, has_page, is_export, path), kind)
    except NameIllegal:
        return
    for one in found:
        assert all(part not in ("", ".", "..") and not part.startswith(".") for part in one.split("/"))
        assert len(one.split("/")) >= 2


def test_families() -> None:
    assert [family_of(path) for path in (f"attachment/{NAME}", "user/x", f"page-bulk-export/{MD5}.zip", OLD)] == [
        *("attachment", "user", "page-bulk-export", "legacy")
    ]
    assert family_of(f"audit-log-bulk-export/{MD5}.zip") == "audit-log-bulk-export"
    probe = "0f0e0d0c-1234-4abc-8def-000000000000.growi"
    assert (family_of(probe), family_of(f"attachment/{probe}")) == ("probe", "probe")
    assert [family_of(path) for path in ("x", "attachment", "backup/attachment/x", "")] == ["other"] * 4


def test_names_that_only_growi_makes() -> None:
    for path in (f"attachment/{NAME}", f"user/{MD5}", OLD, f"page-bulk-export/{MD5}.tar", f"user/{MD5}.PNG"):
        assert is_made_by_growi(path), path
    for path in (
        f"x/{NAME}",
        NAME,
        "attachment/photo.png",
        f"attachment/{NAME}.bak",
        f"attachment/x/{NAME}",
        "user/me",
    ):
        assert not is_made_by_growi(path), path


def test_another_name() -> None:
    assert renamed_path(f"attachment/{NAME}", "b.png") == "attachment/b.png"
    assert renamed_path(f"page-bulk-export/{NAME}", "b.zip") == "page-bulk-export/b.zip"
    assert renamed_path(OLD, "b.png") == OLD
    with pytest.raises(NameIllegal):
        renamed_path("user/x", "../b")
