"""What is in this wiki's storage, for an operator: lists, sums, and what fits no attachment. Deletes only what is
proved to be nobody's.

A file is proved to be nobody's when it has a name that only GROWI gives, when no attachment's document and no user's
image names it, when it is old (GROWI writes a file first and its document after it), and when no transfer into this
wiki can still need it: one under way brings files before their documents, and one that may be rolled back keeps
documents aside whose files are here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from growi_transfer.ledger.base import Ledger, Role
from growi_transfer.mongo.client import Database
from growi_transfer.mongo.inspection import attachments_by_path, named_paths, users_images
from growi_transfer.protocol.errors import DestinationBusy, StateConflict, StorageNotConfigured
from growi_transfer.protocol.machine import FINISHED, State
from growi_transfer.protocol.places import AUDIT_FOLDER, family_of, is_made_by_growi, layout_of
from growi_transfer.storage.base import Leftover, Storage, StoredFile
from growi_transfer.storage.check import Step, StorageCheck
from growi_transfer.storage.matching import matches
from growi_transfer.storage.paths import OWN_PREFIX
from growi_transfer.storage.registry import leftovers_of

_TRANSFERS = 100_000
_DELETED_TOGETHER = 500


@dataclass(slots=True)
class Sum:
    files: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.files += 1
        self.bytes += size


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that fits nothing. `what`: `file_without_document`, `document_without_file`, `size_differs`,
    `stored_twice` or `leftover` (parts of a file that was never finished)."""

    what: str
    path: str
    size: int = 0
    modified: float | None = None
    attachment_id: str = ""
    document_size: int | None = None
    kept: str = ""
    """Of a file without a document: why it is not deleted (`young`, `age_unknown`, `name_not_growi`, `user_image`,
    `audit_log`); empty if it may be."""


@dataclass(slots=True)
class Outcome:
    """How many of each were found, by `what`; what may be deleted, and what was."""

    found: dict[str, Sum] = field(default_factory=dict)
    deletable: Sum = field(default_factory=Sum)
    deleted: Sum = field(default_factory=Sum)


