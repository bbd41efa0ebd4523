"""Compare two wikis: every document byte for byte, every index and option, every attachment file.

This is the demo's judge of the transfer, so it shares nothing with it: no digests, no ranges, no list of names.
It reads both sides itself, in `_id` order as each server sorts (natural order for capped collections), and asks the
servers wherever order is in question. Both wikis must be at rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database

from growi_transfer.demo.compare_files import Files, GridFsFiles, LocalFiles, compare_files
from growi_transfer.demo.findings import Comparison
from growi_transfer.demo.rewrites import RAW, Rewrite, find, first_difference, parse_document, wrong

STAYS = (
    "transferkeys",
    "sessions",
    "rlflx",
    "migrations",
    "changestream_resume_tokens",
    "pageoperations",
    "auditlogbulkexportjobs",
    "pagebulkexportjobs",
    "pagebulkexportpagesnapshots",
    "failedemails",
)
"""Operating state, which must not move; also `vault_*`, and the GridFS bucket, whose content moves as files."""
_UNCHANGED = ("migrations", "transferkeys", "pageoperations", "failedemails")
"""Operating state of the destination that nothing may touch."""
_REMEMBERED = ("configs", "users", "accesstokens", *_UNCHANGED)
_BATCH = 1000
_ENOUGH = 200
"""Differences in one collection after which the rest of it is not looked at."""


@dataclass(frozen=True, slots=True)
class Side:
    """One wiki. `uploads`: root of its local storage, or None when its files are in GridFS."""

    uri: str
    database: str
    uploads: Path | None


@dataclass(frozen=True, slots=True)
class Former:
    """The destination before a transfer, as far as GROWI's rules keep it: raw documents by collection, and files."""

    documents: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    files: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Expected:
    """Differences that are meant to be."""

    former: Former = field(default_factory=Former)
    rewrites: Sequence[Rewrite] = ()
    missing_files: Set[str] = frozenset()
    """Paths of attachments whose file was missing at the source, as the transfer told."""
    excluded: Set[str] = frozenset()
    """Collections that the operator left out."""


def remember(destination: Side) -> Former:
    """What `compare` needs to know of the destination as it was: its settings, people and names of files."""
    with MongoClient[dict[str, Any]](destination.uri) as client:
        database = client[destination.database]
        documents = {name: list(_raw(database[name])) for name in _REMEMBERED}
        return Former(documents, frozenset(_files(destination, database).names()))


def compare(source: Side, destination: Side, expected: Expected | None = None) -> Comparison:
    """Compare everything. Memory is bounded by a few batches of documents."""
    with ExitStack() as stack:
        ours = stack.enter_context(MongoClient[dict[str, Any]](source.uri))[source.database]
        theirs = stack.enter_context(MongoClient[dict[str, Any]](destination.uri))[destination.database]
        judge = _Judge(ours, theirs, expected or Expected())
        judge.catalogs()
        compare_files(
            judge.result,
            ours,
            _files(source, ours),
            _files(destination, theirs),
            missing=judge.expected.missing_files,
            former=judge.expected.former.files,
        )
        return judge.result


def _files(side: Side, database: Database[Any]) -> Files:
    return GridFsFiles(database) if side.uploads is None else LocalFiles(side.uploads)


