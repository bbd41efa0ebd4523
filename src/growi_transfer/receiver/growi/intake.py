"""An archive that a GROWI pushes: checked as GROWI does, then staged, proved and committed like any other transfer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bson
import structlog

from growi_transfer.archive.growi_archive import META_NAME, GrowiArchive, open_growi_archive
from growi_transfer.ledger.base import Ledger, Role, TransferRow
from growi_transfer.mongo.client import DECODED, Database
from growi_transfer.mongo.collections import list_collections
from growi_transfer.protocol.elements import id_first
from growi_transfer.protocol.errors import (
    ArchiveInvalid,
    ArchiveTooLarge,
    Conflict,
    DestinationBusy,
    GrowiDataConflict,
    GrowiImportFailed,
    GrowiParseFailed,
    ImportAlreadyInProgress,
    InvalidRequest,
    PeerRefused,
    TransferDataInvalid,
    VersionIncompatible,
)
from growi_transfer.protocol.machine import State
from growi_transfer.protocol.names import is_operating_state
from growi_transfer.protocol.wire import PutTransfer, SetUp, SourceInfo
from growi_transfer.receiver.archive_import import Receiver, bring_in
from growi_transfer.receiver.growi.conflicts import refuse_conflicts
from growi_transfer.receiver.growi.request import GrowiFields, GrowiRequest, Rewrite, check_request
from growi_transfer.receiver.growi_import import declared, no_files
from growi_transfer.receiver.transfers import GROWI_KEY, Transfers

_log = structlog.get_logger(__name__)
_DIFFERENT = "The version of this GROWI and the uploaded GROWI data are not the same"
_NONE: Mapping[str, Any] = {"failedCollections": [], "importAborted": False}


class GrowiIntake:
    """Takes archives of GROWIs in. `version`: this wiki's GROWI, None where it is not known."""

    def __init__(
        self,
        *,
        receiver: Receiver,
        database: Database,
        ledger: Ledger,
        transfers: Transfers,
        version: str | None,
        new_id: Callable[[], str],
    ) -> None:
        self._receiver = receiver
        self._database = database
        self._ledger = ledger
        self._transfers = transfers
        self._version = version
        self._new_id = new_id
        self._latest: dict[str, str] = {}
        """By key: the transfer that `transfer_of` gave last, or the import that was committed since."""

    async def run(self, key_id: str, path: Path | None, fields: GrowiFields) -> dict[str, Any]:
        """Import an archive; what GROWI's own answer would tell, and `transferId`.

        On any error the wiki is left as it was. Raises TransferDataInvalid, VersionIncompatible,
        ImportSettingsInvalid, ProtectedCollectionIncluded, MixedImportModes, GrowiDataConflict,
        ImportAlreadyInProgress, GrowiImportFailed.
        """
        if path is None:
            raise TransferDataInvalid()
        if path.stat().st_size == 0:
            raise VersionIncompatible(_DIFFERENT)  # as GROWI has it: there is no meta.json in it
        try:
            async with open_growi_archive(path) as archive:
                return await self._run(key_id, archive, fields)
        except (ArchiveInvalid, ArchiveTooLarge) as error:
            if error.details.get("entry") == META_NAME:
                raise VersionIncompatible(_DIFFERENT) from error
            raise TransferDataInvalid() from error

    async def _run(self, key_id: str, archive: GrowiArchive, fields: GrowiFields) -> dict[str, Any]:
        if self._version is not None and archive.meta.version != self._version:
            raise VersionIncompatible(_DIFFERENT)
        strict = _major(archive.meta.version) >= 8
        request = check_request(fields, archive.archived, strict=strict)
        names = [name for name in request.collections if not is_operating_state(name)]
        # Those of operating state are left out, so it is enough that they are there.
        there = set(archive.collections) | {name for name in archive.archived if is_operating_state(name)}
        if lacking := [name for name in request.collections if name not in there]:
            raise GrowiImportFailed(collections=[name[:100] for name in lacking[:100]])
        if not names:
            return dict(_NONE)
        try:
            if strict:
                await refuse_conflicts(self._database, archive, {name: request.modes[name] for name in names})
            transfer_id = self._new_id()
            answer = await self._bring_in(key_id, transfer_id, archive, request, names)
            self._latest[key_id] = transfer_id
        except DestinationBusy as error:
            raise ImportAlreadyInProgress(error.message) from error
        except (InvalidRequest, Conflict, PeerRefused) as error:
            if isinstance(error, GrowiDataConflict | GrowiParseFailed):
                raise
            _log.warning("growi_import_failed", code=error.code, message=error.message)
            raise GrowiImportFailed(reason=error.message[:500]) from error
        told = (answer["held"].get("told") or {}).get("merge", {})
        counts = told.get("collections", {})
        failed = Counter({name: one["failed"] for name, one in counts.items() if one.get("failed")})
        failed.update(answer["duplicates"])
        return {**_NONE, "failedDocuments": dict(failed), "transferId": transfer_id}

    async def _bring_in(
        self, key_id: str, transfer_id: str, archive: GrowiArchive, request: GrowiRequest, names: Sequence[str]
    ) -> dict[str, Any]:
        async def documents(name: str) -> AsyncIterator[Sequence[bytes]]:
            # Before the first one: a server that was killed finds by this what nobody goes on with, and what is
            # committed is found by its files.
            await self._transfers.note(transfer_id, {GROWI_KEY: key_id})
            async for batch in _documents(archive, name, request.rewrites.get(name)):
                yield batch

        here = {info.name: info for info in await list_collections(self._database)}
        try:
            body = PutTransfer(
                setup=SetUp(
                    preset="growi",
                    modes={name: request.modes[name].value for name in names},
                    source=SourceInfo(version=archive.meta.version[:2000]),
                    with_attachments=False,
                    upload_settings=dict(request.upload_configs),
                ),
                collections=tuple(declared(number, name, here, archive) for number, name in enumerate(names)),
            )
        except ValueError:  # more collections than there may be, or a setting that cannot be kept
            raise GrowiParseFailed() from None
        return await bring_in(
            self._receiver,
            transfer_id,
            body,
            documents,
            no_files,
            commit=True,
            keep_first=True,
        )

    def latest_of(self, key_id: str) -> str | None:
        """What `transfer_of` would probably say, without asking the ledger."""
        return self._latest.get(key_id)

    async def transfer_of(self, key_id: str) -> str | None:
        """The last import under a key that is committed and can be rolled back: files that follow belong to it."""
        latest = self._latest.get(key_id)
        if latest is not None:
            row = await self._ledger.get_transfer(Role.RECEIVER, latest)
            if row is not None and _can_be_rolled_back(row):
                return self._latest.get(key_id)  # another one may have been committed meanwhile
            if self._latest.get(key_id) == latest:
                del self._latest[key_id]
        for row in await self._ledger.list_transfers(Role.RECEIVER):
            if row.facts.get(GROWI_KEY) == key_id and _can_be_rolled_back(row):
                return self._latest.setdefault(key_id, row.id)
        return None


