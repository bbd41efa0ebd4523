"""The command line as its users run it: two wikis, processes of their own, exit codes and last lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from tests.fakes.commands import run_command

RAW = bson.CodecOptions(document_class=RawBSONDocument)
SERVE = [sys.executable, "-m", "growi_transfer"]


@dataclass
class Wiki:
    """One wiki, and its command line."""

    uri: str
    name: str
    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        head, _, query = self.uri.partition("?")
        address = head.split("/")[2]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GROWI")}
        return {
            **kept,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "MONGO_URI": f"mongodb://{address}/{self.name}?{query}",
            "FILE_UPLOAD": "local",
            "GROWI_VERSION": "7.3.0",
            "GROWI_TRANSFER_DATA_DIR": str(self.folder / "data"),
            "GROWI_TRANSFER_UPLOADS_DIR": str(self.folder / "uploads"),
            "GROWI_TRANSFER_ALLOWED_DESTINATIONS": "127.0.0.1",
        }

    def run(self, *arguments: str, key: str | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        environ = {**self.environ, **({"GROWI_TRANSFER_KEY": key} if key is not None else {})}
        return run_command(arguments, environ, stdin)

    def documents(self, collection: str) -> list[bytes]:
        with MongoClient[dict[str, Any]](self.uri) as client:
            found = client[self.name].get_collection(collection, codec_options=RAW).find().sort("_id", 1)
            return [one.raw for one in found]

    def fill(self, mark: str) -> None:
        with MongoClient[dict[str, Any]](self.uri) as client:
            database = client[self.name]
            database["pages"].insert_many([{"_id": number, "mark": mark} for number in range(300)])
            database["pages"].create_index("mark")
            database["attachments"].insert_one({"fileName": f"{mark}.bin", "fileSize": 4, "page": 1})
        path = self.folder / "uploads" / "attachment" / f"{mark}.bin"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"file")

    def add_file(self, name: str, content: bytes) -> None:
        with MongoClient[dict[str, Any]](self.uri) as client:
            row = {"fileName": f"{name}.bin", "fileSize": len(content), "page": 1}
            client[self.name]["attachments"].insert_one(row)
        (self.folder / "uploads" / "attachment" / f"{name}.bin").write_bytes(content)


@pytest.fixture
def source(tmp_path: Path, mongo_uri: str, mongo_database_name: str) -> Wiki:
    wiki = Wiki(mongo_uri, mongo_database_name, tmp_path / "source")
    wiki.fill("source")
    return wiki


@pytest.fixture(scope="module")
def destination(tmp_path_factory: pytest.TempPathFactory, mongo_uri_destination: str) -> Iterator[Wiki]:
    """For all tests: what one has moved into it does not matter to another."""
    wiki = Wiki(mongo_uri_destination, f"test_{uuid.uuid4().hex[:12]}", tmp_path_factory.mktemp("destination"))
    wiki.fill("former")
    yield wiki
    with MongoClient[dict[str, Any]](mongo_uri_destination) as client:
        client.drop_database(wiki.name)


@pytest.fixture(scope="module")
def server(destination: Wiki) -> Iterator[str]:
    """The destination's server; its address."""
    command = [*SERVE, "serve", "--role", "receiver", "--port", "0"]
    with subprocess.Popen(command, env=destination.environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(2)]
            assert lines[0].startswith("admin token (shown once")
            yield lines[1].split("listening on ")[1].strip()
        finally:
            process.terminate()
            assert process.wait(30) == 0


