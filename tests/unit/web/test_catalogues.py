"""The texts of the pages: every language has each of them, and no page has any other."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from growi_transfer.jobs.orders import PUSHER_ORDERS
from growi_transfer.protocol.errors import all_errors
from growi_transfer.receiver import step_kinds
from growi_transfer.web.static_files import STATIC

PAGES = sorted(STATIC.glob("*.html"))
SCRIPTS = sorted((STATIC / "js").rglob("*.js"))
CATALOGUES = sorted((STATIC / "locales").glob("*.json"))
GROUPS = (
    "common",
    "destination",
    "error",
    "finding",
    "list",
    "log",
    "login",
    "reason",
    "receipt",
    "source",
    "speed",
    "transfer",
    "watch",
)
KEY = re.compile(rf"(?:{'|'.join(GROUPS)})(?:\.[A-Za-z0-9_]+)+")
OPEN_KEY = re.compile(rf"[\"'`]((?:{'|'.join(GROUPS)})\.(?:[A-Za-z0-9_.]*[._])?)\$\{{")
"""A key that a script makes of a beginning and a value."""
MADE_OF_CODES = ("error.", "finding.", "reason.", "log.difference.", "log.step.", "log.verb.")
"""Their values come from the server, and where there is no text of ours the server's is shown."""
NAMES = {"growi-transfer"}
PRODUCTS = re.compile(r"{\w+}|growi-transfer|GROWI|MongoDB|GridFS|Amazon S3|Google Cloud Storage|Azure Blob Storage")
"""What is written alike in every language."""
CHOICE = re.compile(r"_(?:one)$")
"""Another form of a text, taken by `t` itself."""


def catalogue(path: Path) -> dict[str, str]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs), f"a key stands twice in {path.name}"
        return dict(pairs)

    texts: dict[str, str] = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
    return texts


ENGLISH = catalogue(STATIC / "locales" / "en.json")


def code_of(script: Path) -> str:
    """A script without its comments."""
    text = re.sub(r"/\*.*?\*/", "", script.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"(?m)(^|\s)//.*$", "", text)


def strings_of(code: str) -> set[str]:
    return {match[2] for match in re.finditer(r"([\"'`])((?:(?!\1)[^\\\n]|\\.)*)\1", code)}