def _can_be_rolled_back(row: TransferRow) -> bool:
    ended = any(row.facts.get(name) for name in ("rolling_back", "purging", "purged_at"))
    return row.position.state is State.COMPLETED and not ended


async def _documents(archive: GrowiArchive, name: str, rewrite: Rewrite | None) -> AsyncIterator[Sequence[bytes]]:
    if rewrite is not None and not rewrite.changes(name):
        rewrite = None
    async for batch in archive.documents(name):
        if rewrite is None and all(document[5:9] == b"_id\x00" for document in batch):
            yield batch
            continue
        yield await asyncio.to_thread(_all_rewritten, name, batch, rewrite)


def _all_rewritten(name: str, batch: Sequence[bytes], rewrite: Rewrite | None) -> list[bytes]:
    return [_rewritten(name, document, rewrite) for document in batch]


def _rewritten(name: str, raw: bytes, rewrite: Rewrite | None) -> bytes:
    document: dict[str, Any] = bson.decode(raw, DECODED)
    if "_id" not in document:
        document = {"_id": bson.ObjectId(), **document}
    if rewrite is not None:
        document = rewrite.apply(name, document)
    return bytes(id_first(bson.encode(document, codec_options=DECODED)))


def _major(version: str) -> int:
    head = version.partition(".")[0]
    return int(head) if head.isascii() and head.isdigit() and len(head) < 5 else 0
