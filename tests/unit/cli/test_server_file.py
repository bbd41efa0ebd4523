"""`server.json`: told while a server runs, never after, and one server a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from growi_transfer.cli.server_file import RunningServer, announce, own_data_dir, running_server
from growi_transfer.protocol.errors import FolderInUse, OperatorFault


async def test_a_running_server_is_told_and_then_not(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert running_server(folder) is None
    async with own_data_dir(folder):
        assert running_server(folder) is None
        announce(folder, "http://127.0.0.1:1", "both", "https://x.example")
        assert running_server(folder) == RunningServer(os.getpid(), "http://127.0.0.1:1", "both", "https://x.example")
        told = json.loads((folder / "server.json").read_text())
        assert {name: told[name] for name in ("pid", "url", "role")} == {
            "pid": os.getpid(),
            "url": "http://127.0.0.1:1",
            "role": "both",
        }
    assert running_server(folder) is None
    assert not (folder / "server.json").exists()


async def test_what_a_killed_server_left_behind_is_not_believed(tmp_path: Path) -> None:
    announce(tmp_path, "http://127.0.0.1:1", "both", "")
    (tmp_path / "server.lock").touch()
    assert running_server(tmp_path) is None
    async with own_data_dir(tmp_path):
        assert running_server(tmp_path) is None


async def test_a_second_server_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    async with own_data_dir(tmp_path):
        announce(tmp_path, "http://127.0.0.1:77", "receiver", "")
        with pytest.raises(FolderInUse, match=r"http://127\.0\.0\.1:77"):
            async with own_data_dir(tmp_path):
                pass
        assert running_server(tmp_path) is not None
    async with own_data_dir(tmp_path):
        pass


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorFault):
        async with own_data_dir(tmp_path / "file" / "data"):
            pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "url": "x", "role": "y", "more": 1}'])
async def test_a_damaged_file_tells_nothing(tmp_path: Path, content: str) -> None:
    async with own_data_dir(tmp_path):
        (tmp_path / "server.json").write_text(content)
        assert running_server(tmp_path) is None