def last(result: subprocess.CompletedProcess[str]) -> Mapping[str, Any]:
    line: Mapping[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return line


def test_a_wiki_is_pushed_listed_and_rolled_back(source: Wiki, destination: Wiki, server: str) -> None:
    before = destination.documents("pages")
    issued = destination.run("key", "issue")
    key = issued.stdout.strip().splitlines()[0]
    assert key.endswith(f"__grw_internal_tranferkey__{server}")

    refused = source.run("push", key)
    assert refused.returncode == 2
    assert key.partition("__")[0] not in refused.stdout + refused.stderr
    blocked = source.run("push", "--json", key=key)
    assert blocked.returncode == 3, "warnings need consent"
    assert destination.documents("pages") == before

    pushed = source.run("push", "--yes", "--json", key=key)
    assert pushed.returncode == 0, pushed.stderr
    line = last(pushed)
    assert (line["ok"], line["state"], line["verified"]["mismatches"]) == (True, "completed", 0)
    assert (line["documents"], line["attachments"], line["attachment_bytes"]) == (301, 1, 4)
    assert line["peak_rss_mib"]["receiver"] > 10
    assert destination.documents("pages") == source.documents("pages")
    assert (destination.folder / "uploads" / "attachment" / "source.bin").read_bytes() == b"file"
    assert key.partition("__")[0] not in pushed.stdout + pushed.stderr

    again = source.run("push", "-", "--yes", "--json", stdin=key + "\n")
    assert (again.returncode, last(again)["transfer_id"]) == (0, line["transfer_id"]), "the same key, the same transfer"
    listed = destination.run("transfers", "list", "--json")
    assert line["transfer_id"] in listed.stdout
    rolled = destination.run("transfers", "rollback", line["transfer_id"][:8], "--yes")
    if rolled.returncode == 2:  # a command that asks nothing has no --yes
        rolled = destination.run("transfers", "rollback", line["transfer_id"][:8])
    assert rolled.returncode == 0, rolled.stderr
    assert destination.documents("pages") == before
    assert not (destination.folder / "uploads" / "attachment" / "source.bin").exists()


def test_a_plan_writes_nothing(source: Wiki, destination: Wiki, server: str) -> None:
    assert server
    key = destination.run("key", "issue").stdout.strip().splitlines()[0]
    planned = source.run("push", "--plan", "--json", key=key)
    assert planned.returncode == 0, planned.stderr
    assert last(planned)["plan"]["counts"]["documents"] == 301
    assert source.run("transfers", "list", "--json").stdout.count("transfer_id") == 0


def test_a_plan_is_saved_edited_and_run(source: Wiki, destination: Wiki, server: str, tmp_path: Path) -> None:
    key = destination.run("key", "issue").stdout.strip().splitlines()[0]
    file = tmp_path / "plan.toml"
    saved = source.run("push", "--plan", "--save", str(file), key=key)
    assert saved.returncode == 0, saved.stderr
    assert "pages" in saved.stdout
    text = file.read_text()
    assert f'destination = "{server}"' in text
    assert key.partition("__")[0] not in text
    by_plan = ("push", "--config", str(file))
    assert source.run(*by_plan, "--json", key=key).returncode == 3, "nothing is accepted yet"
    # Every comment of the list of warnings becomes an item, and one collection shall stay behind.
    head, _, warnings = text.replace('  # "pages"', '  "pages"').partition("accept = [")
    file.write_text(head + "accept = [" + warnings.replace('  # "', '  "'))
    done = source.run(*by_plan, "--json", key=key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert last(done)["documents"] == 1, "the attachment; the pages stayed behind"
    file.write_text("volume = 3\n")
    wrong = source.run(*by_plan, key=key)
    assert (wrong.returncode, "volume:" in wrong.stderr) == (2, True)


def test_wrong_keys(source: Wiki, destination: Wiki, server: str) -> None:
    assert source.run("push", "--yes", "--json", key="nonsense").returncode == 2
    assert source.run("push", "--yes", "--json").returncode == 2
    key = destination.run("key", "issue").stdout.strip().splitlines()[0]
    token, _, origin = key.partition("__grw_internal_tranferkey__")
    changed = f"{token[:-4]}abcd__grw_internal_tranferkey__{origin}"
    wrong = source.run("push", "--yes", "--json", key=changed)
    assert wrong.returncode == 1
    assert "invalid_transfer_key" in wrong.stdout + wrong.stderr
    listed = destination.run("key", "list", "--json")
    key_id = json.loads(listed.stdout.splitlines()[-1])
    assert token not in listed.stdout
    assert key_id
    away = source.run("push", "--yes", "--json", key=f"{token}__grw_internal_tranferkey__http://127.0.0.1:1")
    assert away.returncode in (1, 4)
    assert "peer_unavailable" in away.stdout + away.stderr
    assert "Traceback" not in away.stderr
    assert server


def test_export_and_import(
    source: Wiki, mongo_uri_destination: str, mongo_database_name_destination: str, tmp_path: Path
) -> None:
    destination = Wiki(mongo_uri_destination, mongo_database_name_destination, tmp_path / "destination")
    destination.fill("former")
    file = tmp_path / "wiki.zip"
    exported = source.run("export", str(file), "--json")
    assert exported.returncode == 0, exported.stderr
    assert last(exported)["documents"] == 301
    assert source.run("export", str(file)).returncode == 2, "a file that is there is not replaced"
    imported = destination.run("import", str(file), "--yes", "--json")
    assert imported.returncode == 0, imported.stderr
    assert destination.documents("pages") == source.documents("pages")
    assert (destination.folder / "uploads" / "attachment" / "source.bin").read_bytes() == b"file"
    broken = tmp_path / "broken.zip"
    broken.write_bytes(file.read_bytes()[:-100])
    before = destination.documents("pages")
    refused = destination.run("import", str(broken), "--yes", "--json")
    assert refused.returncode == 1
    assert "archive_invalid" in refused.stdout + refused.stderr
    assert destination.documents("pages") == before
