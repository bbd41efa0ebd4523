from __future__ import annotations

import ntpath
import posixpath
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from growi_transfer.protocol.errors import CollectionIllegal, InvalidRequest, NameIllegal
from growi_transfer.protocol.names import (
    OPERATING_STATE,
    attachment_path,
    check_attachment_id,
    check_collection,
    check_file_name,
    check_path,
    check_transfer_id,
    collision_key,
    former_name,
    is_operating_state,
    staging_name,
)

MD5 = "0123456789abcdef0123456789abcdef"
NASTY = st.text(
    alphabet=st.sampled_from('ab.-/\\ :*?"<>|~%$\x00\n\u200b\u202e\u0301éÉıİßCONPRNAUXnul123日'), max_size=20
)
NAMES = st.one_of(st.text(max_size=40), NASTY, st.builds("{}.{}".format, st.just(MD5), NASTY))


def accepted(name: object) -> bool:
    try:
        return check_file_name(name) == name
    except NameIllegal:
        return False


@given(NAMES)
@example("..")
@example("a/../../b")
@example("C:b")
def test_an_accepted_name_is_one_segment_everywhere(name: str) -> None:
    if not accepted(name):
        return
    assert PurePosixPath("root", name).parts == ("root", name)
    assert PureWindowsPath("root", name).parts == ("root", name)
    assert not PureWindowsPath(name).drive
    assert not PureWindowsPath(name).is_reserved()
    assert posixpath.normpath(posixpath.join("/root/attachment", name)) == f"/root/attachment/{name}"
    assert ntpath.normpath(ntpath.join("C:\\root", name)) == f"C:\\root\\{name}"
    assert len(name.encode()) <= 255
    assert unicodedata.normalize("NFC", name) == name
    assert name.isprintable()


@given(NAMES, st.booleans())
def test_an_accepted_name_gives_a_path_that_is_accepted_again(name: str, has_page: bool) -> None:
    if accepted(name):
        path = attachment_path(name, has_page=has_page)
        assert check_path(path) == path
        assert PurePosixPath(path).parts == ("attachment" if has_page else "user", name)
    else:
        with pytest.raises(NameIllegal):
            attachment_path(name, has_page=has_page)
        with pytest.raises(NameIllegal):
            check_path(f"attachment/{name}")


@pytest.mark.parametrize(
    "name",
    [
        MD5,
        f"{MD5}.png",
        f"{MD5}.tar.gz",
        f"{MD5}.日本語",
        f"{MD5}.PNG",
        "a",
        "é",
        "x" * 255,
        "日" * 85,
        "a b.txt",
        "com.txt",
    ],
)
def test_names_that_growi_makes_are_accepted(name: str) -> None:
    assert check_file_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc/passwd",
        "a\\b",
        "..\\x",
        "C:x",
        "a:stream",
        "a\x00b",
        "a\nb",
        "a\x7fb",
        "a\u202egpj.exe",
        "a\u200bb",
        "\ufeffa",
        "a\u2028b",
        "\ud800",
        "\ue000",
        "x" * 256,
        "x" * 300,
        "日" * 86,
        ".hidden",
        "-rf",
        " a",
        "a ",
        "a.",
        "e\u0301",
        "\u212b",
        "CON",
        "con.txt",
        "nul",
        "NUL.tar.gz",
        "com1.txt",
        "COM¹",
        "lpt9",
        "aux .txt",
        "CONIN$",
        "conout$.x",
        "a*",
        "a?",
        'a"',
        "a<b",
        "a>b",
        "a|b",
    ],
)
def test_names_that_growi_never_makes_are_refused(name: str) -> None:
    with pytest.raises(NameIllegal) as caught:
        check_file_name(name)
    str(caught.value.details).encode()
    assert len(str(caught.value.details)) < 500


@pytest.mark.parametrize("name", [None, 5, b"name", ["a"], True])
def test_what_is_no_text_is_refused(name: object) -> None:
    with pytest.raises(NameIllegal):
        check_file_name(name)
    with pytest.raises(NameIllegal):
        check_path(name)
    with pytest.raises(CollectionIllegal):
        check_collection(name)
    with pytest.raises(InvalidRequest):
        check_transfer_id(name)
    with pytest.raises(InvalidRequest):
        check_attachment_id(name)


@pytest.mark.parametrize(
    "path",
    ["", "a", "attachment", "attachment/", "/attachment/a", "other/a", "attachment//a", "attachment/a/b", "user/../a"],
)
def test_paths_of_other_forms_are_refused(path: str) -> None:
    with pytest.raises(NameIllegal):
        check_path(path)


def test_names_that_differ_by_case_are_two_names_with_one_collision_key() -> None:
    upper, lower = check_file_name(f"{MD5}.PNG"), check_file_name(f"{MD5}.png")
    assert upper != lower
    assert collision_key(upper) == collision_key(lower)
    assert collision_key("attachment/a") != collision_key("user/a")


@given(st.text(max_size=20))
@example("ͅ")
@example("ẞ\u0345İ")
def test_a_collision_key_does_not_depend_on_case_or_form(name: str) -> None:
    for other in (name.casefold(), unicodedata.normalize("NFD", name), unicodedata.normalize("NFC", name)):
        assert collision_key(other) == collision_key(name)


@pytest.mark.parametrize(
    "name", ["pages", "my.plugin", "日本語", "x" * 200, "Sessions", "activities", "yjs-writings", "a..b"]
)
def test_collections_that_may_be_filled(name: str) -> None:
    assert check_collection(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a$b",
        "a\x00",
        ".a",
        "a.",
        "x" * 201,
        "日" * 67,
        "\ud800$",
        "system.views",
        "a.system.b",
        "growi_transfer_x",
        "vault_x",
        "newbulkexportjobs",
        *sorted(OPERATING_STATE),
    ],
)
def test_collections_that_no_peer_may_fill(name: str) -> None:
    with pytest.raises(CollectionIllegal) as caught:
        check_collection(name)
    str(caught.value.details).encode()
    assert len(str(caught.value.details)) < 500


@given(st.text(alphabet="abcdef0123456789", min_size=32, max_size=32), st.integers(0, 99_999))
def test_our_own_collections_are_never_moved_and_fit_into_a_name(transfer_id: str, number: int) -> None:
    for name in (staging_name(transfer_id, number), former_name(transfer_id, number)):
        assert is_operating_state(name)
        assert len(f"{'d' * 63}.{name}") < 255
    assert staging_name(transfer_id, number) != former_name(transfer_id, number)


@pytest.mark.parametrize("end", ["", "\n", " ", "A", "g", "00"])
def test_ids_are_hex_digits_of_one_length(end: str) -> None:
    good = "0123456789abcdef01234567"
    assert check_attachment_id(good) == good
    assert check_transfer_id(good + "89abcdef") == good + "89abcdef"
    with pytest.raises(InvalidRequest):
        check_attachment_id(good[: 24 - (len(end) == 0)] + end)
    with pytest.raises(InvalidRequest):
        check_transfer_id((good + "89abcdef")[: 32 - (len(end) == 0)] + end)
