"""What a merge is told on the command line and in a plan."""

from __future__ import annotations

import tomllib

import pytest

from growi_transfer.cli.merge_options import conflict_lines, merge_lines, merge_rules
from growi_transfer.cli.plan_file import options_from, parse_plan
from growi_transfer.cli.session import UsageFault
from growi_transfer.protocol.errors import SettingInvalid
from growi_transfer.protocol.wire import MergeRules


def test_nothing_is_merged_unless_it_is_said() -> None:
    assert merge_rules(False, (), None, None) is None
    rules = merge_rules(True, (), None, None)
    assert rules is not None
    assert (rules["users"], rules["groups"], rules["pages"]) == ("match", "map", "skip")


def test_flags_win_over_the_plan() -> None:
    planned = parse_plan(
        {"merge": {"pages": "skip", "users": "map", "substitute": "a", "items": {"pages": {"/x": "overwrite"}}}},
        "a plan",
    )
    options = options_from(
        {"merge": merge_rules(False, ["pages=rename", "external-accounts=skip"], "b", planned.merge)}, planned
    )
    rules = options.merge
    assert rules is not None
    assert (rules["pages"], rules["users"], rules["external_accounts"]) == ("rename", "map", "skip")
    assert rules["substitute"] == "b"
    assert rules["items"] == {"pages": {"/x": "overwrite"}}


@pytest.mark.parametrize(
    "merge",
    [
        {"pages": 1},
        {"pages": "map"},
        {"items": {"pages": {"x": "no"}}},
        {"items": {"tags": {"x": "skip"}}},
        {"items": {"documents": {"x": "skip"}}},
        {"what": 1},
        1,
    ],
)
def test_rules_that_are_none_are_refused_in_words(merge: object) -> None:
    with pytest.raises(SettingInvalid, match="merge"):
        parse_plan({"merge": merge}, "a plan")


def test_a_saved_plan_says_the_same_and_offers_the_rest() -> None:
    rules = MergeRules(pages="rename", items={"users": {'b"ob': "skip"}}).model_dump(mode="json")
    conflicts = {"pages": {"total": 1, "first": [{"name": "/a\nb", "resolution": "rename"}]}}
    text = "\n".join(merge_lines(conflicts, rules))
    again = parse_plan(tomllib.loads(text), "a plan").merge
    assert again is not None
    assert again.items == {**rules["items"], "pages": {}}
    assert again.pages == "rename"
    assert '# "/a\\nb" = "rename"' in text


@pytest.mark.parametrize("given", ["pages", "pages=map", "tags=skip", "=skip", ""])
def test_a_resolution_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(UsageFault, match="users=match"):
        merge_rules(True, [given], None, None)


def test_rules_need_a_merge() -> None:
    with pytest.raises(UsageFault, match="--merge"):
        merge_rules(False, ["pages=skip"], None, None)


def test_conflicts_are_told_with_the_number_of_the_others() -> None:
    found = {"pages": {"total": 3, "first": [{"name": "/a", "resolution": "rename", "to": "/b"}]}}
    assert list(conflict_lines(found)) == ["pages: /a: rename (/b)", "pages: 2 more"]
