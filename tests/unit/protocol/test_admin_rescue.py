from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.growi_rules import (
    IDENTITY_FIELDS,
    TOKEN_IDENTITY_FIELDS,
    incoming_users_filter,
    is_loginable_admin,
    plan_admin_rescue,
)

Document = dict[str, Any]


def oid(number: int) -> ObjectId:
    return ObjectId(f"{number:024x}")


def new_ids(first: int = 1000) -> Callable[[], ObjectId]:
    numbers = itertools.count(first)
    return lambda: oid(next(numbers))


def admin(number: int, username: str = "admin", **fields: Any) -> Document:
    return {
        "_id": oid(number),
        "status": 2,
        "admin": True,
        "name": "A person",
        "username": username,
        "password": f"hash-{number}",
        **fields,
    }


def token(number: int, user: ObjectId, **fields: Any) -> Document:
    return {"_id": oid(number), "user": user, "tokenHash": f"token-{number}", "scopes": ["read:*"], **fields}


def test_an_admin_who_collides_with_nobody_is_kept_as_he_is() -> None:
    mine = admin(1, email="a@example.com", slackMemberId="S1", lang="ja_JP")
    plan = plan_admin_rescue([mine], [], [admin(2, "other", email="b@example.com")], new_id=new_ids())
    assert plan.users == (mine,)
    assert list(plan.users[0]) == list(mine)
    assert plan.report == {
        "rescued": [
            {
                "originalUsername": "admin",
                "rescuedUsername": "admin",
                "emailRemoved": False,
                "slackMemberIdRemoved": False,
                "idReassigned": False,
                "accessTokens": 0,
            }
        ],
        "unchanged": [],
    }


def test_an_admin_steps_aside_wherever_he_collides() -> None:
    mine = admin(1, email="a@example.com", slackMemberId="S1")
    incoming = [
        admin(1, "editor", admin=False),
        admin(2, "admin", email="a@example.com"),
        admin(3, "third", slackMemberId="S1"),
        admin(4, "admin-rescued"),
    ]
    plan = plan_admin_rescue([mine], [], incoming, new_id=new_ids())
    (user,) = plan.users
    assert user["_id"] == oid(1000)
    assert user["username"] == "admin-rescued-2"
    assert "email" not in user
    assert "slackMemberId" not in user
    assert (user["password"], user["status"], user["admin"]) == ("hash-1", 2, True)
    assert plan.report["rescued"] == [
        {
            "originalUsername": "admin",
            "rescuedUsername": "admin-rescued-2",
            "emailRemoved": True,
            "slackMemberIdRemoved": True,
            "idReassigned": True,
            "accessTokens": 0,
        }
    ]


def test_numbers_of_a_taken_name_go_on() -> None:
    incoming = [admin(2), admin(3, "admin-rescued"), admin(4, "admin-rescued-2"), admin(5, "admin-rescued-4")]
    plan = plan_admin_rescue([admin(1)], [], incoming, new_id=new_ids())
    assert plan.users[0]["username"] == "admin-rescued-3"


def test_a_new_name_is_not_that_of_another_kept_admin() -> None:
    mine = [admin(1), admin(2, "admin-rescued")]
    plan = plan_admin_rescue(mine, [], [admin(3)], new_id=new_ids())
    assert [user["username"] for user in plan.users] == ["admin-rescued-2", "admin-rescued"]


@pytest.mark.parametrize(
    "change",
    [
        {"status": 1},
        {"status": 3},
        {"status": "2"},
        {"admin": False},
        {"admin": None},
        {"password": ""},
        {"password": None},
        {"username": None},
    ],
)
def test_who_cannot_log_in_as_admin_is_not_rescued(change: Document) -> None:
    plan = plan_admin_rescue([{**admin(1), **change}], [token(9, oid(1))], [], new_id=new_ids())
    assert plan.users == ()
    assert plan.access_tokens == ()
    assert plan.report == {"rescued": [], "unchanged": []}


