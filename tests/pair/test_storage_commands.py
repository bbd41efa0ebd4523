"""`growi-transfer storage` as its users run it, on a real database and real storages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from obstore.store import S3Store
from pymongo import MongoClient
from tests.fakes.object_servers import KEY, READER_KEY, READER_SECRET, SECRET, ObjectServer

from growi_transfer.cli.main import run

NAME = "0123456789abcdef0123456789abcdef.png"
GONE = "f" * 32 + ".png"


class Shop:
    """One wiki and its command line. `kind`: FILE_UPLOAD."""

    def __init__(self, folder: Path, uri: str, name: str, kind: str, store: ObjectServer | None = None) -> None:
        head, _, query = uri.partition("?")
        self.uploads = folder / "uploads"
        self.uploads.mkdir()
        self.database = MongoClient[dict[str, Any]](uri)[name]
        self.environ = {
            "MONGO_URI": f"mongodb://{head.split('/')[2]}/{name}?{query}",
            "FILE_UPLOAD": kind,
            "GROWI_TRANSFER_DATA_DIR": str(folder / "data"),
            "GROWI_TRANSFER_UPLOADS_DIR": str(self.uploads),
        }
        self.kind = kind
        self.store = store
        self.bucket = name.replace("_", "-")
        if store is not None:
            store.make_bucket(self.bucket)
            self.configure(store.settings(self.bucket).values)

    def configure(self, values: Mapping[str, Any]) -> None:
        """GROWI's settings in its database."""
        for key, value in values.items():
            self.database["configs"].replace_one({"key": key}, {"key": key, "value": json.dumps(value)}, upsert=True)

    def run(self, *arguments: str, **environ: str) -> int:
        return run(["storage", *arguments], {**self.environ, **environ})

    def add(self, name: str, content: bytes, *, folder: str = "attachment", days: float = 0) -> None:
        """A file, written so many days ago (in a bucket: now)."""
        if self.store is not None:
            self.in_bucket().put(f"{folder}/{name}", content)
            return
        if self.kind == "local":
            path = self.uploads / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            then = time.time() - days * 86400
            os.utime(path, (then, then))
            return
        from datetime import UTC, datetime, timedelta

        import gridfs

        bucket = gridfs.GridFSBucket(self.database, "attachmentFiles")
        identity = bucket.upload_from_stream(name, content)
        then_ = datetime.now(UTC) - timedelta(days=days)
        self.database["attachmentFiles.files"].update_one({"_id": identity}, {"$set": {"uploadDate": then_}})

    def in_bucket(self) -> S3Store:
        assert self.store is not None
        options: Any = {"allow_http": True}
        return S3Store(
            self.bucket,
            endpoint=self.store.endpoint,
            region="us-east-1",
            access_key_id=KEY,
            secret_access_key=SECRET,
            client_options=options,
        )

    def left(self) -> list[str]:
        """What is in the storage, by the storage's own means."""
        if self.store is not None:
            return [one["path"] for page in self.in_bucket().list() for one in page]
        chunks = self.database["attachmentFiles.chunks"].distinct("files_id")
        return [*map(str, sorted(self.uploads.rglob("*"))), *map(str, chunks)]


@pytest.fixture(params=["local", "mongodb", "aws"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, mongo_uri: str, mongo_database_name: str) -> Iterator[Shop]:
    store = request.getfixturevalue("aws_server") if request.param == "aws" else None
    made = Shop(tmp_path, mongo_uri, mongo_database_name, request.param, store)
    yield made
    made.database.client.close()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_check_says_what_works(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.run("check", "--size", "1", "--tries", "2") == 0
    shown = capsys.readouterr().out
    assert [line.split()[:2] for line in shown.splitlines()[2:]] == [
        [step, "ok"] for step in ("layout", "write", "read", "list", "delete")
    ]
    assert shop.run("check", "--size", "1", "--json") == 0
    (told,) = lines(capsys)
    assert told["ok"]
    assert told["kind"] == {"mongodb": "gridfs"}.get(shop.kind, shop.kind)
    assert all(step["ok"] and step["median_ms"] > 0 for step in told["steps"])
    assert {step["step"] for step in told["steps"] if step["bytes_per_second"]} == {"write", "read"}
    assert shop.left() == []


@pytest.mark.parametrize(
    ("environ", "code", "word"),
    [
        ({"FILE_UPLOAD": "none"}, 1, "storage_not_configured"),
        ({"FILE_UPLOAD": "local", "GROWI_TRANSFER_UPLOADS_DIR": "/nowhere/at/all"}, 1, "storage_not_writable"),
        ({"GROWI_TRANSFER_PORT": "x"}, 2, "setting_invalid"),
    ],
)
def test_a_check_says_what_is_wrong(
    shop: Shop, capsys: pytest.CaptureFixture[str], environ: dict[str, str], code: int, word: str
) -> None:
    assert shop.run("check", "--json", **environ) == code
    told = lines(capsys)[-1]
    assert not told["ok"]
    errors = [step["error"] for step in told.get("steps", []) if step["error"]] or [told["error"]]
    assert [error["code"] for error in errors] == [word]
    assert shop.run("check", **environ) == code
    for command in ("list", "du", "orphans") if code == 1 else ():
        assert shop.run(command, **environ) != 0, "no storage is not an empty one"
    assert f"({word})" in capsys.readouterr().err


def test_files_listed_and_summed_up(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", "c"):
        shop.add(name, b"12345")
    assert shop.run("list", "--json") == 0
    *files, last = lines(capsys)
    assert [file["path"] for file in files] == ["attachment/a", "attachment/b", "attachment/c"]
    assert all(file["size"] == 5 and file["modified"].startswith("20") for file in files)
    assert last == {"ok": True, "files": 3, "bytes": 15, "more": False}
    assert shop.run("list", "attachment/b", "--json") == 0
    assert lines(capsys)[-1]["files"] == 1
    assert shop.run("list", "--limit", "2") == 0
    shown = capsys.readouterr()
    assert [line.split()[-1] for line in shown.out.splitlines()] == ["attachment/a", "attachment/b"]
    assert "there are more" in shown.err
    assert shop.run("du", "--json") == 0
    assert lines(capsys)[-1]["kinds"] == {"attachment": {"files": 3, "bytes": 15}}
    assert shop.run("du") == 0
    assert "attachment  3      15 B" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"aws:s3Bucket": "not-there"}, "storage_not_writable", "There is no bucket not-there"),
        ({"aws:s3SecretAccessKey": "wrong"}, "storage_not_writable", "does not accept the credentials"),
        (
            {"aws:s3AccessKeyId": READER_KEY, "aws:s3SecretAccessKey": READER_SECRET},
            "storage_not_writable",
            "do not allow to write",
        ),
        ({"aws:s3Bucket": ""}, "storage_not_configured", "aws:s3Bucket is not set"),
        ({"aws:s3CustomEndpoint": "ftp://x"}, "storage_not_configured", "aws:s3CustomEndpoint must be"),
    ],
)
@pytest.mark.parametrize("shop", ["aws"], indirect=True)
def test_a_check_says_what_is_wrong_with_a_bucket(
    shop: Shop, capsys: pytest.CaptureFixture[str], changed: dict[str, str], code: str, words: str
) -> None:
    shop.configure(changed)
    assert shop.run("check", "--json") == 1
    told = lines(capsys)[-1]
    (error,) = [step["error"] for step in told["steps"] if step["error"]]
    assert error["code"] == code
    assert words in error["message"]
    assert not any(secret in str(told) for secret in (SECRET, READER_SECRET))


