"""How far one job is, while it runs, and what went wrong on the way."""

from __future__ import annotations

from typing import Any, Literal, cast

from growi_transfer.protocol.errors import TransferError, code_of
from growi_transfer.protocol.job_shapes import ERRORS_KEPT, Counter, JobError, JobProgress

TOO_MANY = 1000
"""So many things that cannot be had are the fault of the wiki, or of its storage: the job fails all the same."""
_SHOWN = 500
"""Characters of one message that are kept."""


class Progress:
    """Counts of one run. `tolerant`: what cannot be had is noted, and the job goes on."""

    def __init__(self, *, tolerant: bool = False) -> None:
        self._tolerant = tolerant
        self._documents = [0, 0]
        self._bytes = [0, 0]
        self._files = [0, 0]
        self.errors: list[JobError] = []
        self.errors_total = 0
        self.changed = True
        """Whether there is something that was not shown yet."""

    def planned(self, *, documents: int, size: int, files: int) -> None:
        """What there is to do, in a new run."""
        self._documents, self._bytes, self._files = [0, documents], [0, size], [0, files]
        self.changed = True

    def advanced(self, *, documents: int = 0, size: int = 0, files: int = 0) -> None:
        """So much more is done."""
        for counter, more in ((self._documents, documents), (self._bytes, size), (self._files, files)):
            counter[0] += more
        self.changed = True

    def counted(self, *, documents: int, size: int, files: int) -> None:
        """So much is done in all."""
        done = (documents, size, files)
        if done != (self._documents[0], self._bytes[0], self._files[0]):
            self._documents[0], self._bytes[0], self._files[0] = done
            self.changed = True

    def failed(self, item: str, kind: str, error: TransferError) -> None:
        """Something cannot be had. Raises the error unless that is tolerated."""
        if not self._tolerant or self.errors_total >= TOO_MANY:
            raise error
        self.note(item, kind, error)

    def note(self, item: str, kind: str, error: TransferError) -> None:
        """Keep an error."""
        self.errors_total += 1
        self.changed = True
        if len(self.errors) < ERRORS_KEPT:
            what = cast(Literal["collection", "file", "job"], kind)
            self.errors.append(
                JobError(item=item[:_SHOWN], kind=what, code=code_of(error), message=error.message[:_SHOWN])
            )

    def forget_errors(self) -> None:
        """Another run begins; it will meet what is still wrong."""
        self.errors, self.errors_total = [], 0

    @property
    def percent(self) -> int:
        """Of the bytes; 99 until everything is done, because totals are guesses."""
        done, total = self._bytes
        return min(99, done * 100 // total) if total > 0 else 0

    def shape(self) -> JobProgress:
        documents, size, files = (
            Counter(done=done, total=max(done, total)) for done, total in (self._documents, self._bytes, self._files)
        )
        return JobProgress(documents=documents, bytes=size, files=files)

    def facts(self) -> dict[str, Any]:
        """As the ledger keeps it."""
        return {
            "percent": self.percent,
            "progress": self.shape().model_dump(mode="json"),
            "errors": [error.model_dump(mode="json") for error in self.errors],
            "errors_total": self.errors_total,
        }
