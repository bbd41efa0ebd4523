"""Multipart forms, as they come from GROWI's pusher and as nobody should send them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from tests.fakes.asgi import CUT

from growi_transfer.protocol.errors import ArchiveTooLarge, BodyCut, BodyTooLarge, FormInvalid, TransferError
from growi_transfer.web import form_file, forms
from growi_transfer.web.form_file import Memory
from growi_transfer.web.forms import form

BOUNDARY = "--------------------------926c53411d70bd55ec579f17"
KIND = f"multipart/form-data; boundary={BOUNDARY}"


def part(headers: str, body: bytes) -> bytes:
    return f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode() + body + b"\r\n"


def named(name: str, body: bytes) -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', body)


def file(body: bytes, name: str = "content", filename: str = "a.txt", kind: str = "text/plain") -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {kind}', body)


END = f"--{BOUNDARY}--\r\n".encode()


def request(chunks: Iterable[Any], kind: str = KIND) -> Request:
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        chunk = left.pop(0) if left else b""
        if chunk is CUT:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": bool(left)}

    return Request({"type": "http", "headers": [(b"content-type", kind.encode())]}, receive)


def read(
    folder: Path,
    chunks: Iterable[Any],
    *,
    limit: int = 1 << 30,
    kind: str = KIND,
    memory: Memory | None = None,
    file_limit: int | None = None,
) -> Any:
    """Fields, and the file as (name, content type, content)."""

    async def work() -> Any:
        async with form(
            request(chunks, kind),
            folder,
            file_field="content",
            limit=limit,
            spare=0,
            memory=memory,
            file_limit=file_limit,
        ) as found:
            described = None
            if found.file is not None:
                kept = found.file.content
                content = kept if isinstance(kept, bytes) else kept.read_bytes()
                assert len(content) == found.file.size
                described = (found.file.name, found.file.content_type, content)
            return found.fields, described

    try:
        return asyncio.run(work())
    finally:
        assert list((folder / "spool").glob("*")) == [], "nothing is left behind"


BUDGET = 10_000


def pieces(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


@given(content=st.binary(max_size=3000), value=st.text(max_size=50), size=st.integers(1, 700), first=st.booleans())
def test_a_form_comes_out_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, value: str, size: int, first: bool
) -> None:
    parts = [file(content, filename="日本.png", kind="image/png"), named("attachmentMetadata", value.encode())]
    body = b"".join(parts if first else reversed(parts)) + END
    fields, described = read(tmp_path_factory.mktemp("form"), pieces(body, size))
    assert fields == {"attachmentMetadata": value}
    assert described == ("日本.png", "image/png", content)


@pytest.fixture
def spooled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much is written to each spool file."""
    written: list[int] = []
    real_new, real_write = form_file.new_spool_file, form_file.write_spool

    def new(folder: Path) -> Any:
        written.append(0)
        return real_new(folder)

    def write(file: Any, chunk: Any) -> None:
        written[-1] += len(chunk)
        real_write(file, chunk)

    monkeypatch.setattr(form_file, "new_spool_file", new)
    monkeypatch.setattr(form_file, "write_spool", write)
    return written


@pytest.mark.parametrize(("size", "files"), [(0, []), (1000, []), (1001, [1001]), (5000, [5000])])
def test_a_small_file_stays_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spooled: list[int], size: int, files: list[int]
) -> None:
    monkeypatch.setattr(form_file, "SMALL", 1000)
    content = bytes(range(256)) * 20
    memory = Memory(BUDGET)
    _, described = read(tmp_path, pieces(file(content[:size]) + END, 300), memory=memory)
    assert described == ("a.txt", "text/plain", content[:size])
    assert spooled == files
    assert memory.take(BUDGET), "all of it is given back"


def test_when_many_are_in_memory_the_next_is_spooled(tmp_path: Path, spooled: list[int]) -> None:
    memory = Memory(BUDGET)
    assert memory.take(BUDGET - 100)
    _, described = read(tmp_path, pieces(file(b"x" * 101) + END, 60), memory=memory)
    assert described == ("a.txt", "text/plain", b"x" * 101)
    assert spooled == [101]
    assert memory.take(100)
    assert not memory.take(1)


@pytest.mark.parametrize("memory", [True, False])
def test_a_file_over_its_limit_is_refused_before_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spooled: list[int], memory: bool
) -> None:
    monkeypatch.setattr(form_file, "SMALL", 100)
    held = Memory(BUDGET) if memory else None
    assert read(tmp_path, [file(b"x" * 500) + END], file_limit=500, memory=held)[1][2] == b"x" * 500
    spooled.clear()
    with pytest.raises(BodyTooLarge):
        read(tmp_path, pieces(file(b"x" * 9000) + END, 300), file_limit=500, memory=held)
    assert sum(spooled) <= 500
    assert held is None or held.take(BUDGET)


def test_a_content_that_looks_like_a_boundary(tmp_path: Path) -> None:
    content = f"\r\n--{BOUNDARY[:-1]}x\r\n--\r\n\r\n-".encode() * 50
    for size in (1, 7, 1 << 20):
        assert read(tmp_path, pieces(file(content) + END, size))[1] == ("a.txt", "text/plain", content)


def test_a_form_without_a_file(tmp_path: Path) -> None:
    assert read(tmp_path, [named("a", b"1") + named("b", b"") + END]) == ({"a": "1", "b": ""}, None)


def test_a_path_as_file_name_is_only_a_name(tmp_path: Path) -> None:
    _, described = read(tmp_path, [file(b"x", filename="../../evil.zip") + END])
    assert described is not None
    assert described[2] == b"x"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["spool"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        file(b"x"),
        named("a", b"1"),
        file(b"x", name="other") + END,
        file(b"x") + file(b"y") + END,
        part("Content-Type: text/plain", b"x") + END,
        part("Content-Disposition: attachment", b"x") + END,
        part("Content-Disposition: form-data", b"x") + END,
        named("a", b"1").replace(b"\r\n\r\n", b"\n\n") + END,
        part("X-Long: " + "x" * 20_000 + '\r\nContent-Disposition: form-data; name="a"', b"") + END,
        b"".join(named(f"f{number}", b"") for number in range(200)) + END,
    ],
)
def test_what_is_no_form_is_refused(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(FormInvalid):
        read(tmp_path, pieces(body, 100))


@pytest.mark.parametrize(
    "kind", ["application/json", "multipart/form-data", "multipart/mixed; boundary=x", "", "x" * 500]
)
def test_another_content_type_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(FormInvalid):
        read(tmp_path, [named("a", b"1") + END], kind=kind)


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "FIELDS_LIMIT", 1000)
    with pytest.raises(BodyTooLarge):
        read(tmp_path, [named("a", b"x" * 600) + named("b", b"x" * 600) + END])
    with pytest.raises(ArchiveTooLarge):
        read(tmp_path, [file(b"x" * 5000) + END], limit=4000)


def test_a_line_that_is_cut(tmp_path: Path) -> None:
    with pytest.raises(BodyCut):
        read(tmp_path, [file(b"x" * 100), CUT])


@given(body=st.binary(max_size=400), place=st.integers(0, 400))
def test_damage_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, body: bytes, place: int) -> None:
    good = file(b"content") + named("a", b"1") + END
    damaged = good[:place] + body + good[place + len(body) :]
    try:
        fields, _ = read(tmp_path_factory.mktemp("form"), [damaged])
    except TransferError:
        return
    assert isinstance(fields, dict)
