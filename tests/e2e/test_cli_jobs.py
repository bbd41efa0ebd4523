"""`growi-transfer jobs` with a real server: an export is ordered, fetched, and brought in again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from tests.e2e.test_cli import Wiki
from tests.e2e.test_steer import Server

from growi_transfer.cli.main import run


@pytest.fixture
def wiki(tmp_path: Path, mongo_uri: str, mongo_database_name: str) -> Wiki:
    wiki = Wiki(mongo_uri, mongo_database_name, tmp_path)
    wiki.fill("kept")
    return wiki


@pytest.fixture
def jobs(wiki: Wiki, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the command in this process: its code, and what it said."""
    environ = {**wiki.environ, "GROWI_TRANSFER_ADMIN_TOKEN": "an-admin-token-of-the-tests-0123"}

    def command(*arguments: str, **more: str) -> tuple[int, str]:
        code = run(["jobs", *arguments], {**environ, **more})
        told = capsys.readouterr()
        return code, told.out or told.err

    return command


def test_an_export_is_ordered_fetched_and_brought_in(
    wiki: Wiki, jobs: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    code, told = jobs("list")
    assert (code, "growi-transfer serve" in told) == (1, True)
    server = Server(wiki, "both")
    try:
        assert jobs("list") == (0, "There are no such jobs.\n")
        code, told = jobs("export", "--wait", "--json")
        job: dict[str, Any] = json.loads(told)["job"]
        assert (code, job["type"], job["state"], job["percent"]) == (0, "export", "completed", 100)
        assert job["id"][:8] in jobs("list", "--type", "export")[1]
        assert job["file"]["sha256"] in jobs("show", job["id"][:6])[1]

        to = tmp_path / "fetched.zip"
        assert jobs("download", job["id"][:6], str(to))[0] == 0
        assert to.stat().st_size == job["file"]["bytes"]
        assert any(name.endswith("pages.bson") for name in ZipFile(to).namelist())
        assert jobs("download", job["id"], str(to))[0] == 2, "it is there already"
        assert list(tmp_path.glob(".*.part")) == []

        assert jobs("import", str(to))[0] == 2, "nobody can be asked"
        before = wiki.documents("pages")
        code, told = jobs("import", str(to), "--yes", "--wait", "--json")
        assert (code, json.loads(told)["job"]["state"]) == (0, "completed")
        assert wiki.documents("pages") == before

        code, told = jobs("export", "--collection", "nowhere", "--json")
        assert (code, json.loads(told)["error"]["code"]) == (1, "collection_not_found")
        code, told = jobs("cancel", job["id"], "--json")
        assert (code, json.loads(told)["error"]["code"]) == (1, "state_conflict")
        assert jobs("show", "ffffffffffff0000")[0] == 1
        code, told = jobs("list", GROWI_TRANSFER_ADMIN_TOKEN="another-admin-token-0123456789")
        assert (code, "admin token" in told) == (1, True)
        (wiki.folder / "bad.zip").write_bytes(b"no archive")
        code, told = jobs("import", str(wiki.folder / "bad.zip"), "--yes", "--json")
        assert (code, json.loads(told)["error"]["code"]) == (1, "archive_invalid")
    finally:
        server.end()
