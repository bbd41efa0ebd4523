"""Other programs on the same work, timed: what of them is on PATH.

Each does what an operator would do with it. None proves anything about what arrived; that the counts are right is
checked by the caller, outside of the measured time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from growi_transfer.mongo.embedded import DATABASE
from growi_transfer.protocol.errors import OperatorFault

PEER_DATABASE = "peer"
"""Where mongorestore puts what it restores, beside the wiki of the destination."""
INSERTION_WORKERS = 4
PROGRAMS = ("mongodump", "mongorestore", "rclone", "tar", "cp")
_SECONDS = 3600.0
_VERSION_FLAGS: Mapping[str, Sequence[str]] = {"rclone": ("version",)}


def versions() -> dict[str, str | None]:
    """The first line that each program says of its version; None for those that are not on PATH."""
    return {program: _version(program) for program in PROGRAMS}


def _version(program: str) -> str | None:
    if shutil.which(program) is None:
        return None
    command = [program, *_VERSION_FLAGS.get(program, ("--version",))]
    said = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    return (said.stdout or said.stderr).strip().partition("\n")[0]


def dump_and_restore(source_uri: str, destination_uri: str, *, gzip: bool) -> float:
    """`mongodump --archive | mongorestore --archive`, seconds. The restored database is PEER_DATABASE."""
    archive = ["--archive", *(["--gzip"] if gzip else [])]
    dump = ["mongodump", f"--uri={source_uri}", *archive]
    restore = ["mongorestore", f"--uri={_without_database(destination_uri)}", *archive]
    restore += [f"--numInsertionWorkersPerCollection={INSERTION_WORKERS}"]
    restore += [f"--nsFrom={DATABASE}.*", f"--nsTo={PEER_DATABASE}.*"]
    return _timed(dump, restore)


def copy_files(program: str, source: Path, destination: Path) -> tuple[float, float]:
    """Copy a folder with `rclone`, `tar` or `cp`: seconds until the program ends, and until all is on the disk."""
    destination.mkdir(parents=True)
    began = time.monotonic()
    match program:
        case "rclone":
            _timed(["rclone", "copy", "--config=", "--transfers=8", str(source), str(destination)])
        case "tar":
            _timed(["tar", "-C", str(source), "-cf", "-", "."], ["tar", "-C", str(destination), "-xf", "-"])
        case _:
            _timed(["cp", "-R", f"{source}/.", str(destination)])
    copied = time.monotonic() - began
    os.sync()
    return copied, time.monotonic() - began


def _timed(*pipeline: Sequence[str]) -> float:
    """Seconds that a pipeline of one or two commands takes. Raises OperatorFault when one fails."""
    with tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        running: list[subprocess.Popen[bytes]] = []
        for number, command in enumerate(pipeline):
            running.append(
                subprocess.Popen(
                    command,
                    env=_environment(),
                    stdin=running[-1].stdout if running else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if number < len(pipeline) - 1 else subprocess.DEVNULL,
                    stderr=errors,
                )
            )
        for process in running[:-1]:
            # Ours would keep the pipe open after its reader has gone.
            assert process.stdout is not None
            process.stdout.close()
        try:
            codes = [process.wait(_SECONDS) for process in reversed(running)]
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        seconds = time.monotonic() - began
        if any(codes):
            errors.seek(0)
            said = errors.read().decode(errors="replace")[-2000:]
            raise OperatorFault(f"{' | '.join(command[0] for command in pipeline)} failed:\n{said}")
        return seconds


def _environment() -> dict[str, str]:
    # rclone reads it even for local copies, and fails where the file it names is not there.
    return {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}


def _without_database(uri: str) -> str:
    """mongorestore would restore only what it is told of in the URI."""
    return uri.replace(f"/{DATABASE}?", "/?")
