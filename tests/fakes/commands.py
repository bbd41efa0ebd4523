"""Commands of the program in processes of their own, without the start of one: most of a short command's time goes
into importing what the program consists of, which is done once here.

Tests that use this also start processes as a user does: servers, and the pushes that are steered.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_STREAMS = (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY | os.O_CREAT), ("stderr", os.O_WRONLY | os.O_CREAT))

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["growi_transfer.cli.main", "growi_transfer.wiring", __name__])


def run_command(
    arguments: Sequence[str], environ: Mapping[str, str], stdin: str = "", seconds: float = 100
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` gives for `growi-transfer` with these arguments, this whole environment and no terminal.

    Raises subprocess.TimeoutExpired.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "stdin").write_text(stdin)
        process = _forks.Process(target=_run, args=(list(arguments), dict(environ), folder))
        process.start()
        process.join(seconds)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(arguments), seconds)
        process.close()
        out, err = ((folder / stream).read_text() for stream in ("stdout", "stderr"))
        return subprocess.CompletedProcess(list(arguments), code, out, err)


def _run(arguments: list[str], environ: dict[str, str], folder: Path) -> None:
    """In the new process."""
    from growi_transfer.cli.main import main

    for number, (name, flags) in enumerate(_STREAMS):
        os.dup2(os.open(folder / name, flags), number)
    sys.stdin = os.fdopen(0)  # multiprocessing has put the null device in its place
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["growi-transfer", *arguments]
    main()