@pytest.mark.parametrize("missing", ["status", "admin", "password", "username"])
def test_a_user_without_the_field_is_no_loginable_admin(missing: str) -> None:
    user = admin(1)
    assert is_loginable_admin(user)
    del user[missing]
    assert not is_loginable_admin(user)


def test_the_same_admin_on_both_sides_needs_no_rescue() -> None:
    plan = plan_admin_rescue([admin(1)], [token(9, oid(1))], [admin(1, email="new@example.com")], new_id=new_ids())
    assert plan.users == ()
    assert plan.access_tokens == ()
    assert plan.report == {"rescued": [], "unchanged": ["admin"]}


@pytest.mark.parametrize(
    "change", [{"password": "another"}, {"admin": False}, {"status": 3}, {"username": "renamed"}, {"_id": oid(7)}]
)
def test_an_almost_equal_admin_is_rescued(change: Document) -> None:
    plan = plan_admin_rescue([admin(1)], [], [{**admin(1), **change}], new_id=new_ids())
    assert [user["password"] for user in plan.users] == ["hash-1"]


def test_access_tokens_follow_their_admin() -> None:
    mine = [token(11, oid(1)), token(12, oid(1)), token(13, oid(2)), token(14, oid(1)), {"_id": oid(15)}]
    theirs = [token(12, oid(5), tokenHash="x"), token(20, oid(5), tokenHash="token-14")]
    plan = plan_admin_rescue([admin(1)], mine, [admin(1, "other")], theirs, new_id=new_ids())
    assert plan.access_tokens == (token(11, oid(1000)), {**token(12, oid(1000)), "_id": oid(1001)})
    assert plan.report["rescued"][0]["accessTokens"] == 2


def test_null_and_empty_addresses_are_left_out_because_they_collide_in_a_unique_index() -> None:
    plan = plan_admin_rescue([admin(1, email=None, slackMemberId="")], [], [], new_id=new_ids())
    assert plan.users == (admin(1),)
    assert plan.report["rescued"][0]["emailRemoved"] is False


def test_a_new_id_that_is_taken_is_drawn_again() -> None:
    plan = plan_admin_rescue([admin(1)], [], [admin(1, "x"), admin(1000, "y")], new_id=new_ids(1000))
    assert plan.users[0]["_id"] == oid(1001)


def test_secrets_are_not_in_repr() -> None:
    plan = plan_admin_rescue([admin(1)], [token(2, oid(1))], [], new_id=new_ids())
    assert "hash-1" not in repr(plan)
    assert "token-2" not in repr(plan)


IDS = st.integers(1, 6).map(oid)
NAMES = st.sampled_from(["a", "b", "a-rescued", "a-rescued-2", "a-rescued-3", "b-rescued", "a-rescued-rescued"])
USERS = st.fixed_dictionaries(
    {
        "_id": IDS,
        "username": NAMES,
        "status": st.sampled_from([2, 2, 2, 3]),
        "admin": st.sampled_from([True, True, False]),
        "password": st.sampled_from(["hash:1", "hash:2"]),
    },
    optional={
        "email": st.sampled_from(["mail:1", "mail:2", "mail:3"]),
        "slackMemberId": st.sampled_from(["slack:1", "slack:2"]),
    },
)
TOKENS = st.fixed_dictionaries(
    {"_id": IDS, "user": IDS, "tokenHash": st.sampled_from(["token:1", "token:2", "token:3", "token:4"])}
)
UNIQUE_IN_USERS = ("_id", "username", "email", "slackMemberId")


def values(documents: list[Document], name: str) -> list[Any]:
    return [document[name] for document in documents if name in document]


def unique(documents: list[Document], names: tuple[str, ...]) -> list[Document]:
    """The documents that a collection with these unique indexes would have taken."""
    taken: list[Document] = []
    for document in documents:
        if all(document[name] not in values(taken, name) for name in names if name in document):
            taken.append(document)
    return taken


