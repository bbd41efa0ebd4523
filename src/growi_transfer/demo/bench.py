"""The engine timed against the programs people use for the same work, on the same data in the same run.

Each workload has a fresh source. Each measurement has a fresh destination and fresh servers, so that the memory they
report is theirs for this work alone; what the last one left in caches is written out before the clock starts. The
result is judged after every transfer, outside of the measured time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pymongo import MongoClient

from growi_transfer.demo import peers
from growi_transfer.demo.compare import remember
from growi_transfer.demo.destination import make_destination
from growi_transfer.demo.run import Pushed, judge, push
from growi_transfer.demo.servers import PASSWORD_SEED, Pair, open_pair
from growi_transfer.demo.wiki import WikiSize, count_documents, make_wiki
from growi_transfer.mongo.embedded import DATABASE
from growi_transfer.protocol.errors import OperatorFault, VerificationFailed

MIB = 1 << 20
REVISIONS_PER_PAGE = 50
FILE_PEERS = ("cp", "tar", "rclone")


@dataclass(frozen=True, slots=True)
class BenchSize:
    """How much. Sizes are bytes."""

    documents: int = 100_000
    body_size: int = 3_500
    files: int = 3_000
    file_size: int = 50_000
    large_file_size: int = 1 << 30
    repeat: int = 1
    """Measurements of each, of which the median counts."""


Say = Callable[[str], None]


class Bench:
    """Measures workloads below a folder. `say` is told what happens."""

    def __init__(self, folder: Path, size: BenchSize, say: Say) -> None:
        self._folder = folder
        self._size = size
        self._say = say
        self._versions = peers.versions()

    def run(self, workloads: Mapping[str, bool]) -> dict[str, Any]:
        """The result of the workloads that are wanted, by name. Raises VerificationFailed when one arrived wrong."""
        measure = {"revisions": self.revisions, "small_files": self.small_files, "large_file": self.large_file}
        return {
            "workloads": {name: work() for name, work in measure.items() if workloads.get(name, True)},
            "peers": {name: version for name, version in self._versions.items() if version is not None},
            "missing_peers": [name for name, version in self._versions.items() if version is None],
            "machine": {"cpus": os.cpu_count()},
        }

    # --- workloads ---------------------------------------------------------------------------------------------------

    def revisions(self) -> dict[str, Any]:
        """Documents, almost all of them revisions: stored volumes and deflated ones, `mongodump | mongorestore`."""
        size = self._size
        pages = max(1, size.documents // REVISIONS_PER_PAGE)
        wiki = WikiSize(pages, REVISIONS_PER_PAGE, 0, 0, size.body_size, plugin=False)
        with open_pair(self._folder / "revisions") as pair:
            made = make_wiki(pair.source.mongod.uri, pair.source.uploads, wiki, password_seed=PASSWORD_SEED)
            self._say(f"revisions: {made.documents:,} documents, {made.document_bytes / MIB:,.0f} MiB")
            has_peers = self._versions["mongodump"] is not None and self._versions["mongorestore"] is not None
            ours: dict[str, list[Pushed]] = {"stored": [], "deflated": []}
            theirs: dict[str, list[float]] = {"plain": [], "gzip": []}
            for _ in range(self._size.repeat):
                # Side by side, so that whatever else this machine does falls on all of them.
                for volumes, peer in (("stored", "plain"), ("deflated", "gzip")):
                    ours[volumes].append(self._transfer(pair, f"{volumes} volumes", deflate=volumes == "deflated"))
                    if has_peers:
                        theirs[peer].append(self._dump(pair, gzip=peer == "gzip"))
            result: dict[str, Any] = {"documents": made.documents, "bytes": made.document_bytes}
            for volumes, pushed in ours.items():
                result[volumes] = _summary(pushed)
                result[volumes]["mib_per_second"] = _rate(made.document_bytes / MIB, result[volumes]["copy_seconds"])
            if has_peers:
                result["peers"] = {peer: {"seconds": round(median(timed), 3)} for peer, timed in theirs.items()}
                result["ratios"] = {
                    f"{volumes}_{what}_to_{peer}": _ratio(result[volumes][f"{what}_seconds"], median(theirs[peer]))
                    for volumes, peer in (("stored", "plain"), ("deflated", "gzip"))
                    for what in ("copy", "verify")
                }
            return result

    def small_files(self) -> dict[str, Any]:
        """Many small attachments; each SHA-256 checked and on the disk before it is acknowledged."""
        return self._files("small_files", self._size.files, self._size.file_size)

    def large_file(self) -> dict[str, Any]:
        """One large attachment."""
        return self._files("large_file", 1, self._size.large_file_size)

    def _files(self, name: str, count: int, size: int) -> dict[str, Any]:
        wiki = WikiSize(20, 1, count, size, 500, exact_attachments=True, plugin=False)
        with open_pair(self._folder / name) as pair:
            made = make_wiki(pair.source.mongod.uri, pair.source.uploads, wiki, password_seed=PASSWORD_SEED)
            self._say(f"{name}: {made.attachments:,} files, {made.attachment_bytes / MIB:,.0f} MiB")
            names = [peer for peer in FILE_PEERS if self._versions[peer] is not None]
            pushed: list[Pushed] = []
            copied: dict[str, list[tuple[float, float]]] = {peer: [] for peer in names}
            for _ in range(self._size.repeat):
                pushed.append(self._transfer(pair, name, deflate=False))
                for peer in names:
                    copied[peer].append(self._copy(pair, peer, made.attachments))
            ours = _summary(pushed)
            ours["files_per_second"] = _rate(count, ours["attachment_seconds"])
            ours["mib_per_second"] = _rate(made.attachment_bytes / MIB, ours["attachment_seconds"])
            others = {peer: _copy_summary(timed) for peer, timed in copied.items()}
            ratios = {
                f"to_{peer}": _ratio(ours["attachment_seconds"], others[peer]["durable_seconds"]) for peer in names
            }
            return {
                "files": made.attachments,
                "bytes": made.attachment_bytes,
                "transfer": ours,
                "peers": others,
                "ratios": ratios,
            }

    # --- measurements ------------------------------------------------------------------------------------------------

    def _transfer(self, pair: Pair, what: str, *, deflate: bool) -> Pushed:
        clear(pair)
        make_destination(pair.destination.mongod.uri, pair.destination.uploads, password_seed=PASSWORD_SEED)
        former = remember(pair.destination.side)
        pair.start_servers()
        settle(pair)
        try:
            pushed = push(pair, lambda _: None, deflate=deflate)
        finally:
            pair.stop_servers()
        comparison = judge(pair, pushed, former)
        if not comparison.identical:
            raise VerificationFailed(f"{what}: {comparison.mismatch_count} differences: {comparison.mismatches[0]}")
        timed = _seconds_of(pushed)
        self._say(f"  {what}: copied in {timed['copy_seconds']:.2f} s, verified in {timed['verify_seconds']:.2f} s")
        return pushed

    def _dump(self, pair: Pair, *, gzip: bool) -> float:
        clear(pair)
        settle(pair)
        seconds = peers.dump_and_restore(pair.source.mongod.uri, pair.destination.mongod.uri, gzip=gzip)
        wanted = _count(pair.source.mongod.uri, DATABASE)
        arrived = _count(pair.destination.mongod.uri, peers.PEER_DATABASE)
        if arrived != wanted:
            raise OperatorFault(f"mongorestore restored {arrived:,} of {wanted:,} documents.")
        self._say(f"  mongodump | mongorestore{', both --gzip' if gzip else ''}: {seconds:.2f} s")
        return seconds

    def _copy(self, pair: Pair, program: str, files: int) -> tuple[float, float]:
        target = self._folder / "copied"
        clear(pair)
        settle(pair)
        seconds, durable = peers.copy_files(program, pair.source.uploads, target)
        arrived = sum(path.is_file() for path in target.rglob("*"))
        _put_aside(target)
        if arrived != files:
            raise OperatorFault(f"{program} copied {arrived:,} of {files:,} files.")
        self._say(f"  {program}: {seconds:.2f} s, on the disk after {durable:.2f} s")
        return seconds, durable


def _summary(timed: Sequence[Pushed]) -> dict[str, Any]:
    """Medians of the seconds, the highest of the memory."""
    seconds = [_seconds_of(pushed) for pushed in timed]
    roles = timed[0].peak_rss_mib
    return {
        **{name: round(median(one[name] for one in seconds), 3) for name in seconds[0]},
        "peak_rss_mib": {role: max(pushed.peak_rss_mib[role] or 0.0 for pushed in timed) for role in roles},
    }


def _copy_summary(timed: Sequence[tuple[float, float]]) -> dict[str, float]:
    return {
        "seconds": round(median(seconds for seconds, _ in timed), 3),
        "durable_seconds": round(median(durable for _, durable in timed), 3),
    }


def _seconds_of(pushed: Pushed) -> dict[str, float]:
    timeline = pushed.timeline
    return {
        "copy_seconds": pushed.copy_seconds,
        "verify_seconds": pushed.verify_seconds,
        "commit_seconds": timeline.in_state("ready", "committing"),
        "attachment_seconds": timeline.attachment_seconds,
        "seconds": timeline.seconds,
    }


def clear(pair: Pair) -> None:
    """Make the destination empty, and the source forget earlier transfers."""
    with MongoClient[dict[str, Any]](pair.destination.mongod.uri) as client:
        client.drop_database(DATABASE)
        client.drop_database(peers.PEER_DATABASE)
    with MongoClient[dict[str, Any]](pair.source.mongod.uri) as client:
        for name in client[DATABASE].list_collection_names(filter={"name": {"$regex": "^growi_transfer_"}}):
            client[DATABASE].drop_collection(name)
    _put_aside(pair.destination.uploads)
    pair.destination.uploads.mkdir()


def _put_aside(folder: Path) -> None:
    """Take a folder away without deleting anything: its files are emptied and stay until the bench ends.

    ext4 does not use the inodes of deleted files again for some minutes and looks each of them up for every new file
    nearby. Measured: after 3,000 deletions a new file cost 0.7 ms of processor time instead of 0.02 ms, so each
    measurement made the ones after it slower, ours and the peers' alike.
    """
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.truncate(path, 0)
    folder.rename(folder.with_name(f"{folder.name}-{time.monotonic_ns()}"))


def settle(pair: Pair) -> None:
    """Let earlier work end: a checkpoint of both databases, and everything on the disk."""
    for instance in (pair.source, pair.destination):
        with MongoClient[dict[str, Any]](instance.mongod.uri) as client:
            client.admin.command("fsync")
    os.sync()


def _count(uri: str, database: str) -> int:
    with MongoClient[dict[str, Any]](uri) as client:
        return count_documents(client[database])[0]


def _rate(amount: float, seconds: float) -> float:
    return round(amount / max(seconds, 0.001), 1)


def _ratio(ours: float, theirs: float) -> float:
    return round(ours / max(theirs, 0.001), 3)
