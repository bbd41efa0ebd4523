"""Attachments into and between object stores, beside `rclone copy` on the same server in the same run.

    python -m tests.bench.object_stores --files 3000 --large 1073741824 --repeat 3
    python -m tests.bench.object_stores --alone 5368709120     # one file from S3 to S3, and the memory of our servers

Needs SeaweedFS and Debian's rclone. Prints one line of JSON: medians of seconds, of processor seconds (of both of our
servers, or of rclone) and ratios; below 1 means that we are faster. Ours count from the beginning of the copy until
the last file is acknowledged, with its SHA-256 checked; what arrived is compared afterwards. Between buckets rclone is
told of two servers, so that the bytes go through it: `inside` is what it takes when the server copies them itself.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from pymongo import MongoClient
from tests.fakes.object_servers import KEY, SECRET, ObjectServer, s3_server
from tests.fakes.uploads import Uploads

from growi_transfer.demo.destination import make_destination
from growi_transfer.demo.run import Pushed, push
from growi_transfer.demo.servers import PASSWORD_SEED, Instance, Pair, open_pair
from growi_transfer.demo.wiki import WikiSize, make_wiki
from growi_transfer.mongo.embedded import DATABASE


@dataclass(frozen=True)
class Timed:
    """What one measurement took."""

    seconds: float
    cpu: float
    store_cpu: float
    peak_mib: float = 0.0


class StoreBench:
    """One wiki, measured from local files and from a bucket."""

    def __init__(self, pair: Pair, server: ObjectServer, size: WikiSize) -> None:
        self._pair = pair
        self._server = server
        self._made = make_wiki(pair.source.mongod.uri, pair.source.uploads, size, password_seed=PASSWORD_SEED)
        self._local = Uploads("local", root=pair.source.uploads)
        self.bucket = self._new_bucket("source")
        self._rclone(str(pair.source.uploads), self.bucket)
        self._wanted = self._local.digests()
        assert self.bucket.digests() == self._wanted

    def run(self, repeat: int) -> dict[str, Any]:
        """Interleaved, so that whatever else the machine does falls on all of them."""
        names = ("local_to_s3", "s3_to_s3")
        ours: dict[str, list[Timed]] = {name: [] for name in names}
        theirs: dict[str, list[Timed]] = {name: [] for name in names}
        inside: list[Timed] = []
        for _ in range(repeat):
            for name, source in zip(names, (self._local, self.bucket), strict=True):
                ours[name].append(self.transfer(source))
                theirs[name].append(self._copy(str(source.root) if source.root else f"other:{source.bucket}"))
            inside.append(self._copy(f"wiki:{self.bucket.bucket}"))
        return {
            "files": self._made.attachments,
            "bytes": self._made.attachment_bytes,
            **{name: _summary(ours[name], theirs[name]) for name in names},
            "s3_inside": _summary(ours["s3_to_s3"], inside),
        }

    def _new_bucket(self, name: str) -> Uploads:
        bucket = f"{name}-{os.urandom(5).hex()}"
        self._server.make_bucket(bucket)
        return Uploads("aws", server=self._server, bucket=bucket)

    def transfer(self, source: Uploads) -> Timed:
        """Push into a new bucket of a fresh wiki."""
        pair, target = self._pair, self._new_bucket("ours")
        with _database(pair.destination) as database:
            database.client.drop_database(DATABASE)
            make_destination(pair.destination.mongod.uri, pair.destination.uploads, password_seed=PASSWORD_SEED)
            target.configure(database)
        with _database(pair.source) as database:
            for name in database.list_collection_names(filter={"name": {"$regex": "^growi_transfer_"}}):
                database.drop_collection(name)
            source.configure(database)
        pair.start_servers()
        servers = (pair.source.server, pair.destination.server)
        os.sync()
        before, stored = sum(_cpu(server.pid) for server in servers), _cpu(self._server.pid)
        pushed: Pushed = push(pair, lambda _: None)
        cpu, stored = sum(_cpu(server.pid) for server in servers) - before, _cpu(self._server.pid) - stored
        peak = max(value or 0.0 for value in pushed.peak_rss_mib.values())
        pair.stop_servers()
        arrived = {path: digest for path, digest in target.digests().items() if path in self._wanted}
        assert arrived == self._wanted
        return Timed(pushed.timeline.attachment_seconds, cpu, stored, peak)

    def _copy(self, source: str) -> Timed:
        target = self._new_bucket("theirs")
        os.sync()
        before, stored, began = _cpu_of_children(), _cpu(self._server.pid), time.monotonic()
        self._rclone(source, target)
        took = Timed(time.monotonic() - began, _cpu_of_children() - before, _cpu(self._server.pid) - stored)
        assert target.digests() == self._wanted
        return took

    def _rclone(self, source: str, target: Uploads) -> None:
        values = {
            "TYPE": "s3",
            "PROVIDER": "Other",
            "ENDPOINT": self._server.endpoint,
            "REGION": "us-east-1",
            "ACCESS_KEY_ID": KEY,
            "SECRET_ACCESS_KEY": SECRET,
        }
        names = ("WIKI", "OTHER")
        environ = {f"RCLONE_CONFIG_{name}_{key}": value for name in names for key, value in values.items()}
        # rclone fails where the file that AWS_CA_BUNDLE names is not there.
        kept = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
        command = ["rclone", "copy", "--config=", "--transfers=8", source, f"wiki:{target.bucket}"]
        subprocess.run(command, env={**kept, **environ}, check=True, stdin=subprocess.DEVNULL)


@contextmanager
def _database(instance: Instance) -> Iterator[Any]:
    with MongoClient[dict[str, Any]](instance.mongod.uri) as client:
        yield client[DATABASE]


def _cpu(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _summary(ours: Sequence[Timed], theirs: Sequence[Timed]) -> dict[str, Any]:
    return {
        "seconds": round(median(one.seconds for one in ours), 2),
        "rclone_seconds": round(median(one.seconds for one in theirs), 2),
        "ratio": round(median(one.seconds / other.seconds for one, other in zip(ours, theirs, strict=True)), 2),
        "cpu_seconds": round(median(one.cpu for one in ours), 2),
        "rclone_cpu_seconds": round(median(one.cpu for one in theirs), 2),
        "store_cpu_seconds": round(median(one.store_cpu for one in ours), 2),
        "rclone_store_cpu_seconds": round(median(one.store_cpu for one in theirs), 2),
        "peak_rss_mib": max(one.peak_mib for one in ours),
    }


def large_between_buckets(folder: Path, server: ObjectServer, size: int) -> Timed:
    """One file of `size` bytes from S3 to S3, without rclone's turn: for the memory it takes."""
    with open_pair(_made(folder / "large")) as pair:
        wiki = WikiSize(20, 1, 1, size, 500, exact_attachments=True, plugin=False)
        bench = StoreBench(pair, server, wiki)
        return bench.transfer(bench.bucket)


def measure(
    folder: Path, server: ObjectServer, *, files: int, file_size: int, large: int, repeat: int
) -> dict[str, Any]:
    """The rows, of which those with no files are left out."""
    result: dict[str, Any] = {}
    size = WikiSize(20, 1, files, file_size, 500, exact_attachments=True, plugin=False)
    if files:
        with open_pair(_made(folder / "small")) as pair:
            result["small_files"] = StoreBench(pair, server, size).run(repeat)
    if large:
        with open_pair(_made(folder / "large")) as pair:
            one = replace(size, attachments=1, attachment_size=large)
            result["large_file"] = StoreBench(pair, server, one).run(repeat)
    return result


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("files", 3000), ("file-size", 50_000), ("large", 1 << 30), ("repeat", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--alone", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, s3_server(_made(Path(folder) / "s3")) as server:
        if chosen.alone:
            print(json.dumps(asdict(large_between_buckets(Path(folder), server, chosen.alone))))  # noqa: T201
            return
        result = measure(
            Path(folder),
            server,
            files=chosen.files,
            file_size=chosen.file_size,
            large=chosen.large,
            repeat=chosen.repeat,
        )
    print(json.dumps(result))  # noqa: T201


if __name__ == "__main__":
    main()