class _Judge:
    def __init__(self, source: Database[Any], destination: Database[Any], expected: Expected) -> None:
        self.source, self.destination, self.expected = source, destination, expected
        self.result = Comparison()

    def catalogs(self) -> None:
        ours, theirs = _catalog(self.source), _catalog(self.destination)
        for name in sorted(ours.keys() | theirs.keys()):
            if name.startswith(("growi_transfer_", "system.", "attachmentFiles.")) or name in self.expected.excluded:
                continue
            if name in STAYS or name.startswith("vault_"):
                self._stayed(name)
            elif name not in theirs:
                self.result.differs(f"collection {name}: missing at the destination")
            elif name not in ours:
                self.result.differs(f"collection {name}: only at the destination")
            else:
                self._collection(name, ours[name], theirs[name])

    def _collection(self, name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
        self.result.collections += 1
        if ours["type"] != theirs["type"]:
            self.result.differs(f"collection {name}: is a {ours['type']}, and a {theirs['type']} at the destination")
            return
        self._same_fields(f"collection {name}", ours["options"], theirs["options"])
        if ours["type"] == "view":
            one, other = (database[name].count_documents({}) for database in (self.source, self.destination))
            if one != other:
                self.result.differs(f"view {name}: shows {one} documents, and {other} at the destination")
            return
        self._indexes(name)
        rewrites = [rewrite for rewrite in self.expected.rewrites if rewrite.collection == name]
        self._documents(name, capped=bool(ours["options"].get("capped")), rewrites=rewrites)
        for rewrite in rewrites:
            former = find(self.expected.former.documents.get(name, ()), rewrite)
            reason = wrong(rewrite, self._one(self.source, rewrite), former, self._one(self.destination, rewrite))
            if reason:
                self.result.differs(f"{rewrite}: not as told: {reason}")
            else:
                self.result.rewritten += 1

    def _same_fields(self, what: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
        """Fields of options: their values in every byte, their order in none."""
        for option in sorted(ours.keys() | theirs.keys()):
            if option not in theirs:
                self.result.differs(f"{what}: {option} is missing at the destination")
            elif option not in ours:
                self.result.differs(f"{what}: {option} is only at the destination")
            elif _option(option, ours[option]) != _option(option, theirs[option]):
                self.result.differs(f"{what}: {option} differs")

    def _indexes(self, name: str) -> None:
        ours, theirs = _indexes(self.source, name), _indexes(self.destination, name)
        self.result.indexes += len(ours)
        for index in sorted(ours.keys() | theirs.keys()):
            if index not in theirs:
                self.result.differs(f"index {index} of {name}: missing at the destination")
            elif index not in ours:
                self.result.differs(f"index {index} of {name}: only at the destination")
            else:
                self._same_fields(f"index {index} of {name}", ours[index], theirs[index])

    def _one(self, database: Database[Any], rewrite: Rewrite) -> RawBSONDocument | None:
        return database[rewrite.collection].with_options(RAW).find_one({rewrite.by: {"$eq": rewrite.value}})

    def _stayed(self, name: str) -> None:
        """Operating state: nothing of the source is at the destination, whose own is as it was."""
        theirs = self.destination[name].with_options(RAW)
        for raw in _raw(self.source[name]):
            document = parse_document(raw)
            found = theirs.find_one({"_id": {"$eq": document["_id"]}})
            if found is not None and found.raw == raw:
                self.result.differs(f"{name} {_shown(document)}: moved, though it is the source's own state")
        former = self.expected.former.documents.get(name)
        if name in _UNCHANGED and former is not None and list(_raw(self.destination[name])) != list(former):
            self.result.differs(f"collection {name}: the destination's own state was changed")

    # --- documents ---------------------------------------------------------------------------------------------------

    def _documents(self, name: str, *, capped: bool, rewrites: Sequence[Rewrite]) -> None:
        order = "$natural" if capped else "_id"
        ours = _Walk(_raw(self.source[name], order), rewrites)
        theirs = _Walk(_raw(self.destination[name], order), rewrites)
        before = self.result.mismatch_count
        while ours.document is not None or theirs.document is not None:
            if ours.document == theirs.document:
                ours.advance()
                theirs.advance()
                continue
            if self.result.mismatch_count - before >= _ENOUGH:
                self.result.differs(f"{name}: {_ENOUGH} differences, the rest was not looked at")
                break
            if capped:
                self.result.differs(f"{name}: differs at position {ours.count} of its natural order")
                ours.advance()
                theirs.advance()
            elif not self._settle(name, ours, theirs):
                break
        self.result.documents += ours.count
        self.result.document_bytes += ours.size

    def _settle(self, name: str, ours: _Walk, theirs: _Walk) -> bool:
        """Report why the two present documents differ and move on; False when nothing more can be said."""
        one = None if ours.document is None else parse_document(ours.document)
        other = None if theirs.document is None else parse_document(theirs.document)
        if one is not None and other is not None and _same_id(one, other):
            self.result.differs(f"{name} {_shown(one)}: differs in {first_difference(one, other)}")
            ours.advance()
            theirs.advance()
            return True
        twin = None if other is None else self._twin(self.source, name, other)
        if other is not None and twin is None:
            self.result.differs(f"{name} {_shown(other)}: only at the destination")
            theirs.advance()
            return True
        if one is not None and self._twin(self.destination, name, one) is None:
            self.result.differs(f"{name} {_shown(one)}: missing at the destination")
            ours.advance()
            return True
        if one is not None and other is not None and twin is not None and not _same_id(twin, other):
            # Equal for the server, but of another type or spelling: 1 and 1.0, or two texts under a collation.
            self.result.differs(f"{name} {_shown(other)}: has another _id at the source")
            ours.advance()
            theirs.advance()
            return True
        self.result.differs(f"{name}: sorts differently at the destination; the rest was not looked at")
        return False

    def _twin(self, database: Database[Any], name: str, document: RawBSONDocument) -> RawBSONDocument | None:
        return database[name].with_options(RAW).find_one({"_id": {"$eq": document["_id"]}})


class _Walk:
    """A cursor with one document in hand, past those that a rewrite is about. Counts all of them."""

    def __init__(self, documents: Iterator[bytes], rewrites: Sequence[Rewrite]) -> None:
        self._documents = documents
        self._rewrites = rewrites
        self.count = self.size = 0
        self.document: bytes | None = None
        self._fetch()

    def advance(self) -> None:
        if self.document is not None:
            self.count += 1
            self.size += len(self.document)
            self._fetch()

    def _fetch(self) -> None:
        self.document = next(self._documents, None)
        while self.document is not None and self._rewrites:
            parsed = parse_document(self.document)
            if not any(rewrite.covers(parsed) for rewrite in self._rewrites):
                break
            self.count += 1
            self.size += len(self.document)
            self.document = next(self._documents, None)


def _raw(collection: Collection[Any], order: str = "_id") -> Iterator[bytes]:
    """Every document as it is stored."""
    for batch in collection.find_raw_batches({}, sort=[(order, 1)], batch_size=_BATCH):
        start = 0
        while start < len(batch):
            end = start + int.from_bytes(batch[start : start + 4], "little")
            yield batch[start:end]
            start = end


def _catalog(database: Database[Any]) -> dict[str, Mapping[str, Any]]:
    return {found["name"]: found for found in database.with_options(RAW).list_collections()}


def _indexes(database: Database[Any], name: str) -> dict[str, Mapping[str, Any]]:
    answer: RawBSONDocument = database.command({"listIndexes": name, "cursor": {"batchSize": 1000}}, codec_options=RAW)
    return {index["name"]: index for index in answer["cursor"]["firstBatch"]}


def _option(name: str, value: Any) -> bytes:
    if name == "expireAfterSeconds" and isinstance(value, int):
        # The server stores seconds as the number that a client happened to send, and as its own after a collMod.
        value = float(value)
    return bson.encode({"": value})


def _same_id(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bson.encode({"": one["_id"]}) == bson.encode({"": other["_id"]})


def _shown(document: Mapping[str, Any]) -> str:
    return str(bson.decode(bson.encode({"": document["_id"]}))[""])[:80]
