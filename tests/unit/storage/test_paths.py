"""The guard before every storage: what it lets through stays inside, whatever the path is."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from growi_transfer.protocol.errors import InvalidRequest, NameIllegal
from growi_transfer.storage.gridfs import filename_of
from growi_transfer.storage.paths import check_upload_id, split_path

PATHS = st.one_of(
    st.text(), st.lists(st.sampled_from(["..", ".", "", "a", "attachment", ".growi-transfer", "\x00"])).map("/".join)
)


@given(PATHS)
@example("../x")
@example("a/../../x")
@example("//x")
@example("a/\ud800")
def test_a_path_that_passes_stays_below_the_root(path: str) -> None:
    try:
        parts = split_path(path)
    except NameIllegal:
        return
    assert "/".join(parts) == path
    assert posixpath.normpath("/root/" + path) == "/root/" + path
    assert path.encode()
    assert "\x00" not in path


@given(PATHS)
def test_a_listed_gridfs_name_leads_back_to_itself(name: str) -> None:
    try:
        filename = filename_of(f"attachment/{name}")
    except NameIllegal:
        return
    assert filename == name


@pytest.mark.parametrize("path", ["attachment/a", "user/日本.png", "a", ".growi-transfer/aside/1/x", "..a/b..", "a/.b"])
def test_good_paths(path: str) -> None:
    assert "/".join(split_path(path)) == path


@given(st.text(max_size=200))
def test_an_upload_id_is_one_segment(upload_id: str) -> None:
    try:
        checked = check_upload_id(upload_id)
    except InvalidRequest:
        return
    assert checked == upload_id
    assert checked.isascii()
    assert split_path(checked) == (checked,)
