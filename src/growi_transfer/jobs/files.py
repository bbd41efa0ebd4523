"""The folder of the jobs' files: archives that exports made, and uploads that imports read.

`<job id>.zip` is a finished export, `<job id>.upload` waits for its import. Only their owner may read them. The file
`id` names the folder: a job can be run, and its file given out, only by the server that has the folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from growi_transfer.protocol.errors import InsufficientSpace, OperatorFault

_ID = re.compile(r"[0-9a-f]{32}")
_EXPORT, _UPLOAD = ".zip", ".upload"
SPARE = 256 << 20
"""Bytes that a job leaves free on the disk: the wiki's database may be on it."""


class JobFiles:
    """Below `root`, which is made if it is not there. Raises OperatorFault when it cannot be used."""

    def __init__(self, root: Path, new_id: str) -> None:
        """`new_id`: what the folder is called if it has no id yet."""
        self.root = root
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.id = _id_of(root / "id", new_id)
        except OSError as error:
            raise OperatorFault(f"The folder {root} cannot be used: {error.strerror}.") from error

    def export(self, job_id: str) -> Path:
        """Where the archive of an export is, or will be."""
        return self.root / f"{job_id}{_EXPORT}"

    def upload(self, job_id: str) -> Path:
        """Where the archive of an import is, or will be."""
        return self.root / f"{job_id}{_UPLOAD}"

    def remove(self, job_id: str) -> None:
        """Remove all that a job has. Twice has one effect."""
        for path in (self.export(job_id), self.upload(job_id)):
            path.unlink(missing_ok=True)

    def clear(self, exports: Collection[str], uploads: Collection[str]) -> int:
        """Remove everything but the archives of these jobs: what a killed process left. How many files went."""
        kept = {"id", *(f"{one}{_EXPORT}" for one in exports), *(f"{one}{_UPLOAD}" for one in uploads)}
        gone = [path for path in self.root.iterdir() if path.name not in kept and not path.is_dir()]
        for path in gone:
            path.unlink(missing_ok=True)
        return len(gone)

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Job id and bytes of each finished export."""
        for path in self.root.glob(f"*{_EXPORT}"):
            if _ID.fullmatch(path.stem):
                with suppress(FileNotFoundError):  # its job was ended just now
                    yield path.stem, path.stat().st_size

    def check_space(self, needed: int = 0) -> None:
        """Raises InsufficientSpace when `needed` bytes would not leave SPARE free."""
        state = os.statvfs(self.root)
        free = state.f_bavail * state.f_frsize
        if free < needed + SPARE:
            raise InsufficientSpace(
                f"The disk of the data folder has {free:,} bytes left, of which {SPARE:,} stay free.", free=free
            )


def _id_of(path: Path, new_id: str) -> str:
    text = path.read_text(encoding="ascii", errors="replace").strip() if path.exists() else ""
    if not _ID.fullmatch(text):
        text = new_id
        partial = path.with_suffix(".new")
        partial.write_text(text, encoding="ascii")
        partial.replace(path)
    return text