class Texts(HTMLParser):
    """What a reader of a page would see without its scripts, and the keys that it names."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.keys: set[str] = set()
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "input", "br", "img"):
            self._inside.append(tag)
        for name, value in attrs:
            if name.startswith("data-i18n"):
                self.keys.add(value or "")
            elif name in ("aria-label", "title", "placeholder", "alt") and value:
                self.seen.append(value)

    def handle_endtag(self, tag: str) -> None:
        assert self._inside.pop() == tag

    def handle_data(self, data: str) -> None:
        # Without JavaScript there is no catalogue: that one text stands in the pages, in each language.
        if "noscript" not in self._inside and data.strip():
            self.seen.append(data.strip())


def read(page: Path) -> Texts:
    texts = Texts()
    texts.feed(page.read_text(encoding="utf-8"))
    return texts


def used() -> tuple[set[str], set[str]]:
    """Keys that pages and scripts name, and beginnings of keys that scripts make."""
    keys = {key for page in PAGES for key in read(page).keys}
    beginnings: set[str] = set()
    for script in SCRIPTS:
        code = code_of(script)
        keys.update(text for text in strings_of(code) if KEY.fullmatch(text))
        beginnings.update(OPEN_KEY.findall(code))
    return keys, beginnings


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_every_language_has_every_text(path: Path) -> None:
    texts = catalogue(path)
    assert set(texts) ^ set(ENGLISH) == set()
    assert [key for key, text in texts.items() if not text.strip() or text != text.strip()] == []
    for key, text in texts.items():
        assert set(re.findall(r"{(\w+)}", text)) == set(re.findall(r"{(\w+)}", ENGLISH[key])), key


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_a_catalogue_is_one_sorted_line_for_each_text(path: Path) -> None:
    texts = catalogue(path)
    assert list(texts) == sorted(texts)
    assert {key.partition(".")[0] for key in texts} <= set(GROUPS)
    assert path.read_text(encoding="utf-8") == json.dumps(texts, ensure_ascii=False, indent=2) + "\n"


def test_japanese_is_japanese() -> None:
    same = {key for key, text in catalogue(STATIC / "locales" / "ja.json").items() if re.fullmatch(r"[ -~·]*", text)}
    assert {ENGLISH[key] for key in same if re.search(r"[A-Za-z]{3}", PRODUCTS.sub("", ENGLISH[key]))} == set()


def test_every_key_that_is_used_exists() -> None:
    keys, beginnings = used()
    assert keys - set(ENGLISH) == set()
    assert [one for one in beginnings if not any(key.startswith(one) for key in ENGLISH)] == []


def test_no_text_is_left_over() -> None:
    keys, beginnings = used()
    known = tuple({*beginnings, *MADE_OF_CODES})
    left = {key for key in ENGLISH if key not in keys and CHOICE.sub("", key) not in keys and not key.startswith(known)}
    assert left == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_has_no_text_of_its_own(page: Path) -> None:
    placeholders = {"{message}"}  # the login's: web.pages puts a note there
    assert set(read(page).seen) - NAMES - placeholders == set()


def test_a_script_puts_no_text_of_its_own_into_a_page() -> None:
    """Children of `h` and texts of `setText` that are words, not keys."""
    for script in SCRIPTS:
        code = code_of(script)
        written = [
            *re.findall(r"(?:h|svg)\([^()]*?(?:null|\}),\s*\"([^\"]+)\"", code),
            *re.findall(r"(?:setText|toast|confirmDialog)\((?:\w+,\s*)?[\"'`]([^\"'`]+)", code),
            *re.findall(r"(?:textContent|\.title|ariaLabel|placeholder) = [\"'`]([^\"'`]+)", code),
            *re.findall(r"\"?(?:aria-label|title|placeholder|alt)\"?: [\"'`]([^\"'`]+)", code),
        ]
        assert [text for text in written if re.search(r"[A-Za-z\u3040-\u9fff]{2}", text) and text not in NAMES] == [], (
            script
        )


def test_every_finding_of_a_preflight_says_what_to_do() -> None:
    page = (Path(__file__).parents[3] / "docs" / "errors.md").read_text(encoding="utf-8")
    codes = re.findall(r"(?m)^\| `(\w+)` \|", page.partition("## Warnings and blockers")[2])
    assert len(codes) > 30
    assert {f"finding.{code}" for code in codes} - set(ENGLISH) == set()
    assert {f"finding.{code}.do" for code in codes} - set(ENGLISH) == set()


def test_every_line_that_the_log_can_have_is_in_the_catalogue() -> None:
    """Codes of notes and warnings as the sources name them, and of all errors: each can become a line of a log."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in STATIC.parents[1].rglob("*.py"))
    names = dict(re.findall(r"(?m)^(\w+) = \"(\w+)\"", source))
    noted = {*re.findall(r"\bNoted\(\s*\"(\w+)\"", source), *re.findall(r"_note\(transfer_id, \"(\w+)\"", source)}
    noted |= {"destination_back", "source_back", "recovered"}
    told = re.findall(r"\bNotice\(\s*(?:\"(\w+)\"|([A-Z_]+)\b)", source)
    warned = {code or names[constant] for code, constant in told}
    assert len(noted) > 12
    assert len(warned & {key.removeprefix("finding.") for key in ENGLISH}) > 5
    script = (STATIC / "js" / "log-words.js").read_text(encoding="utf-8").partition("const LINES = {")[2]
    assert {name for name in noted if not re.search(rf"(?m)^  {name}: ", script)} == set()
    assert {f"finding.{code}" for code in warned} - set(ENGLISH) == set()
    assert {f"error.{kind.code}" for kind in all_errors()} - set(ENGLISH) == set()
    assert {f"log.verb.{verb}" for verb in PUSHER_ORDERS} - set(ENGLISH) == set()
    kinds = {value for name, value in vars(step_kinds).items() if name.isupper()}
    assert {f"log.step.{kind}" for kind in kinds} ^ {key for key in ENGLISH if key.startswith("log.step.")} == set()
