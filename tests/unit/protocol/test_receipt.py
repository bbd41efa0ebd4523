"""Receipts: one spelling, marks that no change survives, and a page that names every field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from growi_transfer.protocol import receipt as module
from growi_transfer.protocol.digest import combine, files_digest
from growi_transfer.protocol.errors import ReceiptInvalid
from growi_transfer.protocol.receipt import (
    Receipt,
    Signer,
    Statement,
    canonical,
    packed,
    read_receipt,
    without_fractions,
)
from growi_transfer.protocol.wire import AcceptedWarning, FileFault

_PAGE = Path(__file__).parents[3] / "docs/formats/receipt.md"
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
SIDE = {"instance_id": "a" * 32}


def statement(**changes: Any) -> Statement:
    fields: dict[str, Any] = {
        "transfer": "1" * 32,
        "version": 1,
        "state": "ready",
        "final": False,
        "made_at": "2026-01-01T00:00:00+00:00",
        "setup": {"preset": "replace", "with_attachments": True},
        "source": SIDE,
        "destination": {"instance_id": "b" * 32},
        "documents": 1,
        "document_bytes": 5,
        "collections": [
            {
                "name": "pages",
                "kind": "collection",
                "documents": 1,
                "bytes": 5,
                "digest": "0" * 64,
                "definition": "1" * 64,
            }
        ],
        "attachments": {"files": 0, "bytes": 0, "digest": "0" * 64, "deep": False},
        "times": {},
    }
    return Statement.model_validate_json(json.dumps({**fields, **changes}))


@given(_JSON)
def test_canonical_json_is_the_same_after_a_round_trip_and_whatever_the_order(value: Any) -> None:
    body = canonical(value)
    again = json.loads(body)
    assert canonical(again) == body
    if isinstance(again, dict):
        assert canonical(dict(reversed(again.items()))) == body


def test_canonical_json_has_no_fractions() -> None:
    with pytest.raises(ValueError, match="fraction"):
        canonical({"a": [{"b": 0.5}]})
    assert without_fractions({"a": [1.0, 0.5, "x"]}) == {"a": [1, "0.5", "x"]}


def test_a_mark_is_good_for_its_statement_its_role_and_its_secret_alone() -> None:
    old, mine = Signer(["first"], "a" * 32), Signer(["first", "second"], "a" * 32)
    told = statement()
    assert mine.is_good(told, mine.sign(told, "pusher"))
    assert mine.is_good(told, old.sign(told, "pusher")), "an older secret that is kept still counts"
    assert not old.is_good(told, mine.sign(told, "pusher"))
    assert not mine.is_good(statement(documents=2), mine.sign(told, "pusher"))
    assert not mine.is_good(told, mine.sign(told, "pusher").model_copy(update={"role": "receiver"}))
    other = Signer(["first"], "b" * 32)
    assert not other.is_mine(mine.sign(told, "pusher"))
    assert "first" not in repr(mine.sign(told, "pusher"))


def test_a_receipt_is_read_back_as_it_was() -> None:
    signer = Signer(["secret"], "a" * 32)
    told = statement()
    document = Receipt(receipt=told).signed(signer.sign(told, "pusher")).signed(signer.sign(told, "receiver"))
    assert [mark.role for mark in document.signatures] == ["receiver", "pusher"]
    assert read_receipt(packed(document), packed=True) == document
    assert read_receipt(json.dumps(document.to_json(), indent=3).encode()) == document


@pytest.mark.parametrize(
    "body",
    [b"", b"nothing", b"[]", b'{"receipt": {}}', b"\xff", b'{"receipt": 1, "signatures": "x"}', b" " * (33 << 20)],
)
def test_what_is_no_receipt(body: bytes) -> None:
    with pytest.raises(ReceiptInvalid):
        read_receipt(body)


@given(st.lists(st.tuples(st.text(), st.integers(0, 1 << 40), st.binary(min_size=32, max_size=32))))
def test_the_digest_of_files_does_not_depend_on_their_order(files: list[tuple[str, int, bytes]]) -> None:
    assert files_digest(files) == files_digest(reversed(files))
    assert files_digest(files) == combine(files_digest([one]) for one in files)


def test_the_page_names_every_field() -> None:
    page = set(re.findall(r"`(\w+)`", _PAGE.read_text()))
    shapes = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, BaseModel)]
    reachable = {one for one in shapes if one.__module__ == module.__name__} - {module.CounterSignature, Receipt}
    for shape in (*reachable, AcceptedWarning, FileFault):
        missing = {name for name in shape.model_fields if name not in page}
        assert not missing, (shape.__name__, missing)
    for state in get_args(Statement.model_fields["state"].annotation):
        assert state in page