@pytest.mark.parametrize("shop", ["local"], indirect=True)
def test_names_that_would_move_the_cursor_are_shown_harmless(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.add("a\x1b[2Jb", b"1")
    assert shop.run("list") == 0
    assert shop.run("orphans") == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("shop", ["local", "mongodb"], indirect=True)
def test_orphans_are_told_and_deleted_only_when_asked(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file can be given an age."""
    shop.database["attachments"].insert_many(
        [{"fileName": NAME, "page": 1, "fileSize": 4}, {"fileName": GONE, "page": 1, "fileSize": 4}]
    )
    shop.add(NAME, b"four", days=90)
    shop.add("1" * 32 + ".png", b"old", days=90)
    shop.add("2" * 32 + ".png", b"young", days=1)
    shop.add("readme.txt", b"mine", days=90)
    assert shop.run("orphans", "--json") == 0
    *found, last = lines(capsys)
    assert [(one["what"], one["path"][11:13], one.get("kept")) for one in found] == [
        ("file_without_document", "11", None),
        ("file_without_document", "22", "young"),
        ("document_without_file", "ff", None),
        ("file_without_document", "re", "name_not_growi"),
    ]
    assert last["deletable"] == {"files": 1, "bytes": 3}
    assert last["deleted"] is None
    assert shop.run("orphans") == 0
    assert "May be deleted: 1 files, 3 B." in capsys.readouterr().err
    assert shop.run("orphans", "--delete") == 2
    assert "--yes" in capsys.readouterr().err
    assert shop.run("orphans", "--delete", "--yes", "--older-than", "100", "--json") == 0
    assert lines(capsys)[-1]["deleted"] is None
    asked: list[str] = []
    monkeypatch.setattr("growi_transfer.cli.output.Output.interactive", True)
    monkeypatch.setattr("typer.confirm", lambda text, **_: asked.append(text) or refuse())
    assert shop.run("orphans", "--delete") != 0
    where = "GridFS in this wiki's database" if shop.kind == "mongodb" else f"the folder {shop.uploads}"
    stays = "What other applications keep there is left alone."
    assert asked == [f"Delete 1 files of 3 B from {where}? {stays} This cannot be undone."]
    capsys.readouterr()
    assert shop.run("orphans", "--delete", "--yes", "--json") == 0
    told = lines(capsys)
    assert {"deleted": "attachment/" + "1" * 32 + ".png", "bytes": 3} in told
    assert told[-1]["deleted"] == {"files": 1, "bytes": 3}
    assert shop.run("list", "--json") == 0
    assert lines(capsys)[-1]["files"] == 3


def refuse() -> None:
    raise typer.Abort


def test_a_check_that_is_stopped_leaves_nothing(shop: Shop) -> None:
    # What the test command sets for tests is no setting of the program.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GROWI_TRANSFER_")}
    environ = {**kept, **shop.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "growi_transfer", "storage", "check", "--size", "1024", "--tries", "100"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not _has_begun(shop):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 4, told
    assert b"Stopped" in told
    assert shop.left() == []
    assert shop.database["growi_transfer_uploads"].count_documents({"_id": {"$regex": "^upload"}}) == 0


def _has_begun(shop: Shop) -> bool:
    if shop.kind == "local":
        return any(shop.uploads.rglob("check/*/*"))
    if shop.store is not None:
        return bool(shop.left())
    return shop.database["attachmentFiles.files"].count_documents({"filename": {"$regex": "/check/"}}) > 0
