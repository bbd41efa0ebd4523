"""Forms and listings for a GROWI."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st
from python_multipart.multipart import MultipartParser

from growi_transfer.protocol.errors import InvalidRequest, JsonInvalid
from growi_transfer.pusher.growi_forms import FileForm, archive_form, attachment_form
from growi_transfer.pusher.growi_listing import Listing, parse_listing


def content(data: bytes) -> Callable[[], AsyncIterator[bytes]]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100):
            yield data[start : start + 100]

    return chunks


async def body_of(form: FileForm) -> bytes:
    return b"".join([chunk async for chunk in form.chunks()])


def parts(form: FileForm) -> list[tuple[str, bytes]]:
    """Headers and content of each part, read by a parser of somebody else's."""
    body = asyncio.run(body_of(form))
    assert len(body) == form.length
    found: list[tuple[str, bytes]] = []
    state = {"headers": b"", "data": b""}

    def begin() -> None:
        state.update(headers=b"", data=b"")

    def add(name: str) -> Callable[[bytes, int, int], None]:
        def callback(data: bytes, start: int, end: int) -> None:
            state[name] += data[start:end]

        return callback

    def end() -> None:
        found.append((state["headers"].decode(), state["data"]))

    parser = MultipartParser(
        form.content_type.partition("boundary=")[2],
        {
            "on_part_begin": begin,
            "on_header_value": add("headers"),
            "on_part_data": add("data"),
            "on_part_end": end,
        },
    )
    parser.write(body)
    parser.finalize()
    return found


@given(data=st.binary(max_size=2000), name=st.text(max_size=20), operator=st.text("0123456789abcdef", max_size=24))
def test_an_archive_goes_as_growi_sends_it(data: bytes, name: str, operator: str) -> None:
    form = archive_form(
        content(data),
        len(data),
        file_name=f"{name}.growi.zip",
        collections=["tags", "ページ"],
        options={"tags": {"mode": "insert"}},
        operator=operator,
        upload_configs={"app:fileUploadType": "local", "gcs:bucket": None},
    )
    file, collections, options, who, configs = parts(form)
    assert file[0].startswith('form-data; name="transferDataZipFile"; filename="')
    assert file[0].endswith("application/zip")
    assert file[1] == data
    assert json.loads(collections[1]) == ["tags", "ページ"]
    assert json.loads(options[1]) == {"tags": {"mode": "insert"}}
    assert who == ('form-data; name="operatorUserId"', operator.encode())
    assert json.loads(configs[1]) == {"app:fileUploadType": "local", "gcs:bucket": None}


@given(data=st.binary(max_size=2000), name=st.text(min_size=1, max_size=20), kind=st.text(max_size=20))
def test_a_file_goes_with_its_document(data: bytes, name: str, kind: str) -> None:
    identity = ObjectId()
    document = {"_id": identity, "fileName": name, "fileFormat": kind}
    text = json.dumps({"_id": str(identity), "fileName": name}, ensure_ascii=True).encode()
    file, metadata = parts(attachment_form(content(data), len(data), document, text))
    assert file[0].startswith('form-data; name="content"; filename="')
    assert file[1] == data
    assert json.loads(metadata[1]) == {
        "_id": str(identity),
        "fileName": name,
        "filePathProxied": f"/attachment/{identity}",
        "downloadPathProxied": f"/download/{identity}",
        "id": str(identity),
    }


SAMPLE = os.environ.get("GROWI_TRANSFER_SAMPLE_WIKI", "")


def recorded(name: str) -> list[tuple[str, bytes]]:
    """The parts of a request that a real GROWI sent."""
    head, _, body = (Path(SAMPLE) / "wire" / name).read_bytes().partition(b"\r\n\r\n")
    boundary = head.decode().partition("boundary=")[2].split("\r\n")[0]
    form = FileForm(f"multipart/form-data; boundary={boundary}", len(body), body, b"", content(b""))
    return parts(form)


@pytest.mark.skipif(not SAMPLE, reason="GROWI_TRANSFER_SAMPLE_WIKI is not set: no data of a real GROWI are here")
def test_forms_are_those_of_a_real_growi() -> None:
    theirs = recorded("002.req")
    collections, options, configs = (json.loads(theirs[position][1]) for position in (1, 2, 4))
    ours = parts(
        archive_form(
            content(theirs[0][1]),
            len(theirs[0][1]),
            file_name="GROWI-function now() { [native code] }.growi.zip",
            collections=collections,
            options=options,
            operator=theirs[3][1].decode(),
            upload_configs=configs,
        )
    )
    assert ours == theirs, "the same parts in the same order, byte for byte"
    theirs = recorded("004.req")
    metadata = json.loads(theirs[1][1])
    virtual = ("filePathProxied", "downloadPathProxied", "id")
    plain = {name: value for name, value in metadata.items() if name not in virtual}
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    assert parts(attachment_form(content(theirs[0][1]), len(theirs[0][1]), plain, text)) == theirs


files = st.lists(st.tuples(st.text(max_size=8), st.integers(0, 2**40)), max_size=20)


@given(files, files)
def test_a_listing_knows_names_with_their_sizes(there: list[tuple[str, int]], asked: list[tuple[str, int]]) -> None:
    listing = Listing(there)
    assert len(listing) == len(there)
    assert all(listing.has(name, size) for name, size in there)
    assert [listing.has(name, size) for name, size in asked] == [one in there for one in asked]


def test_an_answer_to_files() -> None:
    listing = parse_listing(b'{"files":[{"name":"attachment/a.png","size":3},{"name":"x.growi","size":0}]}')
    assert listing.has("a.png", 3)
    assert listing.has("x.growi", 0)
    assert not listing.has("a.png", 4)
    assert not listing.has("attachment/a.png", 3)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b"[]", b"{}", b'{"files":{}}', b'{"files":[1]}', b'{"files":[{"name":1,"size":1}]}'),
        *(b'{"files":[{"name":"a"}]}', b'{"files":[{"name":"a","size":-1}]}', b'{"files":[{"name":"a","size":true}]}'),
    ],
)
def test_what_is_no_answer_to_files(body: bytes) -> None:
    with pytest.raises((JsonInvalid, InvalidRequest)):
        parse_listing(body)
