"""Multipart forms for a GROWI: its own field names, with a length that is known before the first byte.

Source: the requests of GROWI 7.3's own pusher (docs/growi.md), and RFC 7578.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

Chunks = Callable[[], AsyncIterator[bytes]]
Content = Chunks | bytes
"""What is read anew each time, or is in memory."""
ARCHIVE_FIELD = "transferDataZipFile"


@dataclass(frozen=True, slots=True)
class FileForm:
    """A form with one file, which is read anew each time the form is sent."""

    content_type: str
    length: int
    _head: bytes
    _tail: bytes
    _content: Content

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body."""
        if isinstance(self._content, bytes):
            yield b"".join((self._head, self._content, self._tail))
            return
        yield self._head
        async for chunk in self._content():
            yield chunk
        yield self._tail


def archive_form(
    content: Chunks,
    size: int,
    *,
    file_name: str,
    collections: Sequence[str],
    options: Mapping[str, Any],
    operator: str,
    upload_configs: Mapping[str, Any],
) -> FileForm:
    """`POST /`: the archive, then what is to be done with it."""
    fields = {
        "collections": orjson.dumps(list(collections)).decode(),
        "optionsMap": orjson.dumps(dict(options)).decode(),
        "operatorUserId": operator,
        "uploadConfigs": json.dumps(dict(upload_configs), ensure_ascii=False, separators=(",", ":")),
    }
    return _form(content, size, (ARCHIVE_FIELD, file_name, "application/zip"), fields)


def attachment_form(content: Content, size: int, document: Mapping[str, Any], text: bytes) -> FileForm:
    """`POST /attachment`: one file and its document; `text` is the JSON of `document`.

    The document goes with the virtual fields that GROWI's model adds to it.
    """
    identity = str(document["_id"])
    virtual = {
        "filePathProxied": f"/attachment/{identity}",
        "downloadPathProxied": f"/download/{identity}",
        "id": identity,
    }
    metadata = text[:-1] + b"," + orjson.dumps(virtual)[1:]
    kind = str(document.get("fileFormat") or "application/octet-stream")
    return _form(content, size, ("content", str(document["fileName"]), kind), {"attachmentMetadata": metadata.decode()})


def _form(content: Content, size: int, file: tuple[str, str, str], fields: Mapping[str, str]) -> FileForm:
    boundary = "-" * 26 + secrets.token_hex(12)
    name, file_name, kind = file
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{name}"; filename="{_quoted(file_name)}"\r\n'
        f"Content-Type: {_line(kind)}\r\n\r\n"
    ).encode()
    tail = "".join(
        f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}'
        for key, value in fields.items()
    )
    closing = f"{tail}\r\n--{boundary}--\r\n".encode()
    length = len(head) + size + len(closing)
    return FileForm(f"multipart/form-data; boundary={boundary}", length, head, closing, content)


def _quoted(name: str) -> str:
    """RFC 7578 as browsers do it: quotes and line ends as percent signs."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _line(text: str) -> str:
    """Nothing that could end a header."""
    return "".join(character for character in text if " " <= character <= "~")[:200] or "application/octet-stream"