def matches(query: Document, document: Document) -> bool:
    """The little of MongoDB's query language that `incoming_users_filter` uses."""
    for branch in query["$or"]:
        ((name, condition),) = branch.items()
        if name not in document:
            continue
        if "$in" in condition and document[name] in condition["$in"]:
            return True
        if "$gte" in condition and condition["$gte"] <= document[name] < condition["$lt"]:
            return True
    return False


@given(
    st.lists(USERS, max_size=6), st.lists(TOKENS, max_size=5), st.lists(USERS, max_size=8), st.lists(TOKENS, max_size=4)
)
def test_every_admin_can_log_in_and_nobody_collides(
    mine: list[Document], my_tokens: list[Document], theirs: list[Document], their_tokens: list[Document]
) -> None:
    theirs = unique(theirs, UNIQUE_IN_USERS)
    their_tokens = unique(their_tokens, ("_id", "tokenHash"))
    my_tokens = unique(my_tokens, ("_id", "tokenHash"))
    mine = unique(mine, UNIQUE_IN_USERS)
    before = copy.deepcopy((mine, my_tokens, theirs, their_tokens))
    plan = plan_admin_rescue(mine, my_tokens, theirs, their_tokens, new_id=new_ids())
    assert (mine, my_tokens, theirs, their_tokens) == before

    users, tokens = [*theirs, *plan.users], [*their_tokens, *plan.access_tokens]
    for name in UNIQUE_IN_USERS:
        assert len(values(users, name)) == len(set(values(users, name)))
    for name in ("_id", "tokenHash"):
        assert len(values(tokens, name)) == len(set(values(tokens, name)))

    told = {line["originalUsername"]: line for line in plan.report["rescued"]}
    admins = [user for user in mine if is_loginable_admin(user)]
    assert sorted([*told, *plan.report["unchanged"]]) == sorted(user["username"] for user in admins)
    for old in admins:
        name = old["username"]
        if name in plan.report["unchanged"]:
            (same,) = [user for user in theirs if user["_id"] == old["_id"]]
            assert (same["username"], same["password"]) == (name, old["password"])
            assert is_loginable_admin(same)
            continue
        line = told[name]
        (kept,) = [user for user in plan.users if user["username"] == line["rescuedUsername"]]
        assert is_loginable_admin(kept)
        assert kept["password"] == old["password"]
        assert line["idReassigned"] is (kept["_id"] != old["_id"]) is (old["_id"] in values(theirs, "_id"))
        assert (name != kept["username"]) is (name in values(theirs, "username"))
        assert line["emailRemoved"] is ("email" in old and "email" not in kept)
        assert line["emailRemoved"] is (old.get("email") in values(theirs, "email"))
        theirs_hashes = values(their_tokens, "tokenHash")
        follow = [t["tokenHash"] for t in my_tokens if t["user"] == old["_id"] and t["tokenHash"] not in theirs_hashes]
        assert [t["tokenHash"] for t in plan.access_tokens if t["user"] == kept["_id"]] == follow
        assert line["accessTokens"] == len(follow)

    report = json.dumps(plan.report)
    assert not any(secret in report for secret in ("hash:", "mail:", "slack:", "token:"))

    query = incoming_users_filter(mine)
    fewer = [{name: user[name] for name in IDENTITY_FIELDS if name in user} for user in theirs if matches(query, user)]
    only_ids = [{name: one[name] for name in TOKEN_IDENTITY_FIELDS} for one in their_tokens]
    assert plan_admin_rescue(mine, my_tokens, fewer, only_ids, new_id=new_ids()) == plan


@given(st.lists(USERS, max_size=6), st.lists(USERS, max_size=6))
def test_a_destination_without_its_unique_indexes_is_repaired_too(mine: list[Document], theirs: list[Document]) -> None:
    theirs = unique(theirs, UNIQUE_IN_USERS)
    plan = plan_admin_rescue(mine, [], theirs, new_id=new_ids())
    users = [*theirs, *plan.users]
    for name in UNIQUE_IN_USERS:
        assert len(values(users, name)) == len(set(values(users, name)))
