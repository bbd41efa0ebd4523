from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.archive.layout import check_database, collection_of, metadata_file, stem_of, top_level
from growi_transfer.protocol.errors import ArchiveInvalid, JsonInvalid

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00$"), min_size=1, max_size=90)


@pytest.mark.parametrize(
    ("collection", "stem"),
    [
        ("pages", "pages"),
        ("yjs-writings", "yjs-writings"),
        ("attachmentFiles.files", "attachmentFiles.files"),
        ("a b+c/d~e_f", "a+b%2Bc%2Fd~e_f"),
        ("%41", "%2541"),
        ("ページ", "%E3%83%9A%E3%83%BC%E3%82%B8"),
        ("x" * 238, "x" * 238),
        # The digest was computed with another program: printf '%s' NAME | openssl sha1 -binary | base64
        ("x" * 239, "x" * 208 + "%24" + "Nq75d-cu3iRxNs-ce3Tvf9gagoU"),
    ],
)
def test_file_names_are_those_of_mongodump(collection: str, stem: str) -> None:
    assert stem_of(collection) == stem
    assert collection_of(stem, collection) == collection


@given(NAMES)
def test_every_name_comes_back(name: str) -> None:
    stem = stem_of(name)
    assert len(stem) <= 238
    assert set(stem) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~%+")
    assert collection_of(stem, name) == name
    if len(stem) < 238:
        assert collection_of(stem, None) == name


def test_a_shortened_name_needs_its_metadata() -> None:
    stem = stem_of("ページ" * 30)
    assert len(stem) == 238
    with pytest.raises(ArchiveInvalid, match="true name"):
        collection_of(stem, None)


@pytest.mark.parametrize("stem", ["pages", stem_of("x" * 300)])
def test_metadata_of_another_collection_are_refused(stem: str) -> None:
    with pytest.raises(ArchiveInvalid, match="another collection"):
        collection_of(stem, "users")


def test_names_that_are_not_unicode_are_refused() -> None:
    with pytest.raises(ArchiveInvalid):
        collection_of("%ff%fe", None)


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "a\\b", "a b", "a$", 'a"', "a\0", "..", "a:b", "x" * 64, "日" * 22])
def test_databases_that_cannot_be_folders_are_refused(name: str) -> None:
    with pytest.raises(ArchiveInvalid):
        check_database(name)


def test_usual_databases_can_be_folders() -> None:
    for name in ("growi", "growi_a", "my-wiki", "日本語", "x" * 63):
        assert check_database(name) == name


# What mongodump wrote for a collection of a real GROWI 7.3.
REAL = (
    '{"indexes":[{"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"},'
    '{"v":{"$numberInt":"2"},"key":{"pageId":{"$numberInt":"1"}},"name":"pageId_1","background":true}],'
    '"uuid":"79313135853a4cc797150000d9ff6df3","collectionName":"revisions","type":"collection"}'
)


def test_the_metadata_file_is_that_of_mongodump() -> None:
    indexes = top_level(REAL)["indexes"]
    made = metadata_file(
        f'{{"indexes":{indexes}}}', name="revisions", uuid="79313135853a4cc797150000d9ff6df3", kind="collection"
    )
    assert made == REAL


def test_empty_options_are_left_out_as_mongodump_does() -> None:
    for options in ('"options":{},', '"options":{ },', ""):
        made = metadata_file(f'{{{options}"indexes":[]}}', name="a", uuid="", kind="collection")
        assert made == '{"indexes":[],"collectionName":"a","type":"collection"}'


def test_options_and_indexes_are_not_written_anew() -> None:
    odd = '{ "indexes" : [ {"a":1,"a":2} ] , "options":{"size":1.50e3,"x":"\\u00e9"} }'
    made = metadata_file(odd, name='a"b', uuid="", kind="view")
    assert made == (
        '{"options":{"size":1.50e3,"x":"\\u00e9"},"indexes":[ {"a":1,"a":2} ],"collectionName":"a\\"b","type":"view"}'
    )


LEAVES = st.none() | st.integers() | st.text(max_size=5)


@given(st.dictionaries(st.text(max_size=5), LEAVES | st.lists(LEAVES, max_size=3), max_size=4))
def test_the_members_of_an_object_are_found(value: dict[str, object]) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=2), json.dumps(value, ensure_ascii=False)):
        members = top_level(text)
        assert {key: json.loads(member) for key, member in members.items()} == value
        assert all(member in text for member in members.values())


@given(st.text('{}[]:,"\\ a1-e.nul\t', max_size=20))
def test_whatever_is_taken_for_an_object_is_one(text: str) -> None:
    try:
        members = top_level(text)
    except JsonInvalid:
        return
    assert json.loads(text).keys() == members.keys()


@pytest.mark.parametrize(
    "text",
    [
        *[
            "",
            "{",
            "[]",
            "null",
            '{"a":1',
            '{"a":1,}',
            '{"a":1}x',
            '{"a":1,"a":2}',
            "{1:2}",
            '{"a" 1}',
            '{"a":}',
            '{,"a":1}',
        ],
        '{"a":' + "[" * 200_000,
        '{"a":' + "1" * 5000 + "}",
    ],
)
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(JsonInvalid):
        top_level(text)


def test_metadata_without_indexes_are_refused() -> None:
    with pytest.raises(JsonInvalid):
        metadata_file('{"options":{}}', name="a", uuid="", kind="collection")
