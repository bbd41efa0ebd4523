"""A whole archive at once: staged, proved and committed like any other transfer, with the file as the source."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from growi_transfer.archive.bundle import write_frames
from growi_transfer.archive.contents import ArchivedCollection
from growi_transfer.archive.reader import ArchiveReader, open_archive
from growi_transfer.protocol.digest import combine
from growi_transfer.protocol.elements import id_first
from growi_transfer.protocol.errors import (
    AttachmentsIncomplete,
    CollectionIllegal,
    PeerRefused,
    TransferError,
    VerificationFailed,
)
from growi_transfer.protocol.names import check_collection, is_operating_state
from growi_transfer.protocol.progress import Notice
from growi_transfer.protocol.wire import (
    BUNDLE_BYTES,
    BUNDLE_FILES,
    LARGE_FILE_BYTES,
    PLAN_FILES,
    AttachmentFile,
    Collection,
    CollectionProof,
    PlanPage,
    PutTransfer,
    SetUp,
    SourceInfo,
    Verify,
)
from growi_transfer.receiver.importer import Appended

_READ_AT_ONCE = 100
DUPLICATES = "duplicates_left_out"
"""Code of a warning."""


class Receiver(Protocol):
    """What an import asks of the receiver: the same that a source asks of it over the line."""

    async def put_transfer(
        self, transfer_id: str, body: PutTransfer, *, key_id: str | None, epoch: int, brought_in: bool = False
    ) -> dict[str, Any]: ...

    async def left_to_the_admin(self, transfer_id: str) -> None: ...

    async def append(
        self, transfer_id: str, collection: str, number: int, documents: Sequence[bytes], *, keep_first: bool
    ) -> Appended: ...

    def warn(self, transfer_id: str, notice: Notice) -> None: ...

    async def plan_attachments(self, transfer_id: str, page: PlanPage, *, epoch: int) -> dict[str, Any]: ...

    async def put_bundle(self, transfer_id: str, body: bytes, *, epoch: int) -> dict[str, Any]: ...

    async def patch_upload(
        self,
        transfer_id: str,
        attachment_id: str,
        *,
        file: AttachmentFile | None,
        offset: int,
        complete: bool,
        sha256: str | None,
        chunks: AsyncIterator[bytes],
        epoch: int,
    ) -> object: ...

    async def verify(self, transfer_id: str, expected: Verify, *, epoch: int) -> dict[str, Any]: ...

    async def transfer(self, transfer_id: str) -> dict[str, Any]: ...

    async def commit(self, transfer_id: str, *, epoch: int | None) -> dict[str, Any]: ...

    async def cancel(self, transfer_id: str, *, epoch: int | None) -> dict[str, Any]: ...


async def import_archive(receiver: Receiver, path: Path, transfer_id: str, *, commit: bool = True) -> dict[str, Any]:
    """Bring an archive in under a new transfer id; on any error the destination is left as it was.

    Raises ArchiveInvalid, ArchiveTooLarge, BsonInvalid, DestinationBusy, VerificationFailed, and what staging raises.
    """
    async with open_archive(path) as archive:
        collections = [one for one in archive.contents.collections if not is_operating_state(one.name)]
        manifest = archive.contents.manifest
        setup = SetUp(
            source=manifest.source if manifest is not None and manifest.source is not None else SourceInfo(),
            excluded_collections=(),
            with_attachments=bool(archive.contents.files),
        )
        body = PutTransfer(
            setup=setup,
            collections=tuple(_declared(number, one) for number, one in enumerate(collections)),
            files_total=len(archive.contents.files),
            file_bytes_total=sum(entry.size for entry in archive.contents.files.values()),
        )
        by_name = {one.name: one for one in collections}
        return await bring_in(
            receiver,
            transfer_id,
            body,
            lambda name: archive.documents(by_name[name]),
            lambda: _files(receiver, archive, transfer_id),
            commit=commit,
        )


async def bring_in(
    receiver: Receiver,
    transfer_id: str,
    body: PutTransfer,
    documents: Callable[[str], AsyncIterator[Sequence[bytes | memoryview]]],
    files: Callable[[], Awaitable[int]],
    *,
    commit: bool,
    keep_first: bool = False,
) -> dict[str, Any]:
    """Stage the documents of every collection of `body`, send the files (`files` says how many), prove and commit.

    `keep_first`: of documents that are one to a unique index the first one comes, and the others are counted by
    collection in `duplicates` of the answer. On any error the destination is left as it was.
    """
    try:
        await receiver.put_transfer(transfer_id, body, key_id=None, epoch=0, brought_in=True)
        left_out: dict[str, int] = {}
        proofs = [
            await _collection(receiver, documents(one.name), transfer_id, one, left_out if keep_first else None)
            for one in body.collections
            if one.kind != "view"
        ]
        if left_out:
            receiver.warn(transfer_id, _duplicates(left_out))
        await _prove(receiver, transfer_id, proofs, await files())
        if not commit:
            await receiver.left_to_the_admin(transfer_id)
            answer = await receiver.transfer(transfer_id)
        else:
            answer = await receiver.commit(transfer_id, epoch=None)
        return {**answer, "duplicates": left_out} if keep_first else answer
    except BaseException:
        await asyncio.shield(_undo(receiver, transfer_id))
        raise


async def _undo(receiver: Receiver, transfer_id: str) -> None:
    try:
        await receiver.cancel(transfer_id, epoch=None)
    except TransferError:
        # There is no such transfer yet, or its commit has begun: the journal finishes or undoes that, not this.
        return


def _declared(number: int, one: ArchivedCollection) -> Collection:
    promised = one.promised
    return Collection(
        number=number,
        name=check_collection(one.name),
        kind=_kind(one),
        uuid=one.uuid if len(one.uuid) == 32 else "",
        metadata=one.metadata,
        documents=promised.documents if promised is not None else 0,
        bytes=promised.bytes if promised is not None else (one.entry.size if one.entry is not None else 0),
    )


def _kind(one: ArchivedCollection) -> Any:
    return one.kind


def _duplicates(left_out: Mapping[str, int]) -> Notice:
    named = ", ".join(f"{number:,} of {name}" for name, number in left_out.items())
    text = f"Left out, because an earlier document of the archive has the same _id or unique value: {named[:1500]}."
    return Notice(DUPLICATES, text, {"collections": left_out})


async def _collection(
    receiver: Receiver,
    batches: AsyncIterator[Sequence[bytes | memoryview]],
    transfer_id: str,
    one: Collection,
    left_out: dict[str, int] | None,
) -> CollectionProof:
    """Stage one collection. `left_out` counts duplicates; None refuses an archive that has some."""
    ordered = one.kind == "capped"
    digests: list[bytes] = []
    documents = volume = 0
    async for batch in batches:
        raw = [bytes(document if ordered else id_first(document)) for document in batch]
        done = await receiver.append(transfer_id, one.name, volume, raw, keep_first=left_out is not None)
        digests.append(done.digest)
        documents += done.documents
        if done.left_out and left_out is not None:
            left_out[one.name] = left_out.get(one.name, 0) + done.left_out
        volume += 1
        del raw, batch
    return CollectionProof(number=one.number, documents=documents, digest=combine(digests).hex())


async def _files(receiver: Receiver, archive: ArchiveReader, transfer_id: str) -> int:
    count = 0
    async for page in archive.files():
        for start in range(0, len(page), PLAN_FILES):
            files = page[start : start + PLAN_FILES]
            count += len(files)
            answer = await receiver.plan_attachments(transfer_id, PlanPage.model_construct(files=tuple(files)), epoch=0)
            wanted = {*answer["missing"], *answer["same_size"]}
            await _send(receiver, archive, transfer_id, [file for file in files if file.id in wanted])
    return count


async def _send(receiver: Receiver, archive: ArchiveReader, transfer_id: str, files: Sequence[AttachmentFile]) -> None:
    small: list[AttachmentFile] = []
    size = 0
    for file in files:
        if file.size > LARGE_FILE_BYTES:
            await receiver.patch_upload(
                transfer_id,
                file.id,
                file=file,
                offset=0,
                complete=True,
                sha256=file.sha256,
                chunks=archive.read_file(file),
                epoch=0,
            )
            continue
        if small and (size + file.size > BUNDLE_BYTES or len(small) >= min(BUNDLE_FILES, _READ_AT_ONCE)):
            await _bundle(receiver, archive, transfer_id, small)
            small, size = [], 0
        small.append(file)
        size += file.size
    if small:
        await _bundle(receiver, archive, transfer_id, small)


async def _bundle(
    receiver: Receiver, archive: ArchiveReader, transfer_id: str, files: Sequence[AttachmentFile]
) -> None:
    contents = await archive.read_files(files, LARGE_FILE_BYTES)
    good: list[tuple[AttachmentFile, bytes]] = []
    for file, content in zip(files, contents, strict=True):
        if isinstance(content, TransferError):
            raise content
        good.append((file, content))
    pieces = await asyncio.to_thread(write_frames, good)
    answer = await receiver.put_bundle(transfer_id, b"".join(pieces), epoch=0)
    for result in answer["results"]:
        if not result["ok"]:
            raise AttachmentsIncomplete(f"An attachment could not be stored: {result['message']}", code=result["code"])


async def _prove(receiver: Receiver, transfer_id: str, proofs: Sequence[CollectionProof], files: int) -> None:
    body = Verify(collections=tuple(proofs), files=files, seconds=60)
    while True:
        held = (await receiver.verify(transfer_id, body, epoch=0))["held"]
        if held.get("error"):
            error = held["error"]
            if error["code"] == CollectionIllegal.code:
                raise CollectionIllegal(error["message"])
            raise PeerRefused(error["message"], code=error["code"], status=409)
        if held.get("verify"):
            break
    if not held["verify"]["ok"]:
        raise VerificationFailed(
            "What was read back is not what the archive holds.", differences=held["verify"]["differences"]
        )
