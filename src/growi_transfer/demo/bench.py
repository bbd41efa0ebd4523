"""The engine timed against the programs people use for the same work, on the same data in the same run.

Each workload has a fresh source. Each measurement has a fresh destination and fresh servers, so that the memory they
report is theirs for this work alone; what the last one left in caches is written out before the clock starts. The
result is judged after every transfer, outside of the measured time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
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
            result: dict[str, Any] = {"documents": made.documents, "bytes": made.document_bytes, "peers": {}}
            for name, deflate in (("stored", False), ("deflated", True)):
                result[name] = self._transfers(pair, f"revisions, {name} volumes", deflate=deflate)
                result[name]["mib_per_second"] = round(made.document_bytes / MIB / result[name]["copy_seconds"], 1)
            if self._versions["mongodump"] and self._versions["mongorestore"]:
                result["peers"] = {"plain": self._dump(pair, gzip=False), "gzip": self._dump(pair, gzip=True)}
                plain, gzip = (result["peers"][kind]["seconds"] for kind in ("plain", "gzip"))
                result["ratios"] = {
                    "stored_copy_to_plain": _ratio(result["stored"]["copy_seconds"], plain),
                    "stored_verify_to_plain": _ratio(result["stored"]["verify_seconds"], plain),
                    "deflated_copy_to_gzip": _ratio(result["deflated"]["copy_seconds"], gzip),
                    "deflated_verify_to_gzip": _ratio(result["deflated"]["verify_seconds"], gzip),
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
            ours = self._transfers(pair, name, deflate=False)
            seconds = max(ours["attachment_seconds"], 0.001)
            ours |= {
                "files_per_second": round(count / seconds, 1),
                "mib_per_second": round(made.attachment_bytes / MIB / seconds, 1),
            }
            others = {peer: self._copy(pair, peer, made.attachments) for peer in FILE_PEERS if self._versions[peer]}
            ratios = {f"to_{peer}": _ratio(seconds, timed["durable_seconds"]) for peer, timed in others.items()}
            return {
                "files": made.attachments,
                "bytes": made.attachment_bytes,
                "transfer": ours,
                "peers": others,
                "ratios": ratios,
            }

    # --- measurements ------------------------------------------------------------------------------------------------

    def _transfers(self, pair: Pair, what: str, *, deflate: bool) -> dict[str, Any]:
        timed = [self._transfer(pair, what, deflate=deflate) for _ in range(self._size.repeat)]
        names = ("copy_seconds", "verify_seconds", "commit_seconds", "attachment_seconds", "seconds")
        roles = timed[0].peak_rss_mib
        result = [_seconds_of(pushed) for pushed in timed]
        return {
            **{name: round(median(one[name] for one in result), 3) for name in names},
            "peak_rss_mib": {role: max(one.peak_rss_mib[role] or 0.0 for one in timed) for role in roles},
        }

    def _transfer(self, pair: Pair, what: str, *, deflate: bool) -> Pushed:
        _clear(pair)
        make_destination(pair.destination.mongod.uri, pair.destination.uploads, password_seed=PASSWORD_SEED)
        former = remember(pair.destination.side)
        pair.start_servers()
        _settle(pair)
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

    def _dump(self, pair: Pair, *, gzip: bool) -> dict[str, Any]:
        timed = []
        for _ in range(self._size.repeat):
            _clear(pair)
            _settle(pair)
            timed.append(peers.dump_and_restore(pair.source.mongod.uri, pair.destination.mongod.uri, gzip=gzip))
            counts = [
                _count(pair.source.mongod.uri, DATABASE),
                _count(pair.destination.mongod.uri, peers.PEER_DATABASE),
            ]
            if counts[0] != counts[1]:
                raise OperatorFault(f"mongorestore restored {counts[1]:,} of {counts[0]:,} documents.")
        name = f"mongodump{' --gzip' if gzip else ''} | mongorestore"
        self._say(f"  {name}: {median(timed):.2f} s")
        return {"program": name, "seconds": round(median(timed), 3)}

    def _copy(self, pair: Pair, program: str, files: int) -> dict[str, Any]:
        target = self._folder / "copied"
        timed = []
        for _ in range(self._size.repeat):
            shutil.rmtree(target, ignore_errors=True)
            _clear(pair)
            _settle(pair)
            timed.append(peers.copy_files(program, pair.source.uploads, target))
            arrived = sum(path.is_file() for path in target.rglob("*"))
            if arrived != files:
                raise OperatorFault(f"{program} copied {arrived:,} of {files:,} files.")
        shutil.rmtree(target)
        seconds, durable = (median(one[position] for one in timed) for position in (0, 1))
        self._say(f"  {program}: {seconds:.2f} s, on the disk after {durable:.2f} s")
        return {"seconds": round(seconds, 3), "durable_seconds": round(durable, 3)}


def _seconds_of(pushed: Pushed) -> dict[str, float]:
    timeline = pushed.timeline
    return {
        "copy_seconds": pushed.copy_seconds,
        "verify_seconds": pushed.verify_seconds,
        "commit_seconds": timeline.in_state("ready", "committing"),
        "attachment_seconds": timeline.attachment_seconds,
        "seconds": timeline.seconds,
    }


def _clear(pair: Pair) -> None:
    """Make the destination empty, and the source forget earlier transfers."""
    with MongoClient[dict[str, Any]](pair.destination.mongod.uri) as client:
        client.drop_database(DATABASE)
        client.drop_database(peers.PEER_DATABASE)
    with MongoClient[dict[str, Any]](pair.source.mongod.uri) as client:
        for name in client[DATABASE].list_collection_names(filter={"name": {"$regex": "^growi_transfer_"}}):
            client[DATABASE].drop_collection(name)
    shutil.rmtree(pair.destination.uploads, ignore_errors=True)
    pair.destination.uploads.mkdir()


def _settle(pair: Pair) -> None:
    """Let earlier work end: a checkpoint of both databases, and everything on the disk."""
    for instance in (pair.source, pair.destination):
        with MongoClient[dict[str, Any]](instance.mongod.uri) as client:
            client.admin.command("fsync")
    os.sync()


def _count(uri: str, database: str) -> int:
    with MongoClient[dict[str, Any]](uri) as client:
        return count_documents(client[database])[0]


def _ratio(ours: float, theirs: float) -> float:
    return round(ours / max(theirs, 0.001), 3)
