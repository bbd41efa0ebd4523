from __future__ import annotations

import base64

import pytest

from growi_transfer.protocol.wire import AttachmentFile, parse
from growi_transfer.pusher.resumable import UploadState, read_state, upload_headers

FILE = AttachmentFile(
    id="6b01ecf0afe6dd931e5220f5",
    file_name="43c3942210b5b69d28cfd8aa3df25269.txt",
    has_page=True,
    size=12_345,
    original_name="日本語.txt",
)


def test_headers_of_a_part() -> None:
    assert upload_headers(7, False, "ab" * 32) == {
        "content-type": "application/partial-upload",
        "upload-offset": "7",
        "upload-complete": "?0",
    }


def test_headers_of_the_last_part() -> None:
    headers = upload_headers(7, True, "ab" * 32, FILE)
    assert headers["upload-complete"] == "?1"
    assert headers["x-growi-transfer-sha256"] == "ab" * 32
    assert headers["upload-length"] == "12345"
    assert headers["x-growi-transfer-file"].isascii()
    assert parse(AttachmentFile, base64.b64decode(headers["x-growi-transfer-file"])) == FILE


@pytest.mark.parametrize(
    ("headers", "state"),
    [
        ({"upload-offset": "5", "upload-complete": "?0"}, UploadState(5, None, False)),
        ({"upload-offset": "5", "upload-length": "5", "upload-complete": "?1"}, UploadState(5, 5, True)),
        ({"upload-offset": "5"}, UploadState(5, None, False)),
        ({}, None),
        ({"upload-offset": "-5"}, None),
        ({"upload-offset": "5.0"}, None),
        ({"upload-offset": "٥"}, None),
        ({"upload-offset": "9" * 30}, None),
        ({"upload-offset": "5", "upload-length": "x"}, None),
    ],
)
def test_what_an_answer_says(headers: dict[str, str], state: UploadState | None) -> None:
    assert read_state(headers) == state
