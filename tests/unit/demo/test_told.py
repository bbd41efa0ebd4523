from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import ObjectId
from bson.raw_bson import RawBSONDocument

from growi_transfer.demo.compare import Former
from growi_transfer.demo.rewrites import Action, Rewrite, find, parse_document, wrong
from growi_transfer.demo.told import rewrites_of

ADMIN, NEW, TOKEN = ObjectId(b"admin0000000"), ObjectId(b"new000000000"), ObjectId(b"token0000000")


def raw(**fields: Any) -> bytes:
    return bson.encode(fields)


def doc(**fields: Any) -> RawBSONDocument:
    return parse_document(raw(**fields))


FORMER = Former(
    {
        "configs": [raw(_id=1, key="app:siteUrl", value='"here"', updatedAt=1)],
        "users": [raw(_id=ADMIN, username="admin", email="a@b", password="hash", admin=True)],
        "accesstokens": [raw(_id=TOKEN, user=ADMIN, tokenHash="f")],
    }
)


def admin_told(**changes: Any) -> dict[str, Any]:
    told = {"originalUsername": "admin", "rescuedUsername": "admin-rescued", "emailRemoved": False}
    return {**told, "slackMemberIdRemoved": False, "idReassigned": False, "accessTokens": 1, **changes}


def rescue(identity: ObjectId, **changes: Any) -> list[Rewrite]:
    entries = [{"collection": "users", "id": str(identity), "action": "insert", "reason": "rescue"}]
    entries += [{"collection": "accesstokens", "id": str(TOKEN), "action": "insert", "reason": "rescue"}]
    return rewrites_of({"rewritten": entries, "rescue": {"rescued": [admin_told(**changes)]}}, FORMER)


def judged(rewrite: Rewrite, source: RawBSONDocument | None, now: RawBSONDocument | None) -> str:
    return wrong(rewrite, source, find(FORMER.documents[rewrite.collection], rewrite), now)


def setting(action: str = "set", reason: str = "address", key: str = "app:siteUrl") -> Rewrite:
    [rewrite] = rewrites_of(
        {"rewritten": [{"collection": "configs", "key": key, "action": action, "reason": reason}]}, FORMER
    )
    return rewrite


SOURCE = doc(_id=7, key="app:siteUrl", value='"there"', updatedAt=2, __v=0)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (doc(_id=7, key="app:siteUrl", updatedAt=9, __v=0, value='"here"'), ""),
        (doc(_id=1, key="app:siteUrl", value='"here"', updatedAt=1), ""),
        (SOURCE, "value is '\"there\"'"),
        (doc(_id=7, key="app:siteUrl", value='"here"', updatedAt=9, __v=1), "__v was changed too"),
        (doc(_id=8, key="app:siteUrl", value='"here"', updatedAt=9, __v=0), "_id was changed too"),
        (doc(_id=7, key="app:siteUrl", value='"here"', updatedAt=9, __v=0, more=1), "more was changed too"),
        (doc(_id=7, key="app:siteUrl", updatedAt=9, __v=0), "value is missing"),
        (None, "it is gone"),
    ],
)
def test_a_kept_setting_has_the_former_value_and_nothing_else_of_it(now: RawBSONDocument | None, reason: str) -> None:
    assert judged(setting(), SOURCE, now) == reason


def test_a_kept_setting_that_the_source_has_not_is_the_former_document() -> None:
    kept = setting()
    assert judged(kept, None, doc(_id=99, key="app:siteUrl", value='"here"', updatedAt=1)) == ""
    assert judged(kept, None, doc(_id=99, key="app:siteUrl", value='"else"', updatedAt=1)) == "value is '\"else\"'"


def test_a_setting_that_the_destination_did_not_have_is_gone() -> None:
    removed = setting("remove", "storage", "gcs:bucket")
    source = doc(_id=3, key="gcs:bucket", value='"x"')
    assert judged(removed, source, None) == ""
    assert judged(removed, source, source) == "the destination did not have it, and has it now"


def test_a_setting_told_as_removed_that_the_destination_had_is_wrong() -> None:
    assert judged(setting("remove"), SOURCE, None) == "it is gone"


def test_maintenance_mode_is_on() -> None:
    on = setting(reason="maintenance", key="app:isMaintenanceMode")
    assert on.action is Action.SET
    new = doc(_id=5, key="app:isMaintenanceMode", createdAt=1, updatedAt=1, value="true")
    assert judged(on, None, new) == ""
    assert judged(on, None, doc(_id=5, key="app:isMaintenanceMode", createdAt=1, value="false")) == "value is 'false'"
    assert judged(on, None, None) == "it is gone"


def test_a_rescued_admin_is_the_former_one_under_another_name() -> None:
    user, token = rescue(ADMIN)
    now = doc(_id=ADMIN, username="admin-rescued", email="a@b", password="hash", admin=True)
    assert judged(user, None, now) == ""
    assert judged(token, None, doc(_id=TOKEN, user=ADMIN, tokenHash="f")) == ""
    other = doc(_id=ADMIN, username="admin-rescued", email="a@b", password="other", admin=True)
    assert judged(user, None, other) == "password was changed too"
    assert judged(user, now, now) == "the source has one too"


def test_a_rescued_admin_may_lose_an_address_and_get_an_id_if_that_is_told() -> None:
    user, token = rescue(NEW, emailRemoved=True, idReassigned=True)
    assert judged(user, None, doc(_id=NEW, username="admin-rescued", password="hash", admin=True)) == ""
    kept = doc(_id=NEW, username="admin-rescued", email="a@b", password="hash", admin=True)
    assert judged(user, None, kept) == "email is there"
    assert judged(token, None, doc(_id=TOKEN, user=NEW, tokenHash="f")) == ""
    assert judged(token, None, doc(_id=TOKEN, user=ADMIN, tokenHash="f")) == f"user is '{ADMIN}'"


@pytest.mark.parametrize(
    "told",
    [
        {"rewritten": [{"collection": "pages", "id": "1", "action": "insert", "reason": "rescue"}]},
        {"rewritten": [{"collection": "users", "id": str(ADMIN), "action": "insert", "reason": "rescue"}]},
        {"rewritten": [{"collection": "configs", "key": "a", "action": "shredded", "reason": "address"}]},
    ],
)
def test_what_cannot_be_meant_is_an_error(told: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="told to be rewritten"):
        rewrites_of(told, FORMER)
