"""What the pages compute without a page, run by Node; and what they send, read by the server's own shapes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from growi_transfer.protocol.wire import MERGE_KINDS, parse
from growi_transfer.pusher.options import PushOptions
from growi_transfer.web.requests import Push
from growi_transfer.web.static_files import STATIC

NODE = shutil.which("node")
SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.test.mjs"))


def run(script: Path) -> str:
    assert NODE is not None
    environment = {**os.environ, "STATIC_SCRIPTS": str(STATIC / "js")}
    done = subprocess.run([NODE, str(script)], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(NODE is None, reason="no node on PATH")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem.partition(".")[0])
def test_scripts_without_a_page(script: Path) -> None:
    run(script)


@pytest.mark.skipif(NODE is None, reason="no node on PATH")
def test_the_server_takes_what_the_page_of_the_source_sends() -> None:
    [told] = re.findall(r"(?m)BODIES (.*)$", run(Path(__file__).parent / "scripts" / "push-options.test.mjs"))
    first, chosen = (
        parse(Push, json.dumps(body).encode()).push_options(["pages", "activities"]) for body in json.loads(told)
    )
    assert first == PushOptions()
    assert (chosen.exclude_collections, chosen.exclude_paths) == (("activities",), ("/trash",))
    assert (chosen.accept_warnings, chosen.volumes, chosen.attachments, chosen.bandwidth) == (
        ("one",),
        5,
        None,
        1 << 20,
    )
    assert (chosen.commit, chosen.follow, chosen.freeze, chosen.deep, chosen.attachments_first) == (False, *[True] * 4)
    assert chosen.merge is not None
    assert chosen.merge["items"] == {"pages": {"/a": "rename"}}


def test_the_page_knows_the_ways_of_a_merge() -> None:
    script = (STATIC / "js" / "push-options.js").read_text(encoding="utf-8")
    block = script.partition("MERGE_KINDS = {")[2].partition("};")[0]
    known = {name: tuple(json.loads(ways)) for name, ways in re.findall(r"(\w+): (\[.*?\])", block)}
    assert known == MERGE_KINDS
