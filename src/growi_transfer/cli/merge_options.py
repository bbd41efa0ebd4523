"""How people say what a merge does, and how it is shown to them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from growi_transfer.cli.output import clean
from growi_transfer.cli.session import UsageFault
from growi_transfer.protocol.wire import MERGE_KINDS, MergeRules

_WORDS = ("inserted", "renamed", "overwritten", "mapped", "same", "kept", "skipped", "left")


def merge_rules(
    merge: bool, on_conflict: Sequence[str], substitute: str | None, planned: MergeRules | None
) -> dict[str, Any] | None:
    """The rules as JSON: the plan's, with what the flags say; None when the wiki is to be replaced.

    Raises UsageFault.
    """
    if not merge and planned is None:
        if on_conflict or substitute is not None:
            raise UsageFault("--on-conflict and --substitute are for --merge.")
        return None
    values = (planned or MergeRules()).model_dump(mode="json")
    for one in on_conflict:
        kind, equals, way = one.partition("=")
        kind = kind.replace("-", "_")
        if not equals or way not in MERGE_KINDS.get(kind, ()):
            known = "; ".join(f"{name}={'|'.join(ways)}" for name, ways in MERGE_KINDS.items())
            raise UsageFault(f"--on-conflict takes {known}.")
        values[kind] = way
    if substitute is not None:
        values["substitute"] = substitute
    return values


def conflict_lines(conflicts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What would be in the way of a merge, for people. Names come from two wikis: no control characters."""
    for kind, one in conflicts.items():
        shown = kind.replace("_", " ")
        for each in one["first"]:
            to = f" ({clean(each['to'])})" if each.get("to") else ""
            yield f"{shown}: {clean(each['name'])}: {each['resolution']}{to}"
        if one["total"] > len(one["first"]):
            yield f"{shown}: {one['total'] - len(one['first']):,} more"


def merged_lines(merged: Mapping[str, Any]) -> Iterator[str]:
    """What a merge did, in sums, for people."""
    sums: Counter[str] = Counter()
    for counts in merged.get("collections", {}).values():
        sums.update(counts)
    if merged:
        words = [f"{number:,} {word}" for word in _WORDS if (number := sums.get(word))]
        yield f"documents: {', '.join(words) or 'nothing to do'}"
    for kind, one in merged.get("conflicts", {}).items():
        ways = ", ".join(f"{number:,} {way}" for way, number in one["resolutions"].items())
        yield f"conflicts of {kind.replace('_', ' ')}: {ways}"


def merge_lines(conflicts: Mapping[str, Mapping[str, Any]], rules: Mapping[str, Any]) -> Iterator[str]:
    """The tables of a plan file that say how a merge resolves conflicts."""
    yield "# The wiki is merged into the destination's. How conflicts of each kind are resolved:"
    yield "[merge]"
    for kind, ways in MERGE_KINDS.items():
        yield f"{kind} = {toml_text(rules[kind])}  # {', '.join(ways)}"
    yield "# Who takes the place of users that are skipped; empty: nobody."
    yield f"substitute = {toml_text(rules['substitute'])}"
    for kind in MERGE_KINDS:
        chosen: Mapping[str, str] = rules["items"].get(kind, {})
        first = conflicts.get(kind, {}).get("first", ()) if kind != "documents" else ()
        others = [one for one in first if one["name"] not in chosen]
        if not chosen and not others:
            continue
        yield ""
        yield f"[merge.items.{kind}]"
        for name, way in chosen.items():
            yield f"{toml_text(name)} = {toml_text(way)}"
        for one in others:
            yield f"# {toml_text(one['name'])} = {toml_text(one['resolution'])}"


def toml_text(value: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
