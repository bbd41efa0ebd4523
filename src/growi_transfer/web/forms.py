"""Multipart forms as GROWI's pusher sends them: one file of any size, and some short fields, in any order.

A small file stays in memory, a larger one goes to the spool folder as it comes, so a form of any size needs little
memory. It is gone when the block ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from growi_transfer.protocol.errors import ArchiveTooLarge, BodyTooLarge, FormInvalid
from growi_transfer.web.form_file import SMALL, FormFile, Memory
from growi_transfer.web.uploads import announced_length, check_space, spool_folder, streamed

FIELDS_LIMIT = 8 << 20
"""Bytes of all fields together."""
_PARTS = 100
_HEADER_BYTES = 16 << 10
_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    content: bytes | Path
    """In memory, or where it is."""
    name: str
    """As the sender calls it; never used as a path."""
    content_type: str
    size: int


@dataclass(slots=True)
class Form:
    fields: dict[str, str] = field(default_factory=dict)
    file: ReceivedFile | None = None


@asynccontextmanager
async def form(
    request: Request,
    data_dir: Path,
    *,
    file_field: str,
    limit: int,
    spare: int,
    memory: Memory | None = None,
    file_limit: int | None = None,
) -> AsyncIterator[Form]:
    """The form of a request. Files in other fields than `file_field` are refused.

    `limit`: bytes of the whole body, `file_limit`: of the file; `spare`: what is left free on the disk. `memory`: where
    a small file may stay; None has every file spooled. Raises FormInvalid, ArchiveTooLarge, BodyTooLarge, BodyCut,
    InsufficientSpace.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise FormInvalid("The body is not a multipart form.")
    announced = announced_length(request) or 0
    if file_limit is not None and announced > file_limit + FIELDS_LIMIT + _PARTS * _HEADER_BYTES:
        raise BodyTooLarge(f"The file is larger than MAX_FILE_SIZE ({file_limit} bytes).", limit=file_limit)
    async with streamed(request, limit, buffer=_BUFFER, too_large=ArchiveTooLarge) as chunks:
        if memory is None or announced > SMALL:
            check_space(spool_folder(data_dir), announced + spare)
        file = FormFile(data_dir, memory=memory, spare=spare, limit=file_limit)
        try:
            reader = _Reader(boundary, file_field, file)
            async for chunk in chunks:
                await asyncio.to_thread(reader.feed, chunk)
            yield reader.finish()
        finally:
            file.close()


class _Reader:
    """Takes a body in pieces of any size; in a thread, one at a time."""

    def __init__(self, boundary: bytes, file_field: str, file: FormFile) -> None:
        self._file_field = file_field
        self._file = file
        self._form = Form()
        self._parts = 0
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._header_bytes = 0
        self._name = ""
        self._value: bytearray | None = None
        self._described: tuple[str, str] | None = None
        self._field_bytes = 0
        self._ended = False
        callbacks: Any = {
            "on_part_begin": self._part_begin,
            "on_header_begin": self._header_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value_data,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except (FormParserError, ValueError):
            raise FormInvalid("The boundary of the form is not valid.") from None

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except (FormParserError, ValueError):
            raise FormInvalid("The body is not a well-formed multipart form.") from None

    def finish(self) -> Form:
        if not self._ended:
            raise FormInvalid("The form ends in the middle.")
        if self._described is not None:
            self._form.file = ReceivedFile(self._file.content(), *self._described, self._file.size)
        return self._form

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > _PARTS:
            raise FormInvalid("The form has too many parts.")
        self._headers = {}
        self._header_bytes = 0

    def _header_begin(self) -> None:
        self._header_name = self._header_value = b""

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _HEADER_BYTES:
            raise FormInvalid("A part of the form has too many headers.")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_name += data[start:end]

    def _header_value_data(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name")
        if kind != b"form-data" or name is None:
            raise FormInvalid("A part of the form has no name.")
        self._name = name.decode("utf-8", "replace")
        if b"filename" not in options:
            self._value = bytearray()
            return
        if self._name != self._file_field or self._described is not None:
            raise FormInvalid(f"The form has a file where none is taken: {self._name[:80]}")
        content_type = self._headers.get(b"content-type", b"").decode("latin-1")
        self._described = (options[b"filename"].decode("utf-8", "replace"), content_type[:255])
        self._value = None

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._value is None:
            self._file.write(memoryview(data)[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > FIELDS_LIMIT:
            raise BodyTooLarge(f"The fields of the form have more than {FIELDS_LIMIT} bytes.")
        self._value += data[start:end]

    def _part_end(self) -> None:
        if self._value is not None:
            self._form.fields[self._name] = self._value.decode("utf-8", "replace")
        self._value = None

    def _end(self) -> None:
        self._ended = True