class StoredFiles:
    """The storage of one wiki beside its documents."""

    def __init__(self, *, database: Database, storage: Storage, ledger: Ledger, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._storage = storage
        self._ledger = ledger
        self._clock = clock

    @property
    def kind(self) -> str:
        """GROWI's word for the storage."""
        return self._storage.features.kind

    @property
    def place(self) -> str:
        """Where the files are, in words."""
        return self._storage.features.place or self.kind

    async def check(self, *, size: int, tries: int) -> list[Step]:
        """Try every operation; see `storage.check`."""
        return await StorageCheck(self._storage, size=size, tries=tries).run()

    async def free_bytes(self) -> int | None:
        """Free space, where the storage knows any."""
        return await self._storage.free_bytes()

    async def _check_configured(self) -> None:
        """Raises StorageNotConfigured: an empty list would tell something else."""
        (found,) = await self._storage.read_many([f"{OWN_PREFIX}none"], 0)
        if isinstance(found, StorageNotConfigured):
            raise found

    async def pages(self, prefix: str = "") -> AsyncGenerator[list[StoredFile], None]:
        """Files by path, in order. Raises StorageNotConfigured, as everything here does."""
        await self._check_configured()
        listing = self._storage.list_files(prefix)
        try:
            async for page in listing:
                yield page
        finally:
            close = getattr(listing, "aclose", None)
            if close is not None:
                await close()

    async def usage(self, prefix: str = "") -> dict[str, Sum]:
        """Files and bytes by family (`places.family_of`); ours are `growi-transfer`."""
        sums: dict[str, Sum] = {}
        async with aclosing(self.pages(prefix)) as pages:
            async for page in pages:
                for file in page:
                    sums.setdefault(family_of(file.path), Sum()).add(file.size)
        if OWN_PREFIX.startswith(prefix) and not prefix.startswith(OWN_PREFIX):
            async with aclosing(self.pages(OWN_PREFIX)) as pages:
                async for page in pages:
                    for file in page:
                        sums.setdefault("growi-transfer", Sum()).add(file.size)
        return dict(sorted(sums.items()))

    def outcome(self) -> Outcome:
        """An empty one, for `findings`."""
        return Outcome()

    async def findings(self, outcome: Outcome, *, older_than: timedelta) -> AsyncGenerator[Finding, None]:
        """Everything that fits nothing, in the order of paths; `outcome` counts it."""
        await self._check_configured()
        border = self._clock().timestamp() - older_than.total_seconds()
        images = await users_images(self._database)
        documents = attachments_by_path(self._database, layout_of(self.kind))
        async with aclosing(matches(self._storage, documents)) as found:
            async for match in found:
                for finding in _findings(match.document, match.file, border, images, is_repeated=match.is_repeated):
                    _count(outcome, finding)
                    yield finding
        leftovers = leftovers_of(self._storage)
        if leftovers is not None:
            async for page in leftovers.leftovers(older_than):
                for one in page:
                    finding = _leftover(one)
                    _count(outcome, finding)
                    yield finding

    async def check_deletable(self) -> None:
        """Whether a file without a document can be proved to be nobody's. Raises DestinationBusy while a transfer into
        this wiki is under way, StateConflict while one may be rolled back, and for a database without attachments:
        with the wrong database every file would be nobody's."""
        if not await self._database.find("attachments", {}, {"_id": 1}, limit=1):
            raise StateConflict(
                "There is no attachment in this database at all, so nothing is deleted. Is MONGO_URI that of the wiki"
                " whose files these are?"
            )
        for row in await self._ledger.list_transfers(Role.RECEIVER, _TRANSFERS):
            state = row.position.state
            if state not in FINISHED:
                raise DestinationBusy(
                    f"Transfer {row.id[:8]} into this wiki is not finished ({state.value}); its files come before their"
                    " documents. Finish or cancel it first.",
                    transfer=row.id,
                )
            if state is State.COMPLETED and not row.facts.get("purged_at"):
                raise StateConflict(
                    f"Transfer {row.id[:8]} may still be rolled back; files without a document may belong to what it"
                    f" replaced. `transfers purge {row.id[:8]}` gives that up.",
                    transfer=row.id,
                )

    async def delete_orphans(
        self, outcome: Outcome, *, older_than: timedelta
    ) -> AsyncGenerator[Sequence[Finding], None]:
        """Find again, and delete what is nobody's, some hundred at a time; what was deleted each time.

        Raises what `check_deletable` raises, before each time.
        """
        waiting: list[Finding] = []
        async with aclosing(self.findings(outcome, older_than=older_than)) as found:
            async for finding in found:
                if finding.kept or finding.what not in ("file_without_document", "leftover"):
                    continue
                waiting.append(finding)
                if len(waiting) >= _DELETED_TOGETHER:
                    yield await self._delete(waiting, outcome, older_than)
                    waiting = []
        yield await self._delete(waiting, outcome, older_than)

    async def _delete(self, findings: Sequence[Finding], outcome: Outcome, older_than: timedelta) -> list[Finding]:
        await self.check_deletable()
        files = [finding for finding in findings if finding.what == "file_without_document"]
        # A document may have come since the list was read.
        named = await named_paths(self._database, [finding.path for finding in files])
        gone = [finding for finding in files if finding.path not in named]
        await self._storage.delete_many([finding.path for finding in gone])
        leftovers = leftovers_of(self._storage)
        if leftovers is not None:
            parts = [finding for finding in findings if finding.what == "leftover"]
            gone_names = await leftovers.remove_leftovers([finding.path for finding in parts], older_than)
            gone += [finding for finding in parts if finding.path in gone_names]
        for finding in gone:
            outcome.deleted.add(finding.size)
        return gone


def _findings(
    document: Mapping[str, Any] | None,
    file: StoredFile | None,
    border: float,
    images: set[str],
    *,
    is_repeated: bool,
) -> list[Finding]:
    found: list[Finding] = []
    if file is not None and file.copies > 1 and not is_repeated:
        found.append(Finding("stored_twice", file.path, file.size, file.modified))
    if document is None and file is not None:
        kept = _reason_to_keep(file, border, images)
        found.append(Finding("file_without_document", file.path, file.size, file.modified, kept=kept))
    elif document is not None:
        identity, size = str(document["_id"]), document.get("fileSize")
        path = str(document.get("path") or repr(document.get("fileName")))[:1000]
        known = int(size) if isinstance(size, int | float) and not isinstance(size, bool) else None
        if file is None:
            found.append(Finding("document_without_file", path, attachment_id=identity, document_size=known))
        elif size not in (None, file.size):
            found.append(Finding("size_differs", file.path, file.size, file.modified, identity, known))
    return found


def _reason_to_keep(file: StoredFile, border: float, images: set[str]) -> str:
    if file.path.startswith(AUDIT_FOLDER):
        # How a GROWI that uses this folder will find its files there is not known yet.
        return "audit_log"
    if not is_made_by_growi(file.path):
        return "user_image" if file.path.rpartition("/")[2] in images else "name_not_growi"
    if file.path.rpartition("/")[2] in images:
        return "user_image"
    if file.modified is None:
        return "age_unknown"
    return "" if file.modified < border else "young"


def _leftover(one: Leftover) -> Finding:
    return Finding("leftover", one.name, one.size, one.modified)


def _count(outcome: Outcome, finding: Finding) -> None:
    outcome.found.setdefault(finding.what, Sum()).add(finding.size)
    if finding.what in ("file_without_document", "leftover") and not finding.kept:
        outcome.deletable.add(finding.size)
