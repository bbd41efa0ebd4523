from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import growi_transfer
from growi_transfer.protocol.errors import CollectionIllegal, InvalidRequest, JsonInvalid, NameIllegal
from growi_transfer.protocol.wire import (
    PLAN_FILES,
    AttachmentFile,
    Collection,
    Manifest,
    PlanPage,
    PutTransfer,
    SetUp,
    Shape,
    Verify,
    parse,
)

DIGEST = "0f" * 32
COLLECTION: dict[str, Any] = {
    "number": 3,
    "name": "pages",
    "kind": "collection",
    "uuid": "ab" * 16,
    "metadata": "{}",
    "documents": 5,
    "bytes": 1 << 40,
}
SET_UP: dict[str, Any] = {
    "protocol": 1,
    "preset": "replace",
    "source": {"version": "7.3.0", "password_seed_fingerprint": DIGEST},
    "excluded_collections": ["logs"],
    "upload_settings": {"app:fileUploadType": "aws", "a": [None, True, 1.5, -(1 << 63)]},
}
FILE: dict[str, Any] = {
    "id": "0" * 24,
    "file_name": f"{'0' * 32}.png",
    "has_page": True,
    "size": 1,
    "sha256": DIGEST,
}
MANIFEST: dict[str, Any] = {"collection": "pages", "number": 0, "documents": 1, "bytes": 5, "digest": DIGEST}
VERIFY: dict[str, Any] = {"collections": [{"number": 0, "documents": 1, "digest": DIGEST}], "files": 2, "seconds": 5}
VALID: list[tuple[type[Shape], dict[str, Any]]] = [
    (SetUp, SET_UP),
    (Collection, COLLECTION),
    (PutTransfer, {"setup": SET_UP, "collections": [COLLECTION, COLLECTION], "files_total": 3}),
    (Manifest, MANIFEST),
    (AttachmentFile, FILE),
    (PlanPage, {"files": [FILE]}),
    (Verify, VERIFY),
]


