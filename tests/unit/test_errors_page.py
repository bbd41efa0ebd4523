"""docs/errors.md has every code, with the status and the exit code that the program really gives."""

from __future__ import annotations

import re
from pathlib import Path

from growi_transfer.protocol.errors import PeerRefused, TransferError, all_errors
from growi_transfer.web.errors import status_of

_PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
_ROW = re.compile(r"^\| `(?P<code>\w+)` \| (?P<status>\d{3}) \| (?P<retry>yes|no) \| (?P<meaning>.+) \|$", re.MULTILINE)


def expected() -> dict[str, tuple[str, str, str]]:
    rows: dict[str, tuple[str, str, str]] = {}
    for kind in all_errors():
        if kind is PeerRefused:
            continue  # has the code of the peer
        meaning = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
        rows[kind.code] = (str(status_of(kind)), "yes" if kind.retryable else "no", meaning)
    return rows


def test_the_page_has_each_error_as_it_is() -> None:
    found = {row["code"]: (row["status"], row["retry"], row["meaning"]) for row in _ROW.finditer(_PAGE.read_text())}
    assert found == expected()


def test_every_error_says_something_to_a_user() -> None:
    for kind in all_errors():
        assert len((kind.__doc__ or "").split("\n")[0]) > 10, kind
        assert re.fullmatch(r"[a-z0-9_]+", kind.code)


def test_no_two_errors_have_one_code() -> None:
    codes = [kind.code for kind in all_errors()]
    assert len(codes) == len(set(codes))
    assert TransferError.code == "internal_error"


def test_the_page_has_every_finding_of_the_preflight() -> None:
    folder = Path(__file__).parents[2] / "src/growi_transfer/protocol"
    source = "".join(path.read_text() for path in sorted(folder.glob("*.py")))
    codes = set(re.findall(r"Finding\(\s*\"([a-z_]+)\"", source))
    assert len(codes) > 15
    told = set(re.findall(r"^\| `([a-z_]+)` \| [^|]+ \|$", _PAGE.read_text(), re.MULTILINE))
    assert codes <= told
