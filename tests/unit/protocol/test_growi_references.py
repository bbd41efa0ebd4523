"""References are rewritten wholly, and nothing else is touched."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.growi_references import (
    LINKS,
    NATURAL_KEYS,
    REFERENCES,
    Belongs,
    Fate,
    references,
    rewrite,
    targets_of,
)

IDS = st.sampled_from([f"{number:024x}" for number in range(8)])
SCALARS = st.one_of(st.none(), st.integers(), st.text(max_size=5), IDS)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text(max_size=3), SCALARS, max_size=2))
COLLECTIONS = sorted(REFERENCES)


def documents(collection: str) -> st.SearchStrategy[dict[str, Any]]:
    """Documents with the fields of the table, rightly and wrongly filled, and others."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for reference in REFERENCES[collection]:
        one: st.SearchStrategy[Any] = IDS
        if reference.inner:
            kinds = st.sampled_from(["UserGroup", "ExternalUserGroup", "Nothing"])
            one = st.fixed_dictionaries({reference.inner: IDS, "type": kinds, "_id": st.integers()})
        elif reference.model:
            fields[reference.model] = st.sampled_from(["Page", "User", "Nothing"])
        fields[reference.field] = st.one_of(one, st.lists(one, max_size=4), VALUES)
    for field in LINKS.get(collection, ()):
        fields[field] = st.one_of(VALUES, IDS.map(lambda one: f"see /{one} and /attachment/{one}."))
    return st.fixed_dictionaries({"_id": IDS, "note": VALUES}, optional=fields)


@given(st.sampled_from(COLLECTIONS).flatmap(lambda name: st.tuples(st.just(name), documents(name))))
def test_nothing_changes_when_no_id_does(case: tuple[str, dict[str, Any]]) -> None:
    collection, document = case
    before = deepcopy(document)
    assert rewrite(collection, document, lambda *_: None) is document
    assert document == before


@given(
    st.sampled_from(COLLECTIONS).flatmap(lambda name: st.tuples(st.just(name), documents(name))),
    st.dictionaries(IDS, st.one_of(st.none(), st.text("xyz", min_size=1, max_size=2)), max_size=5),
)
def test_every_reference_is_rewritten_and_no_other_field(
    case: tuple[str, dict[str, Any]], moves: dict[str, str | None]
) -> None:
    collection, document = case
    before = deepcopy(document)
    asked: set[tuple[str, str]] = set()

    def resolve(target: str, identity: Any, as_text: bool) -> Fate | None:
        asked.add((target, str(identity)))
        return Fate(moves[identity]) if isinstance(identity, str) and identity in moves else None

    found = {(target, str(identity)) for target, identity, _ in references(collection, document)}
    new = rewrite(collection, document, resolve)
    assert document == before
    assert asked <= found
    assert {target for target, _ in found} <= targets_of(collection)
    if new is None:
        gone = [one for one in found if moves.get(one[1], "") is None]
        assert gone
        assert any(reference.belongs is not Belongs.NO for reference in REFERENCES[collection])
        return
    assert asked == found
    for _, identity, as_text in references(collection, new):
        # Only a link in a text may go on to lead nowhere: there is nothing to be put in its place.
        if isinstance(identity, str) and identity in moves:
            assert as_text
            assert moves[identity] is None
    known = {reference.field for reference in REFERENCES[collection]} | set(LINKS.get(collection, ()))
    assert {name: value for name, value in new.items() if name not in known} == {
        name: value for name, value in before.items() if name not in known
    }
    assert list(new) == list(before)


def test_unknown_collections_are_left_as_they_are() -> None:
    document = {"_id": 1, "page": "a", "user": ["b"], "body": f"/{0:024x}"}
    assert rewrite("plugin_notes", document, lambda *_: Fate("x")) is document
    assert targets_of("plugin_notes") == frozenset()


def test_who_becomes_one_is_named_once() -> None:
    page = {"liker": ["a", "b", "c"]}
    assert rewrite("pages", page, lambda _, one, __: Fate("a") if one == "b" else None) == {"liker": ["a", "c"]}


@pytest.mark.parametrize(
    ("collection", "document", "kept", "expected"),
    [
        ("comments", {"page": "p", "replyTo": None}, True, None),
        ("bookmarks", {"page": "p", "user": "u"}, True, {"page": "P", "user": "u"}),
        ("bookmarks", {"page": "p", "user": "u"}, False, {"page": "P", "user": "u"}),
        ("comments", {"page": "p"}, False, {"page": "P"}),
        ("yjs-writings", {"docName": "p"}, False, {"docName": "P"}),
        ("activities", {"target": "p", "targetModel": "Page"}, True, None),
        ("activities", {"target": "p", "targetModel": "User"}, True, {"target": "p", "targetModel": "User"}),
    ],
)
def test_what_belongs_to_a_page_goes_with_it_and_what_points_to_it_follows(
    collection: str, document: dict[str, Any], kept: bool, expected: dict[str, Any] | None
) -> None:
    def resolve(target: str, identity: Any, as_text: bool) -> Fate | None:
        return Fate("P", kept=kept) if (target, identity) == ("pages", "p") else None

    assert rewrite(collection, document, resolve) == expected


def test_a_group_that_does_not_come_leaves_the_page_and_its_grant() -> None:
    groups = [{"type": "UserGroup", "item": "a"}, {"type": "ExternalUserGroup", "item": "a"}]
    page = {"grant": 5, "grantedGroups": groups}
    new = rewrite("pages", page, lambda target, *_: Fate(None) if target == "usergroups" else None)
    assert new == {"grant": 5, "grantedGroups": groups[1:]}


def test_natural_keys_are_of_collections_that_growi_knows() -> None:
    assert set(NATURAL_KEYS) >= {"tags", "bookmarks", "pagetagrelations", "usergrouprelations", "pageredirects"}
    assert not set(NATURAL_KEYS) & {"users", "pages", "configs"}