def changed(shape: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of the shape with another value at a dotted path."""
    copy: dict[str, Any] = json.loads(json.dumps(shape))
    inner: Any = copy
    *way, last = path.split(".")
    for step in way:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    inner[last] = value
    return copy


@pytest.mark.parametrize(("shape", "value"), VALID)
def test_what_is_right_is_taken_and_given_back_the_same(shape: type[Shape], value: dict[str, Any]) -> None:
    parsed = parse(shape, json.dumps(value))
    assert parse(shape, json.dumps(value).encode()) == parsed
    assert parse(shape, parsed.model_dump_json()) == parsed
    assert parsed.model_dump(mode="json", exclude_unset=True) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"nope",
        b'{"source":{}',
        b"{'source':{}}",
        b'{"source":{}}x',
        b'{"source":{},}',
        b"\xef\xbb\xbf{}",
        b'{"source":{"version":"\xff"}}',
        b'{"source":{"version":"\\ud800"}}',
        b'{"source":{"version":"\x00"}}',
        b"[" * 100_000,
        b'{"source":{},"upload_settings":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
        b'{"source":{},"upload_settings":{"a":1' + b"0" * 5000 + b"}}",
        b"\x80\x04K\x01.",
    ],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(JsonInvalid):
        parse(SetUp, body)


@pytest.mark.parametrize("body", ["null", "[]", "5", '"text"', "true", "NaN"])
def test_what_is_no_object_is_refused(body: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(SetUp, body)
    assert caught.value.details["field"] == "body"


@pytest.mark.parametrize(
    ("shape", "value", "path", "wrong"),
    [
        (SetUp, SET_UP, "protocol", 2),
        (SetUp, SET_UP, "protocol", True),
        (SetUp, SET_UP, "protocol", 1.0),
        (SetUp, SET_UP, "preset", "append"),
        (SetUp, SET_UP, "source.version", "x" * 2001),
        (SetUp, SET_UP, "source.more", 1),
        (SetUp, SET_UP, "with_attachments", 1),
        (SetUp, SET_UP, "excluded_collections", ["system.views"]),
        (SetUp, SET_UP, "excluded_collections", "logs"),
        (SetUp, SET_UP, "upload_settings", {"a": 10**400}),
        (SetUp, SET_UP, "upload_settings", {"a": [{"b": 1 << 63}]}),
        (Collection, COLLECTION, "number", -1),
        (Collection, COLLECTION, "number", 100_000),
        (Collection, COLLECTION, "number", "3"),
        (Collection, COLLECTION, "number", 3.0),
        (Collection, COLLECTION, "number", True),
        (Collection, COLLECTION, "number", None),
        (Collection, COLLECTION, "kind", "timeseries"),
        (Collection, COLLECTION, "name", "growi_transfer_transfers"),
        (Collection, COLLECTION, "name", "sessions"),
        (Collection, COLLECTION, "uuid", "AB" * 16),
        (Collection, COLLECTION, "bytes", 1 << 63),
        (Collection, COLLECTION, "documents", 10**1000),
        (Manifest, MANIFEST, "digest", DIGEST + "\n"),
        (Manifest, MANIFEST, "digest", DIGEST.upper()),
        (Manifest, MANIFEST, "digest", DIGEST[1:]),
        (Manifest, MANIFEST, "number", 1 << 31),
        (Manifest, MANIFEST, "collection", "a\x00b"),
        (Manifest, MANIFEST, "__proto__", {}),
        (AttachmentFile, FILE, "id", "0" * 23),
        (AttachmentFile, FILE, "id", "0" * 24 + "\n"),
        (AttachmentFile, FILE, "file_name", "../x"),
        (AttachmentFile, FILE, "file_name", "x" * 300),
        (AttachmentFile, FILE, "has_page", "true"),
        (AttachmentFile, FILE, "size", -1),
        (PlanPage, {"files": [FILE]}, "files.0.size", 1.5),
        (PlanPage, {"files": [FILE]}, "files", {"0": FILE}),
        (PlanPage, {"files": []}, "files", [FILE] * (PLAN_FILES + 1)),
        (Verify, VERIFY, "collections.0.number", 10**1000),
        (Verify, VERIFY, "seconds", 61),
        (Verify, VERIFY, "seconds", "5"),
    ],
)
def test_a_wrong_field_is_refused_and_named(shape: type[Shape], value: dict[str, Any], path: str, wrong: Any) -> None:
    parse(shape, json.dumps(value))
    with pytest.raises(InvalidRequest) as caught:
        parse(shape, json.dumps(changed(value, path, wrong)))
    assert not isinstance(caught.value, JsonInvalid)
    assert str(caught.value.details["field"]).startswith(path)
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("place", ['"upload_settings":{"a":[%s]}', '"with_attachments":%s', '"protocol":%s'])
def test_numbers_that_json_does_not_have_are_refused(number: str, place: str) -> None:
    with pytest.raises(InvalidRequest):
        parse(SetUp, '{"source":{},' + place % number + "}")
    with pytest.raises(InvalidRequest):
        parse(Verify, '{"collections":[],"files":0,"seconds":' + number + "}")


def test_the_code_of_an_illegal_name_is_told() -> None:
    with pytest.raises(NameIllegal, match="file_name: The fileName must be one path segment"):
        parse(AttachmentFile, json.dumps({**FILE, "file_name": "a/b"}))
    with pytest.raises(CollectionIllegal, match=r"^collection: System collections are never transferred\.$") as caught:
        parse(Manifest, json.dumps({**MANIFEST, "collection": "system.x"}))
    assert caught.value.details == {"collection": "system.x", "field": "collection", "errors": 1}


def test_a_wrong_field_with_a_long_name_is_not_repeated_whole() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(SetUp, json.dumps({"source": {}, "k" * 1_000_000: 1}))
    assert len(caught.value.message) < 500
    assert len(str(caught.value.details)) < 500


COST = """
import re, sys, time
from pathlib import Path
from growi_transfer.protocol.errors import InvalidRequest
from growi_transfer.protocol.wire import SetUp, parse

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

body = sys.stdin.buffer.read()
parse(SetUp, '{"source":{}}')
before, started = peak(), time.process_time()
try:
    parse(SetUp, body)
except InvalidRequest:
    print(time.process_time() - started, (peak() - before) >> 10)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize(
    ("values", "wrap"),
    [
        ((f'"a{number}":0' for number in range(1_000_000)), "%s"),
        ((f'"a{number}":0' for number in range(150_000)), "%s"),
        (["0"] * 4_000_000, '"excluded_collections":[%s]'),
        (["0"] * 199_000, '"excluded_collections":[%s]'),
    ],
    ids=["a million names", "many names", "four million values", "many values"],
)
def test_many_faults_cost_little(values: Iterable[str], wrap: str) -> None:
    body = '{"source":{},' + wrap % ",".join(values) + "}"
    environment = {**os.environ, "PYTHONPATH": str(Path(growi_transfer.__file__).parents[1])}
    ran = subprocess.run(
        [sys.executable, "-c", COST], input=body.encode(), capture_output=True, check=True, timeout=60, env=environment
    )
    seconds, mebibytes = ran.stdout.split()
    assert float(seconds) < 2
    assert int(mebibytes) < 60


def test_a_list_is_refused_at_its_first_fault() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(PlanPage, json.dumps({"files": [0] * PLAN_FILES}))
    assert caught.value.details == {"field": "files.0", "errors": 1}


def test_the_largest_right_bodies_are_taken() -> None:
    files = [{**FILE, "id": f"{number:024x}", "original_name": "日,本,語" * 20} for number in range(PLAN_FILES)]
    assert len(parse(PlanPage, json.dumps({"files": files}, ensure_ascii=False)).files) == PLAN_FILES
    proofs = [{"number": number, "documents": 1, "digest": DIGEST} for number in range(20_000)]
    assert len(parse(Verify, json.dumps({**VERIFY, "collections": proofs})).collections) == 20_000


def test_shapes_cannot_be_changed() -> None:
    parsed = parse(Manifest, json.dumps(MANIFEST))
    with pytest.raises(ValidationError):
        parsed.number = 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(VALID), st.data())
def test_any_json_is_a_value_or_one_of_our_errors(
    valid: tuple[type[Shape], dict[str, Any]], data: st.DataObject
) -> None:
    shape, value = valid
    field = data.draw(st.sampled_from(sorted(value)) | st.text(max_size=5))
    body = json.dumps({**value, field: data.draw(JSON)})
    try:
        parsed = parse(shape, body)
    except InvalidRequest as error:
        str(error).encode()
    else:
        assert parse(shape, parsed.model_dump_json()) == parsed


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_bytes_are_a_value_or_one_of_our_errors(body: bytes | str) -> None:
    for shape, _ in VALID:
        with pytest.raises(InvalidRequest):
            parse(shape, body)
